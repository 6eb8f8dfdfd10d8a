-- What a bot's template does with messages: commands parsed, permissions checked, counters kept,
-- answers formatted.
local state = {users = {}, warnings = {}, log = {}}
local commands = {}
local banned = {spam = true, scam = true, badword = true}

function commands.help()
    local names = {}
    for name in pairs(commands) do
        names[#names + 1] = name
    end
    table.sort(names)
    return "Commands: " .. table.concat(names, ", ")
end

function commands.rank(event)
    local user = state.users[event.author.id]
    return string.format("%s has level %d (%d xp)", event.author.name, user.level, user.xp)
end

function commands.echo(_, arguments)
    return table.concat(arguments, " ")
end

function commands.warn(event, arguments)
    if not event.author.moderator then
        return "You may not do that."
    end
    local target = arguments[1] or "nobody"
    state.warnings[target] = (state.warnings[target] or 0) + 1
    return ("%s now has %d warnings"):format(target, state.warnings[target])
end

local function handle(event)
    if event.author.bot then
        return nil
    end
    local user = state.users[event.author.id]
    if not user then
        user = {xp = 0, level = 0}
        state.users[event.author.id] = user
    end
    user.xp = user.xp + 5 + #event.content % 10
    user.level = math.floor(math.sqrt(user.xp) / 10)
    for word in event.content:lower():gmatch("%a+") do
        if banned[word] then
            return "Message removed: " .. word
        end
    end
    local name, rest = event.content:match("^!(%w+)%s*(.*)$")
    if not name then
        return nil
    end
    local command = commands[name]
    if not command then
        return "Unknown command: " .. name
    end
    local arguments = {}
    for argument in rest:gmatch("%S+") do
        arguments[#arguments + 1] = argument
    end
    return command(event, arguments)
end

local contents = {"hello everyone, nice day", "!rank", "!help", "!warn user7 now", "look at this scam",
    "!echo one two  three", "!unknown thing", "Just talking about Nothing in particular here"}
local answered, length = 0, 0
for i = 1, 240000 do
    local answer = handle({
        id = i,
        content = contents[i % #contents + 1],
        author = {id = "user" .. i % 50, name = "User" .. i % 50, bot = i % 25 == 0,
            moderator = i % 3 == 0},
    })
    if answer then
        answered = answered + 1
        length = length + #answer
    end
end
local xp = 0
for _, user in pairs(state.users) do
    xp = xp + user.xp
end
print(string.format("%d %d %d", answered, length, xp))

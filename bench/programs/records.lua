-- Small tables with fixed names: made, read, changed, dropped. What event handlers do all day.
local function event(i)
    return {
        id = i,
        kind = i % 2 == 0 and "message" or "reaction",
        author = {id = i % 97, name = "user", bot = i % 10 == 0},
        content = "hello",
        flags = {i % 3, i % 5},
    }
end

local users, messages, reactions, bots = {}, 0, 0, 0
for i = 1, 900000 do
    local e = event(i)
    local author = e.author
    if author.bot then
        bots = bots + 1
    else
        local user = users[author.id]
        if not user then
            user = {count = 0, last = 0, score = 0}
            users[author.id] = user
        end
        user.count = user.count + 1
        user.last = e.id
        user.score = user.score + e.flags[1] + e.flags[2]
    end
    if e.kind == "message" then
        messages = messages + #e.content
    else
        reactions = reactions + 1
    end
end
local score, last = 0, 0
for _, user in pairs(users) do
    score = score + user.score
    last = last + user.last
end
print(string.format("%d %d %d %d %d", messages, reactions, bots, score, last))

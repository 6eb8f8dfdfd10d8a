-- Objects: methods found through __index, fields read and written.
local Account = {}
Account.__index = Account

function Account.new(owner, balance)
    return setmetatable({owner = owner, balance = balance, entries = 0}, Account)
end

function Account:deposit(amount)
    self.balance = self.balance + amount
    self.entries = self.entries + 1
    return self
end

function Account:withdraw(amount)
    if amount > self.balance then
        return false
    end
    self.balance = self.balance - amount
    self.entries = self.entries + 1
    return true
end

function Account:get()
    return self.balance
end

local accounts = {}
for i = 1, 100 do
    accounts[i] = Account.new("owner" .. i, i * 10)
end
local refused = 0
for round = 1, 220000 do
    for i = 1, 10 do
        local from = accounts[(round * 7 + i * 13) % 100 + 1]
        local to = accounts[(round * 3 + i) % 100 + 1]
        local amount = (round + i) % 17
        if from:withdraw(amount) then
            to:deposit(amount):deposit(1)
        else
            refused = refused + 1
            from:deposit(2)
        end
    end
end
local sum, entries = 0, 0
for i = 1, 100 do
    sum = sum + accounts[i]:get()
    entries = entries + accounts[i].entries
end
print(string.format("%d %d %d", sum, entries, refused))

-- Classes three deep: method lookup climbs chains of __index tables; overriding and super calls.
local function class(base)
    local c = {}
    c.__index = c
    if base then
        setmetatable(c, {__index = base})
    end
    c.new = function(...)
        local object = setmetatable({}, c)
        object:init(...)
        return object
    end
    return c
end

local Shape = class()
function Shape:init(name)
    self.name = name
    self.scale_by = 1
end
function Shape:scale(k)
    self.scale_by = self.scale_by * k
    return self
end
function Shape:area()
    return 0
end
function Shape:describe()
    return #self.name + self:area() * self.scale_by
end

local Rectangle = class(Shape)
function Rectangle:init(w, h)
    Shape.init(self, "rectangle")
    self.w, self.h = w, h
end
function Rectangle:area()
    return self.w * self.h
end

local Square = class(Rectangle)
function Square:init(side)
    Rectangle.init(self, side, side)
    self.name = "square"
end
function Square:describe()
    return Rectangle.describe(self) + 1
end

local Box = class(Square)
function Box:area()
    return Square.area(self) * 6
end

local total = 0
for i = 1, 260000 do
    local a = Rectangle.new(i % 7, i % 11)
    local b = Square.new(i % 5)
    local c = Box.new(i % 3)
    total = total + a:describe() + b:scale(2):describe() + c:scale(3):describe()
end
print(string.format("%d", total))

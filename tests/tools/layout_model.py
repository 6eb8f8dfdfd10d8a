#!/usr/bin/env python3
"""layout_model.py FOLDER: writes scripts that check the order of traversal and the length of tables.

A model of the table layout (language description, section 13) written from its text: array part and
hash part, hashes of strings, numbers and booleans, insertion, rehash, border. Programs made at random
run on the model, which tells what they print.
"""

import random
import struct
import sys

M32 = 0xFFFFFFFF


def ror(x, n):
    return ((x >> n) | (x << (32 - n))) & M32


def hash_string(data):
    h = len(data)
    at, left = 0, len(data)
    if left >= 32:
        a = b = 0
        while left >= 32:
            x, y, z = struct.unpack_from("<III", data, at)
            a, b, h = (a + x) & M32, (b + y) & M32, (h + z) & M32
            a ^= h
            a = (a - ror(h, 14)) & M32
            b ^= a
            b = (b - ror(a, 11)) & M32
            h ^= b
            h = (h - ror(b, 25)) & M32
            at += 12
            left -= 12
    for byte in reversed(data[at:]):
        h ^= ((h << 5) + (h >> 2) + byte) & M32
    return h


def hash_number(value):
    lo, hi = struct.unpack("<II", struct.pack("<d", value))
    hi &= 0x7FFFFFFF
    m = 0x5BD1E995
    lo = ((lo ^ (hi >> 18)) * m) & M32
    hi = ((hi ^ (lo >> 22)) * m) & M32
    lo = ((lo ^ (hi >> 17)) * m) & M32
    hi = ((hi ^ (lo >> 19)) * m) & M32
    return hi


def hash_key(key):
    if isinstance(key, bool):
        return int(key)
    if isinstance(key, str):
        return hash_string(key.encode())
    return hash_number(float(key))


def as_index(key):
    """The integer value of a number key, or None."""
    if isinstance(key, bool) or isinstance(key, str):
        return None
    if float(key) == int(key):
        return int(key)
    return None


def same(a, b):
    return (
        isinstance(a, bool) == isinstance(b, bool)
        and isinstance(a, str) == isinstance(b, str)
        and a == b
    )


class Node:
    def __init__(self):
        self.key = None
        self.value = None
        self.next = None


def power_of_two(n):
    if n == 0:
        return 0
    size = 1
    while size < n:
        size *= 2
    return size


class Table:
    def __init__(self, array=0, nodes=0):
        self.array = [None] * array
        self.nodes = [Node() for _ in range(power_of_two(nodes))]
        self.free = len(self.nodes)
        self.border = 0

    def main(self, key):
        return hash_key(key) % len(self.nodes)

    def find(self, key):
        if not self.nodes:
            return None
        at = self.main(key)
        while at is not None:
            node = self.nodes[at]
            if node.key is not None and same(node.key, key):
                return node
            at = node.next
        return None

    def get(self, key):
        i = as_index(key)
        if i is not None and 1 <= i <= len(self.array):
            return self.array[i - 1]
        node = self.find(key)
        return node.value if node else None

    def set(self, key, value):
        i = as_index(key)
        if i is not None and 1 <= i <= len(self.array):
            self.array[i - 1] = value
            return
        node = self.find(key)
        if node:
            node.value = value
            return
        self.insert(key, value)

    def insert(self, key, value):
        if as_index(key) == len(self.array) + 1:
            self.rehash(key)
            self.set(key, value)
            return
        if not self.nodes:
            self.rehash(key)
            self.set(key, value)
            return
        at = self.main(key)
        main = self.nodes[at]
        if main.value is None:
            # a dead or never used node: it keeps its place in its chain
            main.key, main.value = key, value
            return
        free = None
        while self.free > 0:
            self.free -= 1
            if self.nodes[self.free].key is None:
                free = self.free
                break
        if free is None:
            self.rehash(key)
            self.set(key, value)
            return
        other = self.main(main.key)
        new = self.nodes[free]
        if other != at:
            before = other
            while self.nodes[before].next != at:
                before = self.nodes[before].next
            self.nodes[before].next = free
            new.key, new.value, new.next = main.key, main.value, main.next
            main.key, main.value, main.next = key, value, None
        else:
            new.key, new.value, new.next = key, value, main.next
            main.next = free

    def rehash(self, extra):
        counts = [0] * 32
        total_integers = 0

        def count(i):
            nonlocal total_integers
            if i is not None and 1 <= i <= 2**26:
                counts[max(0, (i - 1).bit_length())] += 1
                total_integers += 1
                return 1
            return 0

        for n, value in enumerate(self.array):
            if value is not None:
                count(n + 1)
        total = total_integers
        for node in self.nodes:
            if node.value is not None:
                total += 1
                count(as_index(node.key))
        total += 1
        count(as_index(extra))
        # the greatest power of two more than half used
        size = used = seen = 0
        power = 1
        for i in range(27):
            seen += counts[i]
            if seen > power // 2:
                size, used = power, seen
            power *= 2
        hashed = total - used
        # the border has to lie in the array; the nodes saved pay for as many slots more
        grown = self.extend(size, extra)
        if grown > size:
            more = grown - size
            hashed -= more
            size = self.extend(grown + more, extra)
        self.resize(size, hashed)

    def extend(self, size, extra):
        """The array size with which the border lies inside."""
        n = size
        i = as_index(extra)
        while n + 1 == i or self.get(n + 1) is not None:
            n += 1
        return n

    def resize(self, size, hashed):
        old_array, old_nodes = self.array, self.nodes
        self.array = (old_array + [None] * size)[:size]
        self.nodes = [Node() for _ in range(power_of_two(max(hashed, 0)))]
        self.free = len(self.nodes)
        self.border = 0
        for n in range(size, len(old_array)):
            if old_array[n] is not None:
                self.set(n + 1, old_array[n])
        for node in reversed(old_nodes):
            if node.value is not None:
                self.set(node.key, node.value)

    def __iter__(self):
        for n, value in enumerate(self.array):
            if value is not None:
                yield n + 1, value
        for node in self.nodes:
            if node.value is not None:
                yield node.key, node.value

    def slot(self, n):
        return self.array[n - 1]

    def remember(self, border):
        if self.free == 0:  # no hash part, or no free node left in it
            self.border = border
        return border

    def length(self):
        size = len(self.array)
        if self.free > 0:
            self.border = 0  # the place serves the free nodes
        border = self.border or size
        if border > 0:
            if self.slot(size) is not None and not self.nodes:
                return size
            if border < size and self.slot(border) is not None and self.slot(border + 1) is None:
                return border
            if border < size and self.slot(border) is None:
                if border >= 2 and self.slot(border - 1) is not None:
                    return self.remember(border - 1)
            elif (
                border + 1 < size
                and self.slot(border + 1) is not None
                and self.slot(border + 2) is None
            ):
                return self.remember(border + 1)
        if not size or self.slot(size) is not None:
            return size
        base, rest = 1, size
        while rest // 2 > 0:
            half = rest // 2
            if self.slot(base + half) is not None:
                base += half
            rest -= half
        return self.remember(base if self.slot(base) is not None else base - 1)


def source(key):
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, str):
        return '"%s"' % key
    return "%d" % key if float(key) == int(key) and abs(key) < 1e16 else "%r" % float(key)


def shown(key):
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key) if isinstance(key, str) else source(key)


def order(table):
    return " ".join(shown(k) for k, _ in table)


HEAD = """-- Written by tests/tools/layout_model.py: %s
local function order(t)
    local out = {}
    for k in t do out[#out + 1] = tostring(k) end
    print(table.concat(out, " "))
end
-- a table of its own, which the compiler knows nothing of
local function new() return table.create(0) end
"""

NAMES = [
    "a",
    "b",
    "c",
    "name",
    "value",
    "x",
    "y",
    "z",
    "id",
    "key",
    "type",
    "index",
    "count",
    "item",
    "players",
    "position",
    "velocity",
    "on_update",
    "a_rather_long_field_name_of_forty_bytes",
    "another_key_that_is_longer_than_the_limit_of_thirty_two_bytes",
    "Foo",
    "BAR",
    "_private",
    "k1",
    "k2",
    "k3",
    "k10",
    "n",
    "s",
    "t",
]


def random_key(kinds):
    kind = random.choice(kinds)
    if kind == "s":
        return random.choice(NAMES)
    if kind == "S":
        return "key_%d" % random.randint(1, 400)
    if kind == "i":
        return random.randint(1, 12)
    if kind == "I":
        return random.choice(
            [0, -1, -7, 100, 1000, 2**20, 2**31, 2**53, random.randint(-50, 200)]
        )
    if kind == "f":
        return random.choice([0.5, 1.5, -2.25, 0.1, 1e100, 3.75, random.randint(1, 40) + 0.25])
    return random.random() < 0.5


def order_script(path, title, kinds, programs, steps, remove):
    lines = [HEAD % title]
    for _ in range(programs):
        table = Table()
        lines.append("do\n    local t = new()\n")
        present = []
        for _ in range(random.randint(steps // 2, steps)):
            if present and random.random() < remove:
                key = random.choice(present)
                present = [k for k in present if not same(k, key)]
                table.set(key, None)
                lines.append("    t[%s] = nil\n" % source(key))
            else:
                key = random_key(kinds)
                table.set(key, 1)
                if not any(same(k, key) for k in present):
                    present.append(key)
                lines.append("    t[%s] = 1\n" % source(key))
            if random.random() < 0.1:
                lines.append("    order(t) -- expect: %s\n" % order(table))
        lines.append("    order(t) -- expect: %s\nend\n" % order(table))
    write(path, lines)


def length_script(path):
    lines = [HEAD % "#t of constructors with holes, and after changes"]
    for _ in range(160):
        n = random.randint(1, 20)
        values = [1 if random.random() < 0.7 else None for _ in range(n)]
        table = Table(n, 0)
        table.array = list(values)
        lines.append(
            "print(#{ %s }) -- expect: %d\n"
            % (", ".join("1" if v else "nil" for v in values), table.length())
        )
    for _ in range(60):
        # one # per table, so that no remembered border plays a part
        table = Table()
        lines.append("do\n    local t = new()\n")
        for _ in range(random.randint(3, 25)):
            key = random.randint(1, 14)
            value = None if random.random() < 0.3 else 1
            table.set(key, value)
            lines.append("    t[%d] = %s\n" % (key, "1" if value else "nil"))
        if not table.array and table.nodes:
            expected = 0 if table.get(1) is None else None
        else:
            expected = table.length()
        if expected is None:
            lines.append("    print(#t >= 1) -- expect: true\nend\n")
        else:
            lines.append("    print(#t) -- expect: %d\nend\n" % expected)
    write(path, lines)


def border_script(path):
    """The remembered border, over many changes and questions."""
    lines = [HEAD % "#t again and again while slots come and go"]
    for program in range(60):
        size = random.randint(2, 24)
        names = random.choice([0, 0, 1, 2, 4])  # powers of two: no free node is left
        table = Table(size, names)
        for i in range(size):
            table.array[i] = 1
        for name in NAMES[:names]:
            table.set(name, 1)
        # a node counts as free until the search for one has passed it
        fields = ["1"] * size + ["%s = 1" % name for name in NAMES[:names]]
        lines.append("do\n    local t = { %s }\n" % ", ".join(fields))
        for _ in range(25):
            at = (
                random.randint(1, size)
                if random.random() < 0.5
                else max(1, size - random.randint(0, 4))
            )
            value = random.choice([None, None, 1])
            table.set(at, value)
            lines.append("    t[%d] = %s" % (at, "1" if value else "nil"))
            lines.append(" print(#t) -- expect: %d\n" % table.length())
        lines.append("end\n")
    write(path, lines)


def constructor_script(path):
    lines = [HEAD % "order of constructors with names and items"]
    for _ in range(120):
        names = random.sample(NAMES, random.randint(1, 12))
        items = random.randint(0, 5)
        table = Table(items, len(names))
        for i in range(items):
            table.array[i] = 1
        for name in names:
            table.set(name, 1)
        fields = ["1"] * items + ["%s = 1" % name for name in names]
        lines.append("order({ %s })\n-- expect: %s\n" % (", ".join(fields), order(table)))
    for _ in range(60):
        # and what is added later
        names = random.sample(NAMES, random.randint(1, 8))
        table = Table(0, len(names))
        for name in names:
            table.set(name, 1)
        lines.append("do\n    local t = { %s }\n" % ", ".join("%s = 1" % name for name in names))
        for _ in range(random.randint(1, 12)):
            key = random_key("sSiIf")
            table.set(key, 1)
            lines.append("    t[%s] = 1\n" % source(key))
        lines.append("    order(t) -- expect: %s\nend\n" % order(table))
    write(path, lines)


def predicted_script(path):
    """`local t = {}` is sized for the stores of names that follow in its scope."""
    lines = [HEAD % "empty constructors are sized by the stores that follow"]
    for program in range(80):
        names = [random.choice(NAMES) for _ in range(random.randint(1, 12))]
        table = Table(0, len(set(names)))
        metatable = program % 4 == 0
        lines.append("do\n    local t = %s\n" % ("setmetatable({}, {})" if metatable else "{}"))
        nested = program % 3 == 0
        for i, name in enumerate(names):
            table.set(name, 1)
            form = random.choice(
                ["t.%s = 1", "t.%s = 1", "function t.%s() end", "function t:%s() end"]
            )
            text = "    " + form % name
            lines.append("    do\n    " + text + "\n    end\n" if nested and i % 2 else text + "\n")
        for _ in range(random.randint(0, 4)):
            key = "late_%d" % random.randint(1, 30)
            table.set(key, 1)
            lines.append("    t[\"late_\" .. %s] = 1\n" % key[5:])
        lines.append("    order(t)\n    -- expect: %s\nend\n" % order(table))
    write(path, lines)


def clone_script(path):
    lines = [HEAD % "table.clone copies the layout, table.clear keeps its room"]
    for _ in range(30):
        table = Table()
        lines.append("do\n    local t = new()\n")
        for _ in range(random.randint(3, 20)):
            key = random_key("sSif")
            table.set(key, 1)
            lines.append("    t[%s] = 1\n" % source(key))
        lines.append("    local c = table.clone(t)\n")
        for _ in range(random.randint(0, 5)):
            key = random_key("sSif")
            table.set(key, 1)
            lines.append("    c[%s] = 1\n" % source(key))
        lines.append("    order(c) -- expect: %s\nend\n" % order(table))
    write(path, lines)


def write(path, lines):
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(lines)


def main():
    folder = sys.argv[1]
    random.seed(20240)
    order_script(folder + "/order-names.luau", "names as keys", "s", 40, 40, 0.2)
    order_script(folder + "/order-strings.luau", "many strings", "S", 15, 120, 0.25)
    order_script(folder + "/order-integers.luau", "small and other integers", "iiI", 50, 40, 0.2)
    order_script(folder + "/order-numbers.luau", "fractions and integers", "fffiI", 40, 40, 0.2)
    order_script(folder + "/order-mixed.luau", "keys of all kinds", "sSiIfb", 60, 60, 0.2)
    order_script(folder + "/order-churn.luau", "many removals", "sSiI", 40, 80, 0.45)
    length_script(folder + "/length-with-holes.luau")
    border_script(folder + "/length-remembered.luau")
    constructor_script(folder + "/order-constructors.luau")
    predicted_script(folder + "/order-predicted.luau")
    clone_script(folder + "/order-clone.luau")


if __name__ == "__main__":
    main()

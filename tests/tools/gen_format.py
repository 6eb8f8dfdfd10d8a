#!/usr/bin/env python3
"""gen_format.py FOLDER: writes scripts for string.format's numeric conversions and string.pack.

The expectations come from Python's % operator (which follows C's printf) and its struct module.
"""

import math
import random
import struct
import sys


def quoted(data):
    """Source text of a byte string."""
    return (
        '"'
        + "".join(chr(b) if 32 <= b < 127 and b not in (34, 92) else "\\%03d" % b for b in data)
        + '"'
    )


def number(value):
    if math.isinf(value):
        return "1 / 0" if value > 0 else "-1 / 0"
    return repr(value)


def formats(path):
    random.seed(1)
    lines = ["-- Written by tests/tools/gen_format.py: numeric conversions of string.format\n"]
    values = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        1.5,
        2.5,
        2.675,
        1 / 3,
        math.pi,
        1e-5,
        123456.789,
        1e15,
        1e16,
        1e21,
        1e100,
        1e-100,
        5e-324,
        1.7976931348623157e308,
        -12345.678,
        999999.5,
        0.000123456,
    ]
    for value in values:
        for spec in [
            "e",
            "E",
            "f",
            "g",
            "G",
            ".0f",
            ".1f",
            ".3f",
            ".10f",
            ".0e",
            ".2e",
            ".12e",
            ".1g",
            ".3g",
            ".14g",
            ".17g",
            "10.2f",
            "-12.3e",
            "+.2f",
            " .3g",
            "012.3f",
            "#.0f",
            "#g",
            "+e",
            "20g",
            "-20g",
        ]:
            if len(("%" + spec) % value) > 80:
                continue
            if spec == "#g" and value == 999999.5:
                continue  # C libraries disagree: 1.00000e+06 or 1.e+06
            text = ("%" + spec) % value
            lines.append(
                'print(("[%%%s]"):format(%s)) -- expect: [%s]\n' % (spec, number(value), text)
            )
    integers = [
        0,
        1,
        -1,
        7,
        42,
        -42,
        255,
        65535,
        2**31,
        -(2**31),
        2**53,
        -(2**53),
        123456789012,
    ]
    for value in integers:
        for spec in ["d", "i", "5d", "-5d", "05d", "+d", " d", ".3d", "8.5d", "-8.5d", "+06d"]:
            lines.append(
                'print(("[%%%s]"):format(%d)) -- expect: [%s]\n'
                % (spec, value, ("%" + spec) % value)
            )
        unsigned = value % 2**64
        for spec in ["x", "X", "o", "#x", "#X", "8x", "08x", "-8x|", ".6x", "u", "5u"]:
            c = spec.rstrip("|")
            if c.endswith("u"):
                text = ("%" + c[:-1] + "d") % unsigned
            elif c.endswith("o"):
                text = "%o" % unsigned
            elif c.startswith("#") and unsigned == 0:
                text = "0"
            else:
                text = ("%" + c) % unsigned
                if c == "#X":
                    text = "0X" + "%X" % unsigned
            lines.append('print(("[%%%s]"):format(%d)) -- expect: [%s]\n' % (c, value, text))
    for _ in range(150):
        value = random.uniform(-1, 1) * 10.0 ** random.randint(-30, 30)
        spec = "%s%s.%d%s" % (
            random.choice(["", "-", "+", " ", "0"]),
            random.choice(["", "5", "12", "30"]),
            random.randint(0, 20),
            random.choice("eEfgG"),
        )
        text = ("%" + spec) % value
        lines.append('print(("[%%%s]"):format(%s)) -- expect: [%s]\n' % (spec, number(value), text))
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(lines)


def packs(path):
    random.seed(2)
    lines = [
        "-- Written by tests/tools/gen_format.py: string.pack and string.unpack against known bytes\n",
        "local function bytes(s)\n    return (s:gsub(\".\", function(c) return (\"%02x\"):format(c:byte()) end))\nend\n",
    ]
    codes = {
        "b": ("b", 1, True),
        "B": ("B", 1, False),
        "h": ("h", 2, True),
        "H": ("H", 2, False),
        "i": ("i", 4, True),
        "I": ("I", 4, False),
        "l": ("q", 8, True),
        "L": ("Q", 8, False),
        "j": ("i", 4, True),
        "T": ("I", 4, False),
    }
    for order in "<>":
        for option, (code, size, signed) in codes.items():
            bits = size * 8
            low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
            picks = {low, high, 0, 1} if bits < 64 else {0, 1, 2**40, 2**53}
            if signed:
                picks.add(-1)
            picks.add(random.randint(0, min(high, 2**52)))
            for value in sorted(picks):
                data = struct.pack(order + code, value)
                lines.append(
                    'print(bytes(string.pack("%s%s", %d))) -- expect: %s\n'
                    % (order, option, value, data.hex())
                )
                lines.append(
                    'print(string.format("%%.0f", (string.unpack("%s%s", %s)))) -- expect: %d\n'
                    % (order, option, quoted(data), value)
                )
        for size in range(1, 17):
            for signed in (True, False):
                bits = min(size * 8, 53)
                picks = [0, 1, random.randint(0, 2 ** (bits - 1) - 1)] + (
                    [-1, -(2 ** (bits - 1))] if signed else []
                )
                for value in picks:
                    data = (value % 2 ** (8 * size)).to_bytes(
                        size, "little" if order == "<" else "big"
                    )
                    option = "%s%s%d" % (order, "i" if signed else "I", size)
                    lines.append(
                        'print(bytes(string.pack("%s", %d)), string.format("%%.0f", (string.unpack("%s", %s)))) '
                        '-- expect: %s\t%d\n'
                        % (option, value, option, quoted(data), data.hex(), value)
                    )
        for value in [0.0, -0.0, 1.0, 0.1, -2.5, 1e300, math.inf, -math.inf, 5e-324, math.pi]:
            data = struct.pack(order + "d", value)
            for option in "dn":
                lines.append(
                    'print(bytes(string.pack("%s%s", %s)), (string.unpack("%s%s", %s)) == %s) -- expect: %s\ttrue\n'
                    % (
                        order,
                        option,
                        number(value),
                        order,
                        option,
                        quoted(data),
                        number(value),
                        data.hex(),
                    )
                )
            try:
                data = struct.pack(order + "f", value)
            except OverflowError:
                data = struct.pack(order + "f", math.inf)
            lines.append(
                'print(bytes(string.pack("%sf", %s))) -- expect: %s\n'
                % (order, number(value), data.hex())
            )
    for text in [b"", b"a", b"hello", b"\x01\x02\xff", b"x" * 20]:
        lines.append(
            'print(bytes(string.pack("<s1", %s))) -- expect: %s\n'
            % (quoted(text), (bytes([len(text)]) + text).hex())
        )
        lines.append(
            'print(bytes(string.pack(">s2", %s))) -- expect: %s\n'
            % (quoted(text), (struct.pack(">H", len(text)) + text).hex())
        )
        lines.append(
            'print(bytes(string.pack("<s", %s))) -- expect: %s\n'
            % (quoted(text), (struct.pack("<I", len(text)) + text).hex())
        )
        lines.append(
            'print(bytes(string.pack("z", %s))) -- expect: %s\n'
            % (quoted(text), (text + b"\0").hex())
        )
        lines.append(
            'print(bytes(string.pack("c24", %s))) -- expect: %s\n'
            % (quoted(text), text.ljust(24, b"\0").hex())
        )
    # alignment, by C's own rules
    for _ in range(60):
        options, values, data, maximal = [], [], b"", random.choice([1, 2, 4, 8, 16])
        for _ in range(random.randint(1, 6)):
            size = random.choice([1, 2, 4, 8])
            align = min(size, maximal)
            data += b"\0" * (-len(data) % align)
            value = random.randint(0, 100)
            data += value.to_bytes(size, "little")
            options.append("i%d" % size)
            values.append(value)
        form = "<!%d %s" % (maximal, " ".join(options))
        lines.append(
            'print(bytes(string.pack("%s", %s)), string.packsize("%s")) -- expect: %s\t%d\n'
            % (form, ", ".join(map(str, values)), form, data.hex(), len(data))
        )
        lines.append(
            'print(string.unpack("%s", %s)) -- expect: %s\n'
            % (form, quoted(data), "\t".join(map(str, values + [len(data) + 1])))
        )
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(lines)


if __name__ == "__main__":
    formats(sys.argv[1] + "/string-format/numeric-conversions.luau")
    packs(sys.argv[1] + "/string-pack/known-bytes.luau")

#!/usr/bin/env python3
"""gen_numbers.py FOLDER: writes scripts of number formatting and reading into FOLDER.

The expectations come from Python's own conversions (repr gives the shortest digits that read back),
laid out by section 5.2 of the language description; nothing of the engine is used.
"""

import math
import random
import struct
import sys


def layout(value):
    """A double as Luau prints it."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    sign = "-" if math.copysign(1, value) < 0 else ""
    value = abs(value)
    if value == 0:
        return sign + "0"
    mantissa, _, exponent = ("%r" % value).partition("e")
    whole, _, fraction = mantissa.partition(".")
    if fraction == "0":
        fraction = ""
    point = len(whole) + int(exponent or 0)
    digits = whole + fraction
    stripped = digits.lstrip("0")
    point -= len(digits) - len(stripped)
    digits = stripped.rstrip("0")
    n = len(digits)
    if -5 <= point <= 21:
        if point <= 0:
            return sign + "0." + "0" * -point + digits
        if point >= n:
            return sign + digits + "0" * (point - n)
        return sign + digits[:point] + "." + digits[point:]
    e = point - 1
    text = digits[0] + ("." + digits[1:] if n > 1 else "")
    return sign + "%se%s%02d" % (text, "+" if e >= 0 else "-", abs(e))


def from_bits(bits):
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


def literal(value):
    """Source text of a double that any reader takes alike: an integer times a power of two."""
    m, e = math.frexp(value)
    return "ldexp(%d, %d)" % (int(m * 2**53), e - 53)


def write(path, head, lines):
    with open(path, "w", encoding="utf-8") as file:
        file.write(head)
        file.write("".join(lines))


def main():
    folder = sys.argv[1]
    random.seed(735)
    head = "-- Written by tests/tools/gen_numbers.py: %s\n" "local ldexp = math.ldexp\n"

    powers = [10.0**e for e in range(-30, 31)]
    values = []
    for p in powers:
        values += [p, 1.5 * p, 9.999 * p, math.nextafter(p, 0), math.nextafter(p, math.inf)]
    write(
        folder + "/number-layout-edges.luau",
        head % "printing around powers of ten",
        ["print(%s) -- expect: %s\n" % (literal(v), layout(v)) for v in values],
    )

    values = []
    while len(values) < 400:
        v = from_bits(random.getrandbits(64))
        if math.isfinite(v) and abs(v) > 1e-300:
            values.append(v)
    write(
        folder + "/number-layout-random.luau",
        head % "printing of random doubles",
        ["print(%s) -- expect: %s\n" % (literal(v), layout(v)) for v in values],
    )

    values = [random.uniform(-(10**k), 10**k) for k in range(-8, 23) for _ in range(6)]
    values += [float(random.getrandbits(k)) for k in range(1, 75) for _ in range(2)]
    values += [round(random.uniform(0, 1000), d) for d in range(1, 8) for _ in range(5)]
    write(
        folder + "/number-layout-common.luau",
        head % "printing of numbers of daily life",
        ["print(%s) -- expect: %s\n" % (literal(v), layout(v)) for v in values],
    )

    tiny = [
        from_bits(b) for b in [1, 2, 3, 10, 99, 2**20, 2**51, 2**52 - 1, 2**52, 2**52 + 1]
    ]
    tiny += [from_bits(random.getrandbits(52)) for _ in range(40)]
    tiny += [from_bits(0x7FEFFFFFFFFFFFFF), from_bits(0x7FEFFFFFFFFFFFFE), 2.0**1023]
    lines = [
        'print(string.unpack("<d", "%s")) -- expect: %s\t9\n'
        % ("".join("\\x%02x" % b for b in struct.pack("<d", v)), layout(v))
        for v in tiny
    ]
    write(
        folder + "/number-layout-subnormal.luau",
        "-- Written by tests/tools/gen_numbers.py: the smallest and the greatest numbers\n",
        lines,
    )

    texts = []
    for _ in range(150):
        digits = "".join(random.choice("0123456789") for _ in range(random.randint(1, 25)))
        at = random.randint(0, len(digits))
        text = digits[:at] + "." + digits[at:] if random.random() < 0.7 else digits
        if text == ".":
            continue
        if random.random() < 0.6:
            text += (
                random.choice("eE") + random.choice(["", "+", "-"]) + str(random.randint(0, 320))
            )
        texts.append(text)
    # halfway cases: exactly between two doubles, and a hair above
    for _ in range(30):
        v = from_bits(random.randint(0x3FF0000000000000, 0x43F0000000000000))
        w = math.nextafter(v, math.inf)
        from decimal import Decimal, getcontext

        getcontext().prec = 1200
        middle = (Decimal(v) + Decimal(w)) / 2
        texts += [
            format(middle, "f"),
            format(middle, "f") + ("" if "." in format(middle, "f") else ".0") + "1",
        ]
    lines = [
        'print(tonumber("%s"), %s) -- expect: %s\t%s\n' % (t, t, layout(float(t)), layout(float(t)))
        for t in texts
    ]
    write(
        folder + "/number-reading.luau",
        "-- Written by tests/tools/gen_numbers.py: reading of decimal numbers, as string and in "
        "source\n",
        lines,
    )

    hexes = ["%x" % random.getrandbits(k) for k in range(1, 90) for _ in range(2)]
    lines = []
    for h in hexes:
        exact = float(int(h, 16))
        source = float(min(int(h, 16), 2**64 - 1))
        lines.append(
            'print(tonumber("0x%s"), 0x%s) -- expect: %s\t%s\n'
            % (h, h, layout(exact), layout(source))
        )
    for _ in range(40):
        h = "%x.%x" % (random.getrandbits(20), random.getrandbits(40))
        e = random.randint(-60, 60)
        value = float.fromhex("0x%sp%d" % (h, e))
        lines.append('print(tonumber("0x%sp%d")) -- expect: %s\n' % (h, e, layout(value)))
    write(
        folder + "/number-reading-hex.luau",
        "-- Written by tests/tools/gen_numbers.py: reading of hexadecimal numbers\n",
        lines,
    )


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""gen_integers.py FILE: writes a script of operations on 64-bit integers; Python's own are the judge."""

import random
import sys

LOW, HIGH = -(2**63), 2**63 - 1


def wrap(n):
    n &= 2**64 - 1
    return n - 2**64 if n > HIGH else n


def unsigned(n):
    return n % 2**64


def literal(n):
    return "0x%xi" % unsigned(n)


def trunc_div(a, b):
    q = abs(a) // abs(b)
    return -q if (a < 0) != (b < 0) else q


def shift_left(a, n):
    if n <= -64 or n >= 64:
        return 0
    return wrap(a << n) if n >= 0 else wrap(unsigned(a) >> -n)


def arithmetic_shift(a, n):
    if n < 0:
        return shift_left(a, -n)
    return a >> min(n, 63)


def rotate(a, n):
    n %= 64
    a = unsigned(a)
    return wrap((a << n) | (a >> (64 - n))) if n else wrap(a)


def pick():
    kind = random.random()
    if kind < 0.25:
        return random.choice(
            [0, 1, -1, 2, -2, 7, -7, LOW, HIGH, LOW + 1, HIGH - 1, 2**32, -(2**32), 2**31]
        )
    bits = random.randint(1, 63)
    return random.getrandbits(bits) * random.choice([1, -1])


BINARY = {
    "add": lambda a, b: wrap(a + b),
    "sub": lambda a, b: wrap(a - b),
    "mul": lambda a, b: wrap(a * b),
    "div": lambda a, b: trunc_div(a, b) if b and (a, b) != (LOW, -1) else None,
    "rem": lambda a, b: (0 if (a, b) == (LOW, -1) else a - b * trunc_div(a, b)) if b else None,
    "idiv": lambda a, b: a // b if b and (a, b) != (LOW, -1) else None,
    "mod": lambda a, b: a % b if b else None,
    "udiv": lambda a, b: wrap(unsigned(a) // unsigned(b)) if b else None,
    "urem": lambda a, b: wrap(unsigned(a) % unsigned(b)) if b else None,
    "min": min,
    "max": max,
    "band": lambda a, b: wrap(unsigned(a) & unsigned(b)),
    "bor": lambda a, b: wrap(unsigned(a) | unsigned(b)),
    "bxor": lambda a, b: wrap(unsigned(a) ^ unsigned(b)),
    "btest": lambda a, b: unsigned(a) & unsigned(b) != 0,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "ult": lambda a, b: unsigned(a) < unsigned(b),
    "ule": lambda a, b: unsigned(a) <= unsigned(b),
    "ugt": lambda a, b: unsigned(a) > unsigned(b),
    "uge": lambda a, b: unsigned(a) >= unsigned(b),
}
SHIFTS = {
    "lshift": shift_left,
    "rshift": lambda a, n: shift_left(a, -n),
    "arshift": arithmetic_shift,
}
UNARY = {
    "neg": lambda a: wrap(-a),
    "bnot": lambda a: wrap(~a),
    "countlz": lambda a: 64 - unsigned(a).bit_length(),
    "countrz": lambda a: 64 if a == 0 else (unsigned(a) & -unsigned(a)).bit_length() - 1,
    "bswap": lambda a: wrap(int.from_bytes(unsigned(a).to_bytes(8, "little"), "big")),
}


def shown(v):
    return str(v).lower()


def main():
    random.seed(64)
    out = ["-- Written by tests/tools/gen_integers.py: operations on 64-bit integers\n"]
    for name, f in BINARY.items():
        for _ in range(20):
            a, b = pick(), pick()
            if f(a, b) is not None:
                out.append(
                    "print(integer.%s(%s, %s)) -- expect: %s\n"
                    % (name, literal(a), literal(b), shown(f(a, b)))
                )
    for name, f in SHIFTS.items():
        for _ in range(25):
            a, n = pick(), random.choice([0, 1, 5, 31, 32, 63, 64, 100, -1, -5, -63, -64, -100])
            out.append(
                "print(integer.%s(%s, %s)) -- expect: %s\n"
                % (name, literal(a), literal(n), shown(f(a, n)))
            )
    for name, sign in (("lrotate", 1), ("rrotate", -1)):
        for _ in range(20):
            a, n = pick(), random.choice([0, 1, 7, 32, 63, 64, 65, -1, -64])
            out.append(
                "print(integer.%s(%s, %s)) -- expect: %d\n"
                % (name, literal(a), literal(n), rotate(a, sign * n))
            )
    for name, f in UNARY.items():
        for _ in range(12):
            a = pick()
            out.append("print(integer.%s(%s)) -- expect: %d\n" % (name, literal(a), f(a)))
    for _ in range(40):
        a = pick()
        out.append(
            'print(%s, tostring(%s), integer.fromstring("%d") == %s, string.format("%%d", %s)) -- expect: %d\t%d\ttrue\t%d\n'
            % (literal(a), literal(a), a, literal(a), literal(a), a, a, a)
        )
        width = random.randint(1, 32)
        at = random.randint(0, 64 - width)
        out.append(
            "print(integer.extract(%s, %di, %di)) -- expect: %d\n"
            % (literal(a), at, width, (unsigned(a) >> at) & (2**width - 1))
        )
        b = pick()
        mask = (2**width - 1) << at
        value = wrap((unsigned(a) & ~mask) | ((unsigned(b) << at) & mask))
        out.append(
            "print(integer.replace(%s, %s, %di, %di)) -- expect: %d\n"
            % (literal(a), literal(b), at, width, value)
        )
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.writelines(out)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""differ.py [-n COUNT] [-s SEED] LUAU_COMMAND -- LUA_COMMAND: random programs, run by both.

Programs use what Luau and Lua 5.1 (LuaJIT) share; what only Luau has (continue, compound assignment,
if expressions, interpolation, //) is written out for the other. A difference in output is kept as
differ-SEED.luau and .lua in the current folder. Numbers stay small integers, and functions called
inside expressions do not change variables, so that the order of evaluation, where the languages
differ, does not show.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile


class Program:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.lines = [[], []]  # Luau, Lua
        self.indent = 0
        self.scopes = [[]]
        self.functions = []  # (name, parameters, pure)
        self.count = 0
        self.loops = []  # continue labels of the loops around, per function
        self.vararg = [False]
        self.pure = [False]
        self.depth = 0
        self.budget = 400

    # ---- text
    def emit(self, luau, lua=None):
        pad = "  " * self.indent
        self.lines[0].append(pad + luau)
        self.lines[1].append(pad + (luau if lua is None else lua))

    def name(self, prefix="v"):
        self.count += 1
        return "%s%d" % (prefix, self.count)

    # ---- variables: (name, kind, writable)
    def variables(self, kind, writable=False):
        return [
            v for scope in self.scopes for v in scope if v[1] == kind and (v[2] or not writable)
        ]

    def declare(self, name, kind, writable=True):
        self.scopes[-1].append((name, kind, writable))

    def pick(self, kind, writable=False):
        found = self.variables(kind, writable)
        return self.random.choice(found)[0] if found else None

    # ---- expressions: pairs (Luau, Lua)
    def number(self, depth=0):
        r = self.random
        choice = r.random()
        if depth > 3 or choice < 0.2:
            n = r.randint(-20, 300)
            text = str(n) if n >= 0 else "(%d)" % n
            return text, text
        if choice < 0.45:
            v = self.pick("n")
            if v:
                return v, v
        if choice < 0.70:
            op = r.choice(["+", "-", "*", "+", "-", "%", "//", "+"])
            a, b = self.number(depth + 1), self.number(depth + 1)
            if op == "%":
                d = str(r.randint(1, 97))
                return "(%s %% %s)" % (a[0], d), "(%s %% %s)" % (a[1], d)
            if op == "//":
                d = str(r.randint(1, 9))
                return "(%s // %s)" % (a[0], d), "math.floor(%s / %s)" % (a[1], d)
            if op == "*":
                return "(%s * %s %% 1009)" % (a[0], b[0]), "(%s * %s %% 1009)" % (a[1], b[1])
            return "(%s %s %s)" % (a[0], op, b[0]), "(%s %s %s)" % (a[1], op, b[1])
        if choice < 0.76:
            t = self.table_access(depth)
            if t:
                return t
        if choice < 0.82:
            a = self.string(depth + 1)
            return "#%s" % a[0], "#%s" % a[1]
        if choice < 0.88:
            c, a, b = self.condition(depth + 1), self.number(depth + 1), self.number(depth + 1)
            return "(if %s then %s else %s)" % (c[0], a[0], b[0]), self.lazy(c[1], a[1], b[1])
        if choice < 0.93:
            c, a, b = self.condition(depth + 1), self.number(depth + 1), self.number(depth + 1)
            return "((%s) and %s or %s)" % (c[0], a[0], b[0]), "((%s) and %s or %s)" % (
                c[1],
                a[1],
                b[1],
            )
        if choice < 0.98:
            call = self.pure_call(depth)
            if call:
                return "(%s or 0)" % call[0], "(%s or 0)" % call[1]
        if self.vararg[-1]:
            return "(N(...))", "(N(...))"
        a = self.number(depth + 1)
        return "-%s" % a[0] if a[0][0] != "-" else a[0], "-%s" % a[1] if a[1][0] != "-" else a[1]

    def lazy(self, c, a, b):
        dots = "..." if self.vararg[-1] else ""
        return "IF(%s, function(%s) return %s end, function(%s) return %s end%s)" % (
            c,
            dots,
            a,
            dots,
            b,
            ", ..." if dots else "",
        )

    def table_access(self, depth):
        t = self.pick("t")
        if not t:
            return None
        r = self.random
        if r.random() < 0.5:
            k = r.choice(["1", "2", "3"])
            return "N(%s[%s])" % (t, k), "N(%s[%s])" % (t, k)
        if r.random() < 0.5:
            f = r.choice(["x", "y", "z"])
            return "N(%s.%s)" % (t, f), "N(%s.%s)" % (t, f)
        i = self.number(depth + 1)
        return "N(%s[%s])" % (t, i[0]), "N(%s[%s])" % (t, i[1])

    def pure_call(self, depth):
        usable = [f for f in self.functions if f[2]]
        if not usable or depth > 2:
            return None
        name, parameters, _ = self.random.choice(usable)
        return self.call(name, parameters, depth)

    def call(self, name, parameters, depth=0):
        args = [
            self.number(depth + 2)
            for _ in range(self.random.randint(max(0, parameters - 1), parameters + 1))
        ]
        if self.vararg[-1] and self.random.random() < 0.3:
            args.append(("...", "..."))
        return (
            "%s(%s)" % (name, ", ".join(a[0] for a in args)),
            "%s(%s)" % (name, ", ".join(a[1] for a in args)),
        )

    def string(self, depth=0):
        r = self.random
        choice = r.random()
        if depth > 3 or choice < 0.3:
            text = '"%s"' % r.choice(["", "a", "bc", "xyz", "10", "q r"])
            return "(%s)" % text, "(%s)" % text
        if choice < 0.5:
            v = self.pick("s")
            if v:
                return v, v
        if choice < 0.7:
            a, b = self.string(depth + 1), self.string(depth + 1)
            c = self.number(depth + 1)
            return "(%s .. N(%s) .. %s):sub(1, 30)" % (
                a[0],
                c[0],
                b[0],
            ), "(%s .. N(%s) .. %s):sub(1, 30)" % (a[1], c[1], b[1])
        if choice < 0.85:
            a, b = self.number(depth + 2), self.string(depth + 2)
            if "`" in a[0] or "`" in b[0]:
                return '("d")', '("d")'
            return "(`<{N(%s)}|{%s}>`):sub(1, 40)" % (
                a[0],
                b[0],
            ), '("<" .. N(%s) .. "|" .. %s .. ">"):sub(1, 40)' % (a[1], b[1])
        a = self.string(depth + 1)
        f = r.choice(["upper()", "rep(2):sub(1, 20)", "sub(2)", "reverse()", "lower()"])
        return "(%s):%s" % (a[0], f), "(%s):%s" % (a[1], f)

    def condition(self, depth=0):
        r = self.random
        choice = r.random()
        if depth > 3 or choice < 0.55:
            op = r.choice(["<", "<=", ">", ">=", "==", "~="])
            a, b = self.number(depth + 2), self.number(depth + 2)
            return "%s %s %s" % (a[0], op, b[0]), "%s %s %s" % (a[1], op, b[1])
        if choice < 0.75:
            a, b = self.condition(depth + 1), self.condition(depth + 1)
            op = r.choice(["and", "or"])
            return "(%s %s %s)" % (a[0], op, b[0]), "(%s %s %s)" % (a[1], op, b[1])
        if choice < 0.85:
            a = self.condition(depth + 1)
            return "not (%s)" % a[0], "not (%s)" % a[1]
        if choice < 0.92:
            b = self.pick("b")
            if b:
                return b, b
        a, b = self.string(depth + 2), self.string(depth + 2)
        op = r.choice(["==", "<", "~="])
        return "(%s %s %s)" % (a[0], op, b[0]), "(%s %s %s)" % (a[1], op, b[1])

    # ---- statements
    def block(self, size=None):
        self.indent += 1
        self.scopes.append([])
        for _ in range(size or self.random.randint(1, 5)):
            self.statement()
        self.scopes.pop()
        self.indent -= 1

    def statement(self):
        self.budget -= 1
        if self.budget < 0:
            return self.show()
        r = self.random
        simple = [
            self.local,
            self.assign,
            self.compound,
            self.show,
            self.store,
            self.local_table,
            self.multiple,
        ]
        nested = [
            self.if_statement,
            self.numeric_for,
            self.while_loop,
            self.repeat_loop,
            self.generic_for,
            self.do_block,
            self.function,
            self.protected,
            self.jump,
            self.closures,
            self.coroutine,
        ]
        if self.depth > 3 or r.random() < 0.6:
            r.choice(simple)()
        else:
            self.depth += 1
            r.choice(nested)()
            self.depth -= 1

    def local(self):
        r = self.random
        kind = r.choice("nnnsb")
        value = {"n": self.number, "s": self.string, "b": self.condition}[kind]()
        name = self.name()
        self.emit("local %s = %s" % (name, value[0]), "local %s = %s" % (name, value[1]))
        self.declare(name, kind)

    def multiple(self):
        usable = self.functions
        if usable and self.random.random() < 0.6:
            f, parameters, _ = self.random.choice(usable)
            call = self.call(f, parameters)
            a, b = self.name(), self.name()
            self.emit("local %s, %s = %s" % (a, b, call[0]), "local %s, %s = %s" % (a, b, call[1]))
            self.emit("%s, %s = N(%s), N(%s)" % (a, b, a, b))
        else:
            a, b = self.name(), self.name()
            x, y, z = self.number(), self.number(), self.number()
            self.emit(
                "local %s, %s = %s, %s, %s" % (a, b, x[0], y[0], z[0]),
                "local %s, %s = %s, %s, %s" % (a, b, x[1], y[1], z[1]),
            )
        self.declare(a, "n")
        self.declare(b, "n")

    def assign(self):
        kind = self.random.choice("nns")
        target = self.writable(kind)
        if not target:
            return self.local()
        value = self.number() if kind == "n" else self.string()
        if kind == "n" and self.random.random() < 0.3:
            other = self.writable("n")
            if other != target:
                second = self.number()
                self.emit(
                    "%s, %s = %s, %s" % (target, other, value[0], second[0]),
                    "%s, %s = %s, %s" % (target, other, value[1], second[1]),
                )
                return
        self.emit("%s = %s" % (target, value[0]), "%s = %s" % (target, value[1]))

    def writable(self, kind):
        """Pure functions change only what they declared themselves."""
        if self.pure[-1]:
            own = [
                v for scope in self.scopes[self.pure[-1] :] for v in scope if v[1] == kind and v[2]
            ]
            return self.random.choice(own)[0] if own else None
        return self.pick(kind, True)

    def compound(self):
        target = self.writable("n")
        if not target:
            return self.local()
        op = self.random.choice(["+", "-", "+"])
        value = self.number()
        self.emit(
            "%s %s= %s" % (target, op, value[0]), "%s = %s %s (%s)" % (target, target, op, value[1])
        )
        self.emit("%s %%= 1009" % target, "%s = %s %% 1009" % (target, target))

    def local_table(self):
        name = self.name("t")
        a, b, c = self.number(), self.number(), self.number()
        self.emit(
            "local %s = { %s, x = %s, %s }" % (name, a[0], b[0], c[0]),
            "local %s = { %s, x = %s, %s }" % (name, a[1], b[1], c[1]),
        )
        self.declare(name, "t")

    def store(self):
        t = self.writable("t")
        if not t:
            return self.local_table()
        r = self.random
        value = self.number()
        key = r.choice(["[1]", "[2]", "[3]", ".x", ".y", ".z"])
        if r.random() < 0.4:
            self.emit("%s%s = N(%s%s)" % (t, key, t, key))
            self.emit(
                "%s%s += %s" % (t, key, value[0]), "%s%s = %s%s + (%s)" % (t, key, t, key, value[1])
            )
            self.emit("%s%s %%= 1009" % (t, key), "%s%s = %s%s %% 1009" % (t, key, t, key))
        else:
            self.emit("%s%s = %s" % (t, key, value[0]), "%s%s = %s" % (t, key, value[1]))

    def show(self):
        r = self.random
        parts = [
            r.choice([self.number, self.number, self.string, self.condition])()
            for _ in range(r.randint(1, 3))
        ]
        self.count += 1
        self.emit(
            "P(%d, %s)" % (self.count, ", ".join(p[0] for p in parts)),
            "P(%d, %s)" % (self.count, ", ".join(p[1] for p in parts)),
        )

    def if_statement(self):
        c = self.condition()
        self.emit("if %s then" % c[0], "if %s then" % c[1])
        self.block()
        while self.random.random() < 0.3:
            c = self.condition()
            self.emit("elseif %s then" % c[0], "elseif %s then" % c[1])
            self.block()
        if self.random.random() < 0.6:
            self.emit("else")
            self.block()
        self.emit("end")

    def loop_body(self, variables, before=None, after=None):
        self.indent += 1
        self.scopes.append([])
        for v, kind in variables:
            self.declare(v, kind, kind == "n" and self.random.random() < 0.3)
        label = self.name("L")
        self.loops.append(label)
        if before:
            self.emit(before)
        self.lines[1].append("  " * self.indent + "do")
        for _ in range(self.random.randint(1, 4)):
            self.statement()
        self.lines[1].append("  " * self.indent + "end")
        self.lines[1].append("  " * self.indent + "::%s::" % label)
        self.loops.pop()
        self.scopes.pop()
        self.indent -= 1

    def numeric_for(self):
        r = self.random
        v = self.name("i")
        a, b = r.randint(-2, 3), r.randint(0, 4)
        step = r.choice(["", "", ", 1", ", 2", ", -1", ", 3"])
        if step == ", -1":
            a, b = b, a
        self.emit("for %s = %d, %d%s do" % (v, a, b, step))
        self.loop_body([(v, "n")])
        self.emit("end")

    def while_loop(self):
        v = self.name("w")
        self.emit("local %s = 0" % v)
        c = self.condition()
        self.emit("while %s < 3 and (%s) do" % (v, c[0]), "while %s < 3 and (%s) do" % (v, c[1]))
        self.loop_body([], before="%s = %s + 1" % (v, v))
        self.emit("end")

    def repeat_loop(self):
        v, last = self.name("w"), self.name("u")
        self.emit("local %s = 0" % v)
        self.emit("repeat")
        self.indent += 1
        self.scopes.append([])
        self.emit("%s = %s + 1" % (v, v))
        value = self.number()
        self.emit("local %s = %s" % (last, value[0]), "local %s = %s" % (last, value[1]))
        self.declare(last, "n")
        # Lua's goto continue may not jump into the scope of a local: no jumps here
        self.loops.append(None)
        for _ in range(self.random.randint(1, 4)):
            self.statement()
        self.loops.pop()
        c = self.condition()
        self.scopes.pop()
        self.indent -= 1
        self.emit("until %s >= 3 or (%s)" % (v, c[0]), "until %s >= 3 or (%s)" % (v, c[1]))

    def generic_for(self):
        t = self.pick("t")
        k, v = self.name("k"), self.name("v")
        items = [self.number() for _ in range(self.random.randint(0, 3))]
        luau, lua = "{ %s }" % ", ".join(i[0] for i in items), "{ %s }" % ", ".join(
            i[1] for i in items
        )
        form = self.random.random()
        if form < 0.4:
            self.emit(
                "for %s, %s in ipairs(%s) do" % (k, v, luau),
                "for %s, %s in ipairs(%s) do" % (k, v, lua),
            )
        elif form < 0.7:
            self.emit(
                "for %s, %s in %s do" % (k, v, luau), "for %s, %s in pairs(%s) do" % (k, v, lua)
            )
        else:
            self.emit("for %s, %s in R(%d) do" % (k, v, self.random.randint(0, 3)))
        self.loop_body([(k, "n"), (v, "n")])
        self.emit("end")

    def do_block(self):
        self.emit("do")
        self.block()
        self.emit("end")

    def jump(self):
        if not self.loops or self.loops[-1] is None:
            return self.show()
        c = self.condition()
        if self.random.random() < 0.5:
            self.emit("if %s then break end" % c[0], "if %s then break end" % c[1])
        else:
            self.emit(
                "if %s then continue end" % c[0], "if %s then goto %s end" % (c[1], self.loops[-1])
            )

    def function(self):
        r = self.random
        name = self.name("f")
        parameters = [self.name("p") for _ in range(r.randint(0, 3))]
        vararg = r.random() < 0.3
        pure = bool(self.pure[-1]) or r.random() < 0.6
        heads = parameters + (["..."] if vararg else [])
        self.emit("local function %s(%s)" % (name, ", ".join(heads)))
        self.indent += 1
        outer_functions = list(self.functions)
        if pure:
            self.functions = [f for f in self.functions if f[2]]
        self.scopes.append([])
        self.pure.append((self.pure[-1] or len(self.scopes) - 1) if pure else False)
        if pure:
            self.pure[-1] = len(self.scopes) - 1
        self.vararg.append(vararg)
        loops, self.loops = self.loops, []
        for p in parameters:
            self.emit("%s = N(%s)" % (p, p))
            self.declare(p, "n")
        for _ in range(r.randint(1, 4)):
            self.statement()
        values = [self.number() for _ in range(r.randint(0, 3))]
        if vararg and r.random() < 0.4:
            values.append(("...", "..."))
        self.emit(
            "return %s" % ", ".join(v[0] for v in values),
            "return %s" % ", ".join(v[1] for v in values),
        )
        self.loops = loops
        self.vararg.pop()
        self.pure.pop()
        self.scopes.pop()
        self.functions = outer_functions
        self.indent -= 1
        self.emit("end")
        self.functions.append((name, len(parameters), pure))
        # visible only in this block: forget it with the scope
        index = len(self.functions)
        self.scopes[-1].append(("", "function", index))

    def protected(self):
        ok, e = self.name("ok"), self.name("e")
        self.emit("local %s, %s = pcall(function()" % (ok, e))
        loops, self.loops = self.loops, []
        self.vararg.append(False)
        functions = list(self.functions)
        self.block()
        self.indent += 1
        if self.random.random() < 0.7:
            c = self.condition()
            v = self.number()
            self.emit(
                "if %s then error({ %s }) end" % (c[0], v[0]),
                "if %s then error({ %s }) end" % (c[1], v[1]),
            )
        v = self.number()
        self.emit("return %s" % v[0], "return %s" % v[1])
        self.indent -= 1
        self.functions = functions
        self.vararg.pop()
        self.loops = loops
        self.emit("end)")
        self.emit("P(%s, type(%s) == 'table' and %s[1] or N(%s))" % (ok, e, e, e))
        self.declare(ok, "b")

    def closures(self):
        """Closures made in a loop over its own variables, called after it."""
        t, i, j = self.name("c"), self.name("i"), self.name("j")
        self.emit("local %s = {}" % t)
        self.emit("for %s = 1, %d do" % (i, self.random.randint(1, 3)))
        self.indent += 1
        self.scopes.append([])
        self.declare(i, "n", False)
        v = self.number()
        self.emit("local %s = %s" % (j, v[0]), "local %s = %s" % (j, v[1]))
        self.declare(j, "n")
        w = self.number()
        self.emit(
            "%s[%s] = function(d) %s = %s + d + (%s) return %s, %s end" % (t, i, j, j, "0", j, i)
        )
        c = self.condition()
        if self.random.random() < 0.4:
            self.emit("if %s then break end" % c[0], "if %s then break end" % c[1])
        self.emit("%s = %s + (%s)" % (j, j, w[0]), "%s = %s + (%s)" % (j, j, w[1]))
        self.scopes.pop()
        self.indent -= 1
        self.emit("end")
        self.emit("for _, g in ipairs(%s) do P(g(1)) P(g(10)) end" % t)

    def coroutine(self):
        co, a = self.name("co"), self.name("a")
        self.emit("local %s = coroutine.wrap(function(%s)" % (co, a))
        loops, self.loops = self.loops, []
        functions = list(self.functions)
        self.vararg.append(False)
        self.indent += 1
        self.scopes.append([])
        self.emit("%s = N(%s)" % (a, a))
        self.declare(a, "n")
        for _ in range(self.random.randint(1, 3)):
            v, b = self.number(), self.name("b")
            self.emit(
                "local %s = N(coroutine.yield(%s))" % (b, v[0]),
                "local %s = N(coroutine.yield(%s))" % (b, v[1]),
            )
            self.declare(b, "n")
            self.statement()
        v = self.number()
        self.emit("return %s" % v[0], "return %s" % v[1])
        self.scopes.pop()
        self.indent -= 1
        self.vararg.pop()
        self.functions = functions
        self.loops = loops
        self.emit("end)")
        self.emit("P(%s(1)) P(%s(2))" % (co, co))

    def whole(self):
        prelude = [
            "local steps = 0",
            "local function S(n) return (string.format('%d', n)) end",
            "local function P(...)",
            "  steps = steps + 1",
            "  if steps > 2000 then error('enough', 0) end",
            "  local out = {}",
            "  for i = 1, select('#', ...) do",
            "    local v = (select(i, ...))",
            "    out[i] = type(v) == 'number' and (v == v and math.abs(v) < 1e15 and S(v) or 'big') or tostring(v)",
            "  end",
            "  print(table.concat(out, ' '))",
            "end",
            "local function N(n) return type(n) == 'number' and n % 1009 or 0 end",
            "local function IF(c, a, b, ...) if c then return (a(...)) else return (b(...)) end end",
            "local function R(n) return function(s, c) if c < s then return c + 1, c * 10 end end, n, 0 end",
        ]
        for _ in range(self.random.randint(10, 45)):
            # a function declared in a block may not be called outside of it
            self.statement()
        return ["\n".join(prelude + lines) + "\n" for lines in self.lines]


def scoped(method):
    """Functions are forgotten with the block that declared them."""

    def wrapped(self, *args, **kwargs):
        functions = list(self.functions)
        method(self, *args, **kwargs)
        self.functions = functions

    return wrapped


for _name in ["block", "loop_body", "repeat_loop", "closures", "coroutine", "protected"]:
    setattr(Program, _name, scoped(getattr(Program, _name)))


def run(command, text, suffix):
    with tempfile.NamedTemporaryFile("w", suffix=suffix, delete=False) as file:
        file.write(text)
    try:
        done = subprocess.run(
            command + [file.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            timeout=20,
        )
        return done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired:
        return -99, b"", b"timeout"
    finally:
        os.unlink(file.name)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("-s", type=int, default=1)
    at = sys.argv.index("--")
    options, luau = parser.parse_known_args(sys.argv[1:at])
    lua = sys.argv[at + 1 :]
    different = 0
    for seed in range(options.s, options.s + options.n):
        program = Program(seed)
        texts = program.whole()
        a, b = run(luau, texts[0], ".luau"), run(lua, texts[1], ".lua")
        enough = b"enough" in a[2] and b"enough" in b[2]
        if a[1] != b[1] or (a[0] != b[0] and not enough):
            different += 1
            print("seed", seed, "status", a[0], b[0], a[2][:200], b[2][:200])
            for text, suffix in zip(texts, [".luau", ".lua"]):
                with open("differ-%d%s" % (seed, suffix), "w") as file:
                    file.write(text)
    print(options.n, "programs,", different, "differ")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""embed_templates.py FOLDER OUT: the templates of a folder as a C file (src/cli/samples.h).

The folder is laid out as src/worker/templates.h says: NAME.luau with NAME.json, or NAME/init.luau with
its files and template.json. Tests (*.test.luau) stay out.
"""

import json
import os
import sys


def literal(text):
    """A C string literal of the bytes of the text."""
    out = []
    for byte in text.encode():
        char = chr(byte)
        if char == "\n":
            out.append('\\n"\n        "')
        elif char in '"\\':
            out.append("\\" + char)
        elif 32 <= byte < 127:
            out.append(char)
        else:
            out.append(f"\\{byte:03o}")
    return '"' + "".join(out) + '"'


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def load(folder):
    """Name -> (meta, [(path, source)])."""
    templates = {}
    for entry in sorted(os.listdir(folder)):
        path = os.path.join(folder, entry)
        name = entry.removesuffix(".luau")
        if os.path.isdir(path):
            files = []
            for where, _, names in os.walk(path):
                for file in names:
                    if file.endswith(".test.luau"):
                        continue
                    full = os.path.join(where, file)
                    files.append((os.path.relpath(full, path), read(full)))
            meta = dict(files).get("template.json", "{}")
            templates[name] = (json.loads(meta), sorted(f for f in files if f[0] != "template.json"))
        elif entry.endswith(".luau") and not entry.endswith(".test.luau"):
            meta = os.path.join(folder, name + ".json")
            meta = json.loads(read(meta)) if os.path.exists(meta) else {}
            templates[name] = (meta, [("init.luau", read(path))])
    return templates


def put_texts(out, name, texts):
    if texts:
        out.append(f"static const char *const {name}[] = {{{', '.join(map(literal, texts))}}};")


def put_template(out, number, meta, files):
    put_texts(out, f"events_{number}", meta.get("events", []))
    put_texts(out, f"capabilities_{number}", meta.get("capabilities", ["*"]))
    out.append(f"static const SampleFile files_{number}[] = {{")
    for path, source in files:
        out.append(f"    {{{literal(path)},\n        {literal(source)}}},")
    out.append("};")


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    templates = load(sys.argv[1])
    out = ["/* Made by tools/embed_templates.py. */", '#include "cli/samples.h"', ""]
    rows = []
    for number, (name, (meta, files)) in enumerate(sorted(templates.items())):
        put_template(out, number, meta, files)
        row = {"name": literal(name), "files": f"files_{number}", "file_count": len(files)}
        if "description" in meta:
            row["description"] = literal(meta["description"])
        for field, default in (("events", []), ("capabilities", ["*"])):
            if meta.get(field, default):
                row[field] = f"{field}_{number}"
                row[field[:-1].replace("capabilitie", "capability") + "_count"] = len(meta.get(field, default))
        rows.append("    {" + ", ".join(f".{key} = {value}" for key, value in row.items()) + "},")
    out += ["const Sample SAMPLES[] = {", *rows, "};", f"const int SAMPLE_COUNT = {len(rows)};", ""]
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write("\n".join(out))


if __name__ == "__main__":
    main()

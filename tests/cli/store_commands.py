"""The commands that look into the store: each case is a session in a folder of its own, a list of
(arguments, exit status, standard output, standard error), with the files that it begins with. Times in what is
printed become TIME."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

FACTOR = float(os.environ.get("TIME_FACTOR", "1"))

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

FILES = {
    "hi.luau": 'local event, ctx = ...\nreturn "hi"\n',
    "visits.luau": "local event, ctx = ...\nlocal n = (ctx.KV:get('visits', {'s'}) or 0) + 1\n"
                   "ctx.KV:set('visits', n, {'s'})\nreturn n\n",
    "bad.luau": "local x = = 1\n",
    "big/init.luau": 'return require("./lib/a")\n',
    "big/lib/a.luau": "return 1\n",
    "big/template.json": json.dumps({"description": "two files", "events": ["MESSAGE_CREATE", "KeyExpiry[x]"],
                                     "capabilities": ["kv:*"]}),
    "wrong.luau": "return 1\n",
    "wrong.json": '{"evnts": []}',
}

NO_STORE = ["there is no store at template-worker.db", "--store FILE or TEMPLATE_WORKER_STORE names another"]
KV = ["--guild", "42", "--scope", "users"]

SESSIONS = {
    "templates": [
        (["templates", "list"], 1, "", NO_STORE),
        (["templates", "save", "hi.luau"], 0, "hi is at version 1\n", ""),
        (["templates", "save", "hi.luau"], 0, "hi is unchanged, at version 1\n", ""),
        (["templates", "save", "hi.luau", "--if-version", "0"], 1, "",
         "template-worker: there is a template 'hi' already, at version 1\n"),
        (["templates", "save", "big", "--disabled"], 0, "big is at version 1\n", ""),
        (["templates", "list"], 0,
         "NAME  VERSION  ENABLED  EVENTS                        CAPABILITIES  BYTES  UPDATED\n"
         "big   1        no       MESSAGE_CREATE, KeyExpiry[x]  kv:*          35     TIME\n"
         "hi    1        yes      -                             *             35     TIME\n", ""),
        (["templates", "save", "hi.luau", "--event", "A", "--event", "B[c]", "--capability", "kv:get",
          "--description", "says \"hi\""], 0, "hi is at version 2\n", ""),
        (["templates", "versions", "hi"], 0,
         "VERSION  CURRENT  ENABLED  BYTES  SAVED\n"
         "2        yes      yes      35     TIME\n"
         "1        -        yes      35     TIME\n", ""),
        (["templates", "activate", "hi", "1", "--if-version", "1"], 1, "",
         "template-worker: the current version of template 'hi' is 2, but version 1 was expected\n"),
        (["templates", "activate", "hi", "1"], 0, "hi is at version 1\n", ""),
        (["templates", "activate", "hi", "7"], 1, "",
         "template-worker: there is no version 7 of template 'hi'. See template-worker templates versions\n"),
        (["templates", "show", "hi", "--version", "2"], 0,
         "name          hi\nversion       2\nenabled       yes\ndescription   says \"hi\"\n"
         "events        A, B[c]\ncapabilities  kv:get\ncreated       TIME\nsaved         TIME\n"
         "\n==> init.luau <==\nlocal event, ctx = ...\nreturn \"hi\"\n", ""),
        (["templates", "show", "nobody"], 1, "",
         "template-worker: there is no template 'nobody'. See template-worker templates list\n"),
        (["templates", "delete", "hi", "--if-version", "2"], 1, "", ["is 1, but version 2 was expected"]),
        (["templates", "delete", "hi"], 0, "hi and all its versions are deleted\n", ""),
        (["templates", "delete", "hi"], 1, "", ["there is no template 'hi'"]),
        (["templates", "save", "hi.luau"], 0, "hi is at version 3\n", ""),
        (["templates", "list", "--guild", "5"], 0, "the guild has no templates of its own\n", ""),
        (["templates", "save", "hi.luau", "--guild", "18446744073709551615", "--name", "mine"], 0,
         "mine is at version 1\n", ""),
        (["templates", "show", "hi", "--guild", "5"], 1, "", ["there is no template 'hi' in guild 5"]),
        (["templates", "list", "--guild", "18446744073709551615"], 0, ["mine  1 "], ""),
    ],
    "templates_refused": [
        (["templates", "save", "bad.luau"], 1, "",
         "bad.luau:1:11: Expected identifier when parsing expression, got '='\n"
         "    local x = = 1\n              ^\n"
         "template-worker: bad was not saved\n"),
        (["templates", "save", "none"], 1, "", "template-worker: none: No such file or directory\n"),
        (["templates", "save", "wrong.luau"], 1, "", ["wrong.json", "/evnts"]),
        (["templates", "save", "hi.luau", "--name", "a b"], 1, "", ["name"]),
        (["templates", "save", "hi.luau", "--event", ""], 1, "", ["/events/0"]),
        (["templates", "list"], 1, "", NO_STORE),  # nothing of this made one
        (["templates", "save", "hi.luau", "--store", "no/such.db"], 1, "", ["no/such.db"]),
        (["templates"], 2, "", ["what about them?"]),
        (["templates", "frob"], 2, "", ["there is no 'frob'", "activate"]),
        (["templates", "show"], 2, "", ["expected the NAME"]),
        (["templates", "show", "a", "b"], 2, "", ["expected the NAME"]),
        (["templates", "activate", "hi"], 2, "", ["a VERSION"]),
        (["templates", "activate", "hi", "x"], 2, "", ["VERSION: expected a whole number from 1"]),
        (["templates", "list", "--out", "x"], 2, "", ["it does not take --out"]),
        (["templates", "list", "--guild", "-1"], 2, "", ["--guild: expected a whole number"]),
        (["templates", "list", "--guild", "18446744073709551616"], 2, "", ["--guild: expected a whole number"]),
        (["templates", "--help"], 0, ["usage: template-worker templates list"], ""),
    ],
    "templates_out": [
        (["templates", "save", "big"], 0, "big is at version 1\n", ""),
        (["templates", "show", "big", "--out", "copy"], 0, "copy: 2 files and template.json\n", ""),
        (["templates", "show", "big", "--out", "copy"], 1, "", ["copy is there already, and nothing is overwritten"]),
        (["templates", "show", "big", "--out", "hi.luau"], 1, "", ["hi.luau is there already"]),
        (["templates", "show", "big", "--out", "no/where"], 1, "", ["no/where: No such file or directory"]),
        # What was written is what was saved.
        (["templates", "save", "copy", "--name", "big"], 0, "big is unchanged, at version 1\n", ""),
    ],
    "kv": [
        (["kv", "get", "a", *KV], 1, "", NO_STORE),
        (["kv", "set", "a", '{"n": [1, 12345678901234567890]}', *KV], 0, "a is made, id 1\n", ""),
        (["kv", "get", "a", *KV], 0, '{"n": [1, 12345678901234567890]}\n', ""),
        (["kv", "set", "a", *KV, "--scope", "xp", "--resume", "--expires", "2100-01-31T12:00:00+01:00", "--", "-5"], 0,
         "a is made, id 2\n", ""),
        (["kv", "get", "a", *KV], 0, '{"n": [1, 12345678901234567890]}\n', ""),
        (["kv", "get", "a", "--guild", "42", "--scope", "xp"], 0, "-5\n", ""),
        (["kv", "set", "b", "--string", 'te"xt', *KV], 0, "b is made, id 3\n", ""),
        (["kv", "find", "%", *KV], 0,
         "KEY  SCOPES     EXPIRES                   RESUME  VALUE\n"
         'a    users      -                         -       {"n": [1, 12345678901234567890]}\n'
         "a    users, xp  TIME  yes     -5\n"
         'b    users      -                         -       "te\\"xt"\n', ""),
        (["kv", "get", "a", *KV, "--scope", "xp", "--json"], 0,
         '{"id":"2","key":"a","scopes":["users","xp"],"value":-5,"created_at":"TIME","last_updated_at":"TIME",'
         '"expires_at":"TIME","resume":true}\n', ""),
        (["kv", "set", "a", "1", *KV, "--scope", "xp", "--expires", "never", "--no-resume"], 0,
         "a is changed, id 2\n", ""),
        (["kv", "get", "a", *KV, "--scope", "xp", "--json"], 0, ['"expires_at":null,"resume":false'], ""),
        (["kv", "find", "none%", *KV], 0, "no records\n", ""),
        (["kv", "scopes", "--guild", "42"], 0, "users\nxp\n", ""),
        (["kv", "scopes", "--guild", "42", "--json"], 0, '["users","xp"]\n', ""),
        (["kv", "scopes", "--guild", "44"], 0, "no records\n", ""),
        (["kv", "scopes", "--guild", "44", "--json"], 0, "[]\n", ""),
        # What a run keeps is there for the next one, and for these commands.
        (["run", "visits.luau", "--store", "visits.db", "--guild", "7"], 0, "1\n", ""),
        (["run", "visits.luau", "--store", "visits.db", "--guild", "7"], 0, "2\n", ""),
        (["kv", "get", "visits", "--store", "visits.db", "--guild", "7", "--scope", "s"], 0, "2\n", ""),
        (["run", "visits.luau"], 1, "", ["visits.luau:2: there is no store here: name one with"]),
        (["kv", "delete", "b", *KV], 0, "b is deleted\n", ""),
        (["kv", "delete", "b", *KV], 1, "", "template-worker: there is no record 'b' with users in guild 42\n"),
        (["kv", "get", "a", "--guild", "43", "--scope", "users"], 1, "", ["in guild 43"]),
    ],
    "kv_refused": [
        (["kv", "set", "b", "hello", *KV], 1, "", ["the value is no JSON", "--string TEXT"]),
        (["kv", "set", "b", "1 2", *KV], 1, "", ["the value is no JSON"]),
        (["kv", "set", "b", "5", *KV, "--expires", "tomorrow"], 1, "", ["2030-01-31T12:00:00Z", "'tomorrow'"]),
        (["kv", "set", "b", "5", *KV, "--expires", "+5"], 1, "", ["+90s", "'+5'"]),
        (["kv", "set", "b", "5", *KV, "--expires", "+99999999999999999999d"], 1, "", ["+90s"]),
        (["kv", "set", "b", "-", *KV], 1, "", ["the value is no JSON"]),  # nothing to be read
        (["kv", "set", "k" * 513, "1", *KV], 1, "", ["template-worker: "]),
        (["kv", "set", "b", *KV], 2, "", ["expected a KEY and a value"]),
        (["kv", "set", "b", "5", "--string", "x", *KV], 2, "", ["expected a KEY and a value"]),
        (["kv", "set", "b", "5", *KV, "--resume", "--no-resume"], 2, "", ["not both"]),
        (["kv", "get", "b", "--guild", "42"], 2, "", ["which scopes?"]),
        (["kv", "get", "b", "--scope", "x"], 2, "", ["which guild?"]),
        (["kv", "get", "b", "--scope", "x", "--guild", "0"], 2, "", ["--guild: expected a whole number from 1"]),
        (["kv", "get", "b", *KV, "--resume"], 2, "", ["it does not take --resume"]),
        (["kv"], 2, "", ["what about it?"]),
        (["kv", "frob"], 2, "", ["there is no 'frob'"]),
        (["kv", "scopes"], 2, "", ["which guild?"]),
        (["kv", "scopes", *KV], 2, "", ["it does not take --scope"]),
        (["kv", "scopes", "x", "--guild", "1"], 2, "", ["expected nothing more"]),
        (["kv", "get", "b", *KV, "--store", ""], 1, "", ["--store: the name of a file is missing"]),
        (["kv", "--help"], 0, ["usage: template-worker kv get"], ""),
    ],
    "store": [
        (["store", "check"], 1, "", NO_STORE),
        (["store", "migrate"], 1, "", NO_STORE),
        (["store", "backup", "copy.db"], 1, "", NO_STORE),
        (["kv", "set", "a", "1", *KV], 0, "a is made, id 1\n", ""),
        (["store", "check"], 0, ["template-worker.db is sound ("], ""),
        (["store", "backup", "copy.db"], 0, ["copy.db is a copy of template-worker.db ("], ""),
        (["store", "backup", "copy.db"], 1, "",
         "template-worker: copy.db is there already, and nothing is overwritten: name a new file\n"),
        (["store", "backup", "no/copy.db"], 1, "", ["no/copy.db"]),
        (["store", "check", "--store", "copy.db"], 0, ["copy.db is sound"], ""),
        (["kv", "get", "a", *KV, "--store", "copy.db"], 0, "1\n", ""),
        (["store", "migrate"], 0, ["template-worker.db is at version ", "that of this program"], ""),
        (["store", "check", "--store", "hi.luau"], 1, "", ["hi.luau", "no SQLite database"]),
        (["store"], 2, "", ["what about it?"]),
        (["store", "frob"], 2, "", ["there is no 'frob'"]),
        (["store", "backup"], 2, "", ["expected the name of the COPY"]),
        (["store", "check", "x"], 2, "", ["expected nothing more"]),
        (["store", "--help"], 0, ["usage: template-worker store check"], ""),
    ],
}


def make_folder(folder):
    for path, text in FILES.items():
        full = os.path.join(folder, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
            file.write(text)


class Session:
    """A folder with the files, and a way to run the program in it."""

    def __init__(self, program, run, clean):
        self.program, self.run, self.clean = program, run, clean
        self.temporary = tempfile.TemporaryDirectory(prefix="store-")
        self.folder = self.temporary.name
        make_folder(self.folder)
        self.environment = {key: value for key, value in os.environ.items() if key != "TEMPLATE_WORKER_STORE"}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.temporary.cleanup()

    def path(self, name):
        return os.path.join(self.folder, name)

    def do(self, *arguments, **environment):
        done = self.run(self.program, list(arguments), cwd=self.folder, env=self.environment | environment)
        return done.returncode, done.stdout.decode(), self.clean(done.stderr.decode())


def play(session, compare, steps):
    problems = []
    for arguments, status, output, errors in steps:
        got, out, err = session.do(*arguments)
        found = compare("output", output, TIME.sub("TIME", out)) + compare("errors", errors, err)
        if got != status:
            found.append(f"exit status {got}, expected {status}")
        shown = " ".join(argument[:80] for argument in arguments)
        problems += [f"{shown}: {problem}" for problem in found]
    return problems


def check_json_output(session):
    """What machines read is JSON, and says all that there is."""
    session.do("templates", "save", "big")
    session.do("templates", "save", "hi.luau")
    listed = json.loads(session.do("templates", "list", "--json")[1])
    shown = json.loads(session.do("templates", "show", "big", "--json")[1])
    versions = json.loads(session.do("templates", "versions", "hi", "--json")[1])
    problems = []
    if [t["name"] for t in listed] != ["big", "hi"] or listed[0]["events"] != ["MESSAGE_CREATE", "KeyExpiry[x]"]:
        problems.append(f"list: {listed}")
    if shown["files"] != {"init.luau": FILES["big/init.luau"], "lib/a.luau": FILES["big/lib/a.luau"]}:
        problems.append(f"show: {shown}")
    if len(versions) != 1 or not versions[0]["current"] or versions[0]["description"] is not None:
        problems.append(f"versions: {versions}")
    return problems


def check_pages(session):
    """find shows all pages."""
    for i in range(103):
        session.do("kv", "set", f"key{i:03}", str(i), *KV)
    found = json.loads(session.do("kv", "find", "key%", *KV, "--json")[1])
    if sorted(record["value"] for record in found) != list(range(103)):
        return [f"{len(found)} records"]
    return []


def check_value_from_input(session):
    """Values that no argument can hold; and those that no record can."""
    problems = []
    for size, expected in ((200000, 0), (300000, 1), (2000000, 1)):
        value = json.dumps("x" * size).encode()
        done = session.run(session.program, ["kv", "set", "a", "-", *KV], cwd=session.folder, input=value,
                           env=session.environment)
        if done.returncode != expected or (expected and not done.stderr):
            problems.append(f"{size}: {done.returncode} {done.stderr}")
    if json.loads(session.do("kv", "get", "a", *KV)[1]) != "x" * 200000:
        problems.append("not what was set")
    return problems


def check_store_names(session):
    """--store, else the environment, else the current folder's."""
    session.do("kv", "set", "a", "1", *KV, "--store", "option.db", TEMPLATE_WORKER_STORE="environment.db")
    session.do("kv", "set", "a", "2", *KV, TEMPLATE_WORKER_STORE="environment.db")
    session.do("kv", "set", "a", "3", *KV, TEMPLATE_WORKER_STORE="")
    got = [session.do("kv", "get", "a", *KV, "--store", name)[1]
           for name in ("option.db", "environment.db", "template-worker.db")]
    return [] if got == ["1\n", "2\n", "3\n"] else [f"{got}"]


def check_terminal(session):
    """What guilds store cannot steer the terminal of who looks at it."""
    session.do("kv", "set", "k\x1b[31m\u009b5m\n", '"\x7f\u20ac"', *KV)
    out = session.do("kv", "find", "%", *KV)[1]
    bad = [c for c in out if (ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160]
    return [f"{out!r}"] if bad or "\u20ac" not in out or out.count("\n") != 2 else []


def check_damage(session):
    """Sums that do not add up, and pages that are no pages, are found; neither is a crash."""
    session.do("templates", "save", "big")
    for i in range(40):
        session.do("kv", "set", f"key{i}", json.dumps("x" * 2000), *KV)
    problems = []
    db = sqlite3.connect(session.path("template-worker.db"))
    db.execute("UPDATE template_versions SET source_bytes = source_bytes + 1")
    db.commit()
    db.close()
    status, out, err = session.do("store", "check")
    if status != 1 or "version 1 of big takes 35 bytes, and 36 are noted" not in out or "last backup" not in err:
        problems.append(f"sums: {status} {out} {err}")
    size = os.path.getsize(session.path("template-worker.db"))
    with open(session.path("template-worker.db"), "r+b") as file:
        file.seek(size // 2)
        file.write(b"\xa5" * (size // 4))
    status, out, err = session.do("store", "check")
    if status != 1 or "last backup" not in err:
        problems.append(f"pages: {status} {out} {err}")
    for arguments in (["kv", "find", "%", *KV], ["templates", "list"], ["templates", "show", "big"],
                      ["store", "backup", "copy.db"]):
        status, out, err = session.do(*arguments)
        if status not in (0, 1) or (status == 1 and not err):
            problems.append(f"{arguments}: {status} {out} {err}")
    with open(session.path("template-worker.db"), "r+b") as file:
        file.truncate(size // 3)
    status, out, err = session.do("store", "check")
    if status != 1 or not err:
        problems.append(f"cut short: {status} {out} {err}")
    return problems


def check_paths_stay_below(session):
    """A store from elsewhere cannot write beside the folder that --out names."""
    session.do("templates", "save", "big")
    problems = []
    for path in ("../evil.luau", "/tmp/evil.luau", "a/../../evil.luau", "a//b.luau", "."):
        db = sqlite3.connect(session.path("template-worker.db"))
        db.execute("UPDATE template_files SET path = ? WHERE path <> 'init.luau'", (path,))
        db.commit()
        db.close()
        status, _, err = session.do("templates", "show", "big", "--out", "copy")
        if status != 1 or "would not be below copy" not in err or os.path.exists(session.path("copy")):
            problems.append(f"{path}: {status} {err}")
    return problems


class Server:
    """A server on the session's store."""

    def __init__(self, session, store):
        self.process = subprocess.Popen([session.program, "serve", "--store", store, "--port", "0", "--no-samples"],
                                        cwd=session.folder, env=session.environment, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        # Whatever goes wrong, the test ends.
        self.guard = threading.Timer(120 * FACTOR, self.process.kill)
        self.guard.start()
        line = self.process.stdout.readline().decode()
        found = re.search(r"http://\S+", line)
        self.url = found.group(0) if found else None

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.stdout.read()
        status = self.process.wait()
        self.guard.cancel()
        self.process.stdout.close()
        return status

    def execute(self, template):
        body = {"template": template, "event": {"name": "X"}, "context": {"guild_id": "1"}}
        request = urllib.request.Request(self.url + "/execute", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60 * FACTOR) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def wait_for(self, template, part):
        """Until what the template returns has this in it."""
        until = time.monotonic() + 60 * FACTOR
        answer = self.execute(template)
        while part not in answer and time.monotonic() < until:
            time.sleep(0.05)
            answer = self.execute(template)
        return [] if part in answer else [f"{template}: {answer}"]


def check_beside_a_server(session):
    """A running server sees what the commands change, keeps a second one out, and is in nobody's way."""
    server = Server(session, "worker.db")
    if not server.url:
        server.stop()
        return ["the server did not start"]
    store = ["--store", "worker.db"]
    problems = play_quiet(session, [
        (["templates", "list", *store], 0, "no templates\n"),
        (["templates", "save", "hi.luau", *store], 0, "hi is at version 1\n"),
    ])
    problems += server.wait_for("hi", '"hi"')
    with open(session.path("hi.luau"), "w", encoding="utf-8") as file:
        file.write('return "changed"\n')
    problems += play_quiet(session, [(["templates", "save", "hi.luau", *store], 0, "hi is at version 2\n")])
    problems += server.wait_for("hi", '"changed"')
    problems += play_quiet(session, [
        (["templates", "activate", "hi", "1", *store], 0, "hi is at version 1\n"),
        (["kv", "set", "a", "1", *KV, *store], 0, "a is made, id 1\n"),
        (["kv", "get", "a", *KV, *store], 0, "1\n"),
        (["store", "backup", "copy.db", *store], 0, None),
        (["store", "check", *store], 0, None),
    ])
    problems += server.wait_for("hi", '"hi"')
    status, _, err = session.do("serve", "--port", "0", *store)
    if status != 1 or f"another server has it open (process {server.process.pid})" not in err:
        problems.append(f"a second server: {status} {err}")
    if server.stop() != 0:
        problems.append("the server did not end well")
    return problems + play_quiet(session, [
        (["store", "check", *store], 0, None),
        (["templates", "show", "hi", "--store", "copy.db"], 0, None),
    ])


def play_quiet(session, steps):
    """Arguments, exit status, and output unless it does not matter."""
    problems = []
    for arguments, expected, output in steps:
        status, out, err = session.do(*arguments)
        if status != expected or (output is not None and out != output):
            problems.append(f"{' '.join(arguments)}: {status} {out} {err}")
    return problems


def jobs(program, run, compare, clean):
    """Names and functions that return problems."""
    def session_job(work):
        def job():
            with Session(program, run, clean) as session:
                return work(session)
        return job

    found = [(name, session_job(lambda session, steps=steps: play(session, compare, steps)))
             for name, steps in SESSIONS.items()]
    return found + [(name[6:], session_job(work)) for name, work in sorted(globals().items())
                    if name.startswith("check_")]

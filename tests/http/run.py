#!/usr/bin/env python3
"""run.py PROGRAM [NAME...]: exchanges with a running server.

Each *.http file is played against a server of its own, over one connection that is kept alive; each
check_* function of this file starts what it needs. NAMEs choose among both. The environment variable
STRATEGY names the strategy of all servers.

A .http file:

    # a comment
    @serve --cpu-limit 300        options of the server (before the first exchange)
    @write hello.luau return 1    writes a template file (\\n for a new line)
    @remove hello.luau
    @padded POST /x 5000000 ...   as a request, with a body of that many bytes

    POST /execute?logs=1          the request: its line, headers, an empty line, the body
    Content-Type: application/json

    {"template": "hello"}
    ---
    200                           the response: status, headers that must be there, the body
    Content-Type: application/json

    {"result": 1, "execution_id": "*", "...": true}
    ===

Bodies that are JSON objects are sent with `Content-Type: application/json` unless the header is given.
In the expected body "*" stands for anything, "*text*" for a string with text in it, {"...": true} for
more members of the object.
"""

import concurrent.futures
import glob
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
FACTOR = float(os.environ.get("TIME_FACTOR", "1"))
STRATEGY = os.environ.get("STRATEGY", "")


class Failure(Exception):
    pass


def expect(condition, text):
    if not condition:
        raise Failure(text)


class Server:
    """A server on a free port, with a copy of the templates folder."""

    def __init__(self, program, options=()):
        self.folder = tempfile.mkdtemp(prefix="templates-")
        self.templates = os.path.join(self.folder, "templates")
        shutil.copytree(os.path.join(HERE, "templates"), self.templates)
        self.log = open(os.path.join(self.folder, "log"), "w+b")
        self.process = subprocess.Popen(
            [program, "serve", "--templates", self.templates, "--port", "0",
             *(["--strategy", STRATEGY] if STRATEGY else []), *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.log)
        self.port = self.wait_for_port()

    def read_log(self):
        self.log.flush()
        with open(self.log.name, "rb") as file:
            return file.read().decode("utf-8", "replace")

    def wait_for_port(self):
        until = time.monotonic() + 30 * FACTOR
        while time.monotonic() < until:
            found = re.search(r"listening on http://[^ ]*:(\d+)", self.read_log())
            if found:
                return int(found.group(1))
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise Failure("the server did not start:\n" + self.read_log())

    def write(self, name, text):
        path = os.path.join(self.templates, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def connect(self, timeout=60):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout * FACTOR)

    def execute(self, template, guild="1", data=None, connection=None, **more):
        own = connection or self.connect()
        body = {"template": template, "event": {"name": "E", "data": data},
                "context": {"guild_id": guild}, **more}
        own.request("POST", "/execute", json.dumps(body), {"Content-Type": "application/json"})
        response = own.getresponse()
        answer = json.loads(response.read())
        if not connection:
            own.close()
        return response.status, answer

    def ask(self, method, path, body=None):
        own = self.connect()
        own.request(method, path, None if body is None else json.dumps(body),
                    {} if body is None else {"Content-Type": "application/json"})
        response = own.getresponse()
        answer = json.loads(response.read())
        own.close()
        return response.status, answer

    def until(self, path, condition):
        """The answer to GET path as soon as it is so."""
        end = time.monotonic() + 60 * FACTOR
        while True:
            answer = self.ask("GET", path)[1]
            if condition(answer):
                return answer
            expect(time.monotonic() < end, f"{path}: {answer}")
            time.sleep(0.02)

    def until_log(self, pattern):
        end = time.monotonic() + 60 * FACTOR
        while True:
            found = re.search(pattern, self.read_log())
            if found:
                return found
            expect(time.monotonic() < end, f"the log has no {pattern}:\n{self.read_log()}")
            time.sleep(0.02)

    def stop(self, number=signal.SIGTERM):
        """Ends it; it must end well."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(60 * FACTOR)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            status = "no end"
        log = self.read_log()
        self.log.close()
        shutil.rmtree(self.folder)
        expect(status == 0, f"exit status {status}:\n{log[-3000:]}")
        return log


def match(expected, got, place="body"):
    if expected == "*":
        return
    if isinstance(expected, str) and len(expected) > 2 and expected[0] == expected[-1] == "*":
        expect(isinstance(got, str) and expected[1:-1] in got, f"{place}: {got!r} is not {expected!r}")
    elif isinstance(expected, dict) and isinstance(got, dict):
        more = expected.get("...")
        for key, value in expected.items():
            if key != "...":
                expect(key in got, f"{place}.{key} is missing in {got!r}")
                match(value, got[key], f"{place}.{key}")
        extra = set(got) - set(expected)
        expect(more or not extra, f"{place} has more members: {sorted(extra)}")
    elif isinstance(expected, list) and isinstance(got, list):
        expect(len(expected) == len(got), f"{place}: {got!r} is not {expected!r}")
        for i, (a, b) in enumerate(zip(expected, got)):
            match(a, b, f"{place}[{i}]")
    else:
        expect(expected == got and isinstance(expected, bool) == isinstance(got, bool),
               f"{place}: {got!r} is not {expected!r}")


# ---- exchange files ------------------------------------------------------------------------------

def split_message(text):
    head, _, body = text.strip("\n").partition("\n\n")
    lines = head.split("\n")
    headers = [line.split(": ", 1) for line in lines[1:]]
    return lines[0], headers, body


def play_exchange(server, connection, text, place):
    request, _, response = text.partition("\n---\n")
    expect(response, f"{place}: no --- line")
    first, headers, body = split_message(request)
    method, target = first.split(" ")[:2]
    headers = dict(headers)
    if first.startswith("@padded "):
        _, method, target, size = first.split(" ")
        body = " " * int(size)
    elif body.startswith("{") and "Content-Type" not in headers:
        headers["Content-Type"] = "application/json"
    status, wanted, pattern = split_message(response)
    connection.request(method, target, body.encode("utf-8", "surrogateescape") if body else None, headers)
    answer = connection.getresponse()
    raw = answer.read().decode("utf-8")
    try:
        expect(answer.status == int(status), f"status {answer.status}, expected {status}")
        for name, value in wanted:
            got = answer.getheader(name, "")
            expect(got == value, f"header {name}: {got!r}, expected {value!r}")
        if pattern:
            match(json.loads(pattern), json.loads(raw))
    except Failure as failure:
        raise Failure(f"{place}: {first}\n    {failure}\n    response: {raw[:600]}") from None


def play(program, path):
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        text = "\n".join(line for line in file.read().split("\n") if not line.startswith("#"))
    options = []
    for found in re.findall(r"^@serve (.*)$", text, re.M):
        options += found.split()
    text = re.sub(r"^@serve .*\n", "", text, flags=re.M)
    server = Server(program, options)
    connection = server.connect()
    try:
        for number, exchange in enumerate(text.split("\n===\n"), 1):
            lines = exchange.strip("\n").split("\n")
            while lines and (lines[0] == "" or lines[0].startswith(("@write ", "@remove "))):
                words = lines.pop(0).split(" ", 2)
                if words[0] == "@write":
                    server.write(words[1], words[2].replace("\\n", "\n"))
                elif words[0] == "@remove":
                    os.remove(os.path.join(server.templates, words[1]))
            if lines:
                play_exchange(server, connection, "\n".join(lines), f"exchange {number}")
    finally:
        connection.close()
        server.stop()


# ---- checks that are no simple exchanges ------------------------------------------------------------

def raw(server, data, timeout=10):
    """Sends bytes, returns all that comes back until the server closes or is silent."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout * FACTOR) as connection:
        if isinstance(data, bytes):
            connection.sendall(data)
        else:
            for part in data:
                connection.sendall(part)
                time.sleep(0.02)
        got = b""
        try:
            while True:
                part = connection.recv(65536)
                if not part:
                    break
                got += part
        except (TimeoutError, ConnectionResetError):
            pass
        return got


def execute_bytes(body, headers=b"Connection: close\r\n"):
    return (b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + headers +
            b"Content-Length: %d\r\n\r\n" % len(body) + body)


BODY = b'{"template":"echo","event":{"name":"E","data":[1,2]},"context":{"guild_id":"1"}}'


def check_forms_of_bodies(program):
    """Chunks, single bytes, Expect: 100-continue, pipelining, HTTP/1.0."""
    server = Server(program)
    try:
        chunks = b"".join(b"%x\r\n%s\r\n" % (1, BODY[i:i + 1]) for i in range(len(BODY))) + b"0\r\n\r\n"
        head = (b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
        expect(b'"result":[1,2]' in raw(server, head + chunks), "chunked body")
        expect(b'"result":[1,2]' in raw(server, [execute_bytes(BODY)[i:i + 40] for i in range(0, 300, 40)]),
               "body in pieces")
        answer = raw(server, execute_bytes(BODY, b"Expect: 100-continue\r\nConnection: close\r\n"))
        expect(b"100 Continue" in answer and b'"result":[1,2]' in answer, "Expect: 100-continue")
        answer = raw(server, execute_bytes(BODY, b"") + execute_bytes(BODY))
        expect(answer.count(b'"result":[1,2]') == 2, "two requests in one go")
        answer = raw(server, execute_bytes(BODY).replace(b"HTTP/1.1", b"HTTP/1.0"))
        expect(b'"result":[1,2]' in answer, "HTTP/1.0")
        answer = raw(server, head + b"zz\r\n\r\n")
        expect(b" 400 " in answer or answer == b"", "bad chunk size")
        expect(raw(server, b"GARBAGE\r\n\r\n").startswith((b"HTTP/1.1 400", b"")), "garbage")
        expect(server.execute("echo", data=1)[0] == 200, "lives on")
    finally:
        server.stop()


def check_huge_bodies(program):
    """Refused by their length, before anything is read."""
    server = Server(program)
    try:
        for length in (b"30000000", b"9223372036854775807", b"9223372036854775808", b"1" * 40, b"-1", b"1x"):
            answer = raw(server, b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                         b"Content-Length: " + length + b"\r\n\r\n", timeout=3)
            expect(answer.split(b" ")[1:2] in ([b"413"], [b"400"]), f"{length}: {answer[:200]}")
        expect(server.execute("echo", data=1)[0] == 200, "lives on")
    finally:
        server.stop()


def check_framing(program):
    """Who says twice where a request ends, or whom it is for, is refused and hung up on."""
    server = Server(program)
    path = b"POST /execute HTTP/1.1\r\n"
    fine = b"Host: localhost\r\nContent-Type: application/json\r\n"
    length = b"Content-Length: %d\r\n" % len(BODY)
    try:
        for headers, text in ((fine + length + b"Content-Length: 5\r\n", b"one Content-Length"),
                              (fine + length + b"Transfer-Encoding: chunked\r\n", b"one Content-Length"),
                              (fine + b"Transfer-Encoding: gzip\r\n", b"Transfer-Encoding"),
                              (fine + length + b"Host: localhost\r\n", b"one Host"),
                              (fine[17:] + length, b"one Host"),
                              (fine + length + b"Content-Encoding: gzip\r\n", b"compressed")):
            answer = raw(server, path + headers + b"\r\n" + BODY + execute_bytes(BODY), timeout=3)
            head, _, rest = answer.partition(b"\r\n\r\n")
            expect(head.split(b" ")[1] in (b"400", b"415") and text in rest, f"{headers}: {answer[:300]}")
            if head.split(b" ")[1] == b"400":
                expect(b"HTTP/1.1" not in rest, f"{headers}: went on: {answer[:600]}")
        for target in (b"/healthz%00x", b"/%68ealthz", b"/healthz/", b"//healthz", b"http://localhost/healthz"):
            answer = raw(server, b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            expect(answer.startswith(b"HTTP/1.1 404"), f"{target}: {answer[:200]}")
    finally:
        server.stop()


def check_strange_requests(program):
    """Whatever comes in, the answer is no 5xx of ours and the server lives."""
    server = Server(program)
    host = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    try:
        for data in (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"x" * 100 + b"\r\n\r\n",
                     b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n" * 1000, b"\0" * 5000, b"GET /healthz\r\n\r\n",
                     b"GET /healthz?" + b"a=1&" * 500 + host + b"\r\n", b"GET /" + b"a" * 60000 + host + b"\r\n",
                     b"GET /healthz" + host + b"X: y\r\n" * 3000 + b"\r\n", b"GET /\xff\xfe\0" + host + b"\r\n",
                     b"GET /healthz" + host + b"No colon here\r\n\r\n", b"POST /execute" + host + b": empty\r\n\r\n",
                     b"POST /execute" + host + b"Content-Type: application/json\r\nContent-Length: 1e3\r\n\r\n",
                     b"POST /execute?logs=%ff\"=<" + host + b"Content-Type: application/json\r\n\r\n"):
            answer = raw(server, data, timeout=0.5)
            status = answer.split(b" ")[1:2]
            expect(answer == b"" or status[0] in (b"400", b"404", b"414", b"415", b"431", b"505"), f"{data[:60]}: {answer[:200]}")
            expect(server.execute("echo", data=1)[0] == 200, f"{data[:60]}: dead")
    finally:
        server.stop()


def check_port_in_use(program):
    server = Server(program)
    try:
        done = subprocess.run([program, "serve", "--templates", server.templates, "--port", str(server.port)],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=30 * FACTOR)
        expect(done.returncode == 1 and b"Address already in use" in done.stderr, f"{done}")
    finally:
        server.stop()


def check_many_at_once(program):
    """Many connections and guilds at the same time; every answer is for its own question."""
    server = Server(program)

    def one(worker):
        connection = server.connect()
        for i in range(50):
            guild = str(1 + (worker * 7 + i) % 40)
            status, answer = server.execute("whoami", guild, {"n": worker * 1000 + i}, connection)
            expect(status == 200 and answer["result"] == [guild, worker * 1000 + i], f"{status} {answer}")
        connection.close()

    try:
        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            for done in [pool.submit(one, i) for i in range(24)]:
                done.result()
    finally:
        server.stop()


def check_return_timeout(program):
    """The caller gets an answer in time, the execution goes on and ends later."""
    server = Server(program, ["--cpu-limit", "1500"])
    try:
        start = time.monotonic()
        status, answer = server.execute("spin", wait_ms=100)
        took = time.monotonic() - start
        expect(status == 504 and answer["code"] == "return_timeout" and answer["execution_id"],
               f"{status} {answer}")
        expect(0.09 < took < 1.2 * FACTOR, f"took {took}")
        status, answer = server.execute("counter")
        expect(status == 200 and answer["result"] == 1, f"behind it: {status} {answer}")
        expect(time.monotonic() - start > 1.4, "the mail of a guild is run in order")
    finally:
        server.stop()


STRATEGIES = ("thread-pool", "thread-per-guild", "process-pool")


def with_strategies(check):
    """Calls check(server) for a server of each strategy; options are those of the check."""
    def all_of_them(program):
        for strategy in STRATEGIES:
            server = Server(program, ["--strategy", strategy, *check.options])
            try:
                check(server)
            except (Failure, OSError, http.client.HTTPException, ValueError) as failure:
                log = "" if server.log.closed else server.read_log()
                raise Failure(f"{strategy}: {failure}\n{log[-2000:]}") from failure
            finally:
                if check.stops:
                    server.stop()
    return all_of_them


def options(*texts, stops=True):
    def mark(check):
        check.options, check.stops = texts, stops
        return check
    return mark


def background(function, *args, **more):
    """The future of a call on a thread of its own."""
    pool = concurrent.futures.ThreadPoolExecutor(1)
    future = pool.submit(function, *args, **more)
    pool.shutdown(wait=False)
    return future


def event_body(template, event_id=None, guild="1", data=None, **more):
    event = {"name": "E", "data": data}
    if event_id:
        event["id"] = event_id
    return {"template": template, "event": event, "context": {"guild_id": guild}, **more}


@with_strategies
@options()
def check_duplicates(server):
    """An event id runs once for a guild and a template, whoever comes when."""
    first = server.ask("POST", "/execute", event_body("counter", "x"))
    again = server.ask("POST", "/execute", event_body("counter", "x"))
    expect(first[0] == 200 and first[1]["result"] == 1 and "duplicate" not in first[1], f"{first}")
    expect(again == (200, {**first[1], "duplicate": True}), f"{again}")
    other = server.ask("POST", "/execute", event_body("counter", "y"))
    expect(other[1]["result"] == 2, f"{other}")
    other = server.ask("POST", "/execute", event_body("counter", "x", guild="2"))
    expect(other[1]["result"] == 1 and "duplicate" not in other[1], f"{other}")
    expect(server.ask("POST", "/execute", event_body("echo", "x", data=7))[1]["result"] == 7, "another template")

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda _: server.ask("POST", "/execute", event_body("counter", "z")), range(32)))
    expect({status for status, _ in got} == {200}, f"{got}")
    expect({answer["result"] for _, answer in got} == {3}, f"{got}")
    expect(sum("duplicate" not in answer for _, answer in got) == 1, f"{got}")

    failed = [server.ask("POST", "/execute", event_body("fails", "x")) for _ in range(2)]
    expect(failed[0][0] == 422 and failed[0][1]["code"] == "runtime_error", f"{failed}")
    expect(failed[0][1]["execution_id"] == failed[1][1]["execution_id"], f"{failed}")
    # What was refused is not remembered.
    expect(server.ask("POST", "/execute", event_body("late", "x"))[0] == 404, "no such template")
    server.write("late.luau", "return 'here'")
    expect(server.ask("POST", "/execute", event_body("late", "x"))[1].get("result") == "here", "now it is")


@with_strategies
@options("--cpu-limit", "1000")
def check_found_later(server):
    """Who was sent away finds the result, whichever way the execution went."""
    wait = {"guild": "5", "data": 0.5, "wait_ms": 20}
    for name, body in (("direct", event_body("waits", **wait)),
                       ("dispatched", event_body("waits", "id-1", **wait))):
        status, answer = server.ask("POST", "/execute?logs=1", body)
        expect(status == 504 and answer["code"] == "return_timeout" and answer["limit"] == 20, f"{name}: {answer}")
        path = "/executions/" + answer["execution_id"]
        status, running = server.ask("GET", path)
        expect(status == 200, f"{name}: {running}")
        match({"execution_id": answer["execution_id"], "template": "waits", "version": 1, "guild_id": "5",
               "event_id": "*", "status": "running"} if running["status"] == "running" else "*", running)
        done = server.until(path + "?logs=1", lambda x: x["status"] != "running")
        match({"execution_id": answer["execution_id"], "template": "waits", "version": 1, "guild_id": "5",
               "event_id": running["event_id"], "status": "done", "result": "waited", "duration_us": "*",
               "cpu_us": "*", "memory_bytes": "*", "logs": ["waits " + answer["execution_id"]]}, done)
        expect("logs" not in server.ask("GET", path)[1], "only with ?logs=1")
        expect(name == "direct" or done["event_id"] == "id-1", f"{done}")

    status, answer = server.ask("POST", "/execute", event_body("spin", wait_ms=20, guild="6"))
    expect(status == 504, f"{answer}")
    path = "/executions/" + answer["execution_id"]
    expect(server.ask("GET", path)[1]["status"] == "running", "it spins")
    done = server.until(path, lambda x: x["status"] != "running")
    match({"status": "failed", "error": {"code": "execution_timeout", "limit": 1000, "template": "spin", "message":
           "*processor time*", "...": True}, "...": True}, done)
    expect("result" not in done, f"{done}")

    # Behind one that spins, without waiting: it is found as well.
    spinning = background(server.execute, "spin", "7")
    server.until("/guilds/7/vm", lambda x: x["mail"] == 1)
    status, queued = server.ask("POST", "/execute?wait=false", event_body("counter", guild="7"))
    expect(status == 202 and queued["event_id"], f"{queued}")
    path = "/executions/" + queued["execution_id"]
    expect(server.ask("GET", path)[1]["status"] == "running", "it waits")
    expect(spinning.result()[0] == 422, "it ends")
    expect(server.until(path, lambda x: x["status"] == "done")["result"] == 1, "a new VM runs it")
    expect(server.ask("GET", "/executions/" + "0" * 32)[0] == 404, "no such execution")


@with_strategies
@options("--cpu-limit", "60000")
def check_cancel(server):
    """Spinning, waiting, queued, dispatched: each is ended, and its VM is not."""
    expect(server.execute("counter")[1]["result"] == 1, "first")

    spinning = background(server.execute, "shows_spins")
    path = "/executions/" + server.until_log(r"spins ([0-9a-f]{32})").group(1)
    expect(server.ask("GET", path)[1]["status"] == "running", "it spins")
    queued = server.ask("POST", "/execute?wait=false", event_body("counter"))[1]
    status, answer = server.ask("DELETE", "/executions/" + queued["execution_id"])
    expect(status == 202 and answer["status"] == "cancelling", f"queued: {answer}")
    done = server.until("/executions/" + queued["execution_id"], lambda x: x["status"] != "running")
    expect(done["status"] == "failed" and done["error"]["code"] == "cancelled", f"queued: {done}")
    status, answer = server.ask("DELETE", path)
    expect(status == 202, f"spinning: {answer}")
    status, answer = spinning.result()
    expect(status == 422 and answer["code"] == "cancelled", f"spinning: {answer}")
    expect(server.ask("GET", path)[0] == 404, "its caller has its answer")

    # Its caller was sent away.
    status, answer = server.ask("POST", "/execute", event_body("waits", data=3600, wait_ms=20))
    path = "/executions/" + answer["execution_id"]
    expect(status == 504 and server.ask("DELETE", path)[0] == 202, f"waiting: {answer}")
    done = server.until(path, lambda x: x["status"] != "running")
    expect(done["error"]["code"] == "cancelled", f"waiting: {done}")
    status, answer = server.ask("DELETE", path)
    expect(status == 200 and answer["status"] == "done", f"once more: {answer}")

    # Its caller waits, by way of the dispatcher.
    waiting = background(server.ask, "POST", "/execute", event_body("waits", "e", data=3600))
    found = server.until_log(r'(?s)waits ([0-9a-f]{32}).*waits ([0-9a-f]{32})').group(2)
    expect(server.ask("DELETE", "/executions/" + found)[0] == 202, "dispatched")
    status, answer = waiting.result()
    expect(status == 422 and answer["code"] == "cancelled" and answer["execution_id"] == found, f"{answer}")
    expect(server.ask("DELETE", "/executions/" + "f" * 32)[0] == 404, "no such execution")
    expect(server.execute("counter")[1]["result"] == 2, "the VM is the same")


@with_strategies
@options("--cpu-limit", "60000")
def check_destroy(server):
    """A VM is destroyed with what spins in it; the guild goes on with a new one."""
    expect(server.execute("counter", "3")[1]["result"] == 1, "first")
    spinning = background(server.execute, "spin", "3")
    server.until("/guilds/3/vm", lambda x: x["mail"] == 1)
    status, answer = server.ask("DELETE", "/guilds/3/vm")
    expect((status, answer) == (202, {"guild_id": "3", "status": "destroying"}), f"{answer}")
    status, answer = spinning.result()
    expect(status == 422 and answer["code"] == "vm_broken" and "destroyed" in answer["message"], f"{answer}")
    info = server.until("/guilds/3/vm", lambda x: x["mail"] == 0)
    match({"guild_id": "3", "state": "broken", "reason": "explicit destroy", "generation": 1, "executions": 2,
           "memory": {"live_bytes": 0, "reserved_bytes": 0, "peak_bytes": 0, "limit_bytes": "*"}, "...": True}, info)
    expect(server.execute("counter", "3")[1]["result"] == 1, "a new VM")
    expect(server.ask("GET", "/guilds/3/vm")[1]["generation"] == 2, "the second")


@with_strategies
@options("--cpu-limit", "60000")
def check_limits(server):
    """Limits of a guild act at once, on it alone."""
    growing = background(server.execute, "grows", "4")
    server.until("/guilds/4/vm", lambda x: x["memory"]["reserved_bytes"] > 4 << 20)
    status, answer = server.ask("PATCH", "/guilds/4/limits", {"mailbox": 1})
    expect(status == 200 and answer["limits"]["mailbox"] == 1, f"{answer}")
    status, answer = server.execute("counter", "4")
    expect(status == 429 and answer["code"] == "queue_full" and answer["retry_after_ms"] > 0, f"{answer}")
    expect(server.execute("counter", "44")[0] == 200, "another guild")
    status, answer = server.ask("PATCH", "/guilds/4/limits", {"memory_bytes": 2 << 20, "result_bytes": 10})
    expect(status == 200, f"{answer}")
    status, answer = growing.result()
    expect(status == 422 and answer["code"] == "memory_limit_exceeded" and answer["limit"] == 2 << 20, f"{answer}")
    # They outlive the VM.
    status, answer = server.execute("echo", "4", "longer than ten bytes")
    expect(status == 422 and answer["code"] == "invalid_result", f"{answer}")
    expect(server.execute("echo", "44", "longer than ten bytes")[0] == 200, "another guild")
    info = server.ask("GET", "/guilds/4/vm")[1]
    expect(info["limits"]["memory_bytes"] == info["memory"]["limit_bytes"] == 2 << 20, f"{info}")
    status, answer = server.ask("PATCH", "/guilds/4/limits", {"cpu_ms": 50, "result_bytes": None})
    expect(answer["limits"]["cpu_ms"] == 50 and answer["limits"]["result_bytes"] == 4 << 20, f"{answer}")
    expect(answer["limits"]["memory_bytes"] == 2 << 20 and answer["limits"]["mailbox"] == 1, f"{answer}")
    for body in (event_body("spin", guild="4"), event_body("spin", "event", guild="4")):
        status, answer = server.ask("POST", "/execute", body)
        expect(status == 422 and answer["code"] == "execution_timeout" and answer["limit"] == 50, f"{answer}")
    # Many at a time: each is taken or told to try again, and what was taken last counts.
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda n: server.ask("PATCH", "/guilds/4/limits", {"tasks": n}), range(40)))
    taken = [answer["limits"]["tasks"] for status, answer in got if status == 200]
    expect({status for status, _ in got} <= {200, 409} and taken, f"{got}")
    expect(server.ask("GET", "/guilds/4/vm")[1]["limits"]["tasks"] in taken, f"{taken}")
    every = dict.fromkeys(info["limits"])
    defaults = server.ask("GET", "/guilds/44/vm")[1]["limits"]
    expect(server.ask("PATCH", "/guilds/4/limits", every)[1]["limits"] == defaults, "the defaults again")
    expect(server.ask("GET", "/guilds/4/vm")[1]["limits"] == defaults, "the defaults again")


@with_strategies
@options("--cpu-limit", "1000")
def check_event_timeouts(server):
    """An event whose templates take long: 504 with their ids, and each is found."""
    server.write("slow_a.json", '{"events": ["Slow"]}')
    server.write("slow_a.luau", "task.wait(0.5) return 'a'")
    server.write("slow_b.json", '{"events": ["Slow"]}')
    server.write("slow_b.luau", "error('b')")
    event = {"name": "Slow", "id": "slow-1"}
    status, answer = server.ask("POST", "/guilds/9/events?wait=true&wait_ms=50", event)
    expect(status == 504, f"{answer}")
    match({"code": "return_timeout", "message": "*goes on*", "limit": 50, "event_id": "slow-1", "executions":
           [{"execution_id": "*", "template": "slow_a", "version": "*"},
            {"execution_id": "*", "template": "slow_b", "version": "*"}], "request_id": "*"}, answer)
    paths = ["/executions/" + x["execution_id"] for x in answer["executions"]]
    first = server.until(paths[0], lambda x: x["status"] != "running")
    second = server.ask("GET", paths[1])[1]
    expect(first["result"] == "a" and first["event_id"] == "slow-1", f"{first}")
    expect(second["status"] == "failed" and second["error"]["message"] == "slow_b.luau:1: b", f"{second}")
    status, answer = server.ask("POST", "/guilds/9/events?wait=true", event)
    expect(status == 200 and answer["duplicate"], f"{answer}")
    expect([x["status"] for x in answer["results"]] == ["ok", "runtime_error"], f"{answer}")
    expect([x["execution_id"] for x in answer["results"]] == [path[12:] for path in paths], f"{answer}")


@with_strategies
@options("--cpu-limit", "600000", stops=False)
def check_shutdown_with_waits(server):
    """Every caller gets an answer, whatever it waits for."""
    server.write("slow.json", '{"events": ["Slow"]}')
    server.write("slow.luau", "task.wait(3600)")
    spinning = background(server.execute, "spin", "3")
    server.until("/guilds/3/vm", lambda x: x["mail"] == 1)
    waiting = [background(server.execute, "waits", "1", 3600),
               background(server.ask, "POST", "/execute", event_body("waits", "e", "2", 3600)),
               background(server.ask, "POST", "/execute", event_body("waits", "e", "2", 3600)),
               spinning, background(server.execute, "echo", "3", 1),
               background(server.ask, "POST", "/guilds/4/events?wait=true", {"name": "Slow"})]
    for guild, mail in (("1", 1), ("2", 1), ("3", 2), ("4", 1)):
        server.until(f"/guilds/{guild}/vm", lambda x: x["mail"] >= mail)
    server.until("/vms", lambda x: x["dispatcher"]["waiting"] == 3)
    sent_away = server.ask("POST", "/execute", event_body("waits", guild="5", data=3600, wait_ms=20))
    expect(sent_away[0] == 504, f"{sent_away}")
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    server.stop(signal.SIGTERM)
    answers = [future.result(60 * FACTOR) for future in waiting]
    expect([(status, answer.get("code")) for status, answer in answers[:5]] == [(503, "shutting_down")] * 5,
           f"{answers}")
    status, answer = answers[5]
    expect(status == 503 or answer["results"][0]["status"] == "shutting_down", f"{answer}")


def check_shutdown(program):
    """What runs is finished, callers get their answers, the exit status is 0."""
    server = Server(program)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(server.execute("busy")))
    thread.start()
    time.sleep(0.3)
    kept = server.connect()
    expect(server.execute("echo", "2", 1, kept)[0] == 200, "before")
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    try:
        status, answer = server.execute("echo", "2", 1, kept)
        expect(status == 503 and answer["code"] == "shutting_down", f"{status} {answer}")
    except (ConnectionError, http.client.HTTPException):
        pass # the run was over and the server gone
    thread.join()
    expect(answers[0][0] == 200 and answers[0][1]["result"] == "done", f"{answers}")
    server.stop()

    server = Server(program)
    del answers[:]
    thread = threading.Thread(target=lambda: answers.append(server.execute("spin")))
    thread.start()
    time.sleep(0.5)
    server.process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    start = time.monotonic()
    server.stop(signal.SIGTERM) # the second signal ends it at once
    thread.join()
    expect(answers[0][0] == 503 and answers[0][1]["code"] == "shutting_down", f"{answers}")
    expect(time.monotonic() - start < 5 * FACTOR, "took too long")


def check_vanished_callers(program):
    """Callers that go away in the middle leave nothing behind."""
    server = Server(program, ["--cpu-limit", "300"])
    try:
        spin = execute_bytes(BODY.replace(b"echo", b"spin").replace(b'"1"', b'"9"'))
        for i in range(20):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(spin if i % 2 else spin[:150])
        time.sleep(0.5)
        expect(server.execute("echo", "1", "x")[1]["result"] == "x", "others are served")
    finally:
        server.stop()


def check_slow_senders(program):
    """A connection that drips its request is closed, however lively it is."""
    server = Server(program, ["--read-timeout", "1"])
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20 * FACTOR) as connection:
            start = time.monotonic()
            closed = False
            connection.settimeout(0.2)
            connection.sendall(b"POST /execute HTTP/1.1\r\n")
            while not closed and time.monotonic() - start < 15 * FACTOR:
                try:
                    connection.sendall(b"X-A: b\r\n")
                    closed = connection.recv(100) == b""
                except TimeoutError:
                    pass
                except ConnectionError:
                    closed = True
            expect(closed, "still open")
        expect(server.execute("echo", "1", "x")[0] == 200, "others are served")
    finally:
        server.stop()


def check_queue_full(program):
    server = Server(program, ["--mailbox", "2", "--cpu-limit", "700"])
    try:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            got = [done.result() for done in [pool.submit(server.execute, "spin") for _ in range(6)]]
        codes = sorted(answer["code"] for _, answer in got)
        expect(codes == ["execution_timeout"] * 2 + ["queue_full"] * 4, f"{codes}")
        full = [answer for status, answer in got if status == 429]
        expect(all(answer["retry_after_ms"] > 0 for answer in full), f"{full}")
    finally:
        server.stop()


def check_quiet_beside_spinning(program):
    """A guild with short events is not held up by guilds that spin."""
    server = Server(program, ["--cpu-limit", "20000"])
    try:
        pool = concurrent.futures.ThreadPoolExecutor(32)
        for i in range(32):
            pool.submit(lambda guild: server.execute("spin", guild, wait_ms=500), str(100 + i))
        time.sleep(0.3)
        connection = server.connect()
        times = []
        for i in range(100):
            start = time.monotonic()
            status, _ = server.execute("whoami", "1", {"n": i}, connection)
            times.append(time.monotonic() - start)
            expect(status == 200, "status")
        times.sort()
        print(f"    beside 32 spinning guilds: median {times[50] * 1e3:.1f} ms, "
              f"99 % {times[98] * 1e3:.1f} ms")
        expect(times[98] < 0.1 * FACTOR, f"{times[-5:]}")
        connection.close()
        pool.shutdown()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    finally:
        server.stop()


def check_log(program):
    """The log is a JSON object a line, whatever is printed."""
    server = Server(program)
    server.write("forge.luau", 'print("a\\n{\\"level\\":\\"error\\"}\\27[31m\\0\\255") warn("w")')
    expect(server.execute("forge", "77")[0] == 200, "status")
    log = server.stop()
    lines = [json.loads(line) for line in log.strip().split("\n")
             if "ASan doesn't fully support" not in line]
    mine = [line for line in lines if line.get("guild_id") == "77"]
    expect(len(mine) == 2 and mine[0]["template"] == "forge" and mine[0]["level"] == "info" and
           mine[0]["message"] == 'a\n{"level":"error"}\x1b[31m\0\ufffd' and mine[1]["level"] == "warn",
           f"{mine}")


def check_refused_starts(program):
    for options, text in ((["--listen", "0.0.0.0"], "no authentication"),
                          (["--listen", "nonsense"], "no IPv4 or IPv6"),
                          (["--templates", "/nowhere"], "No such file"),
                          (["--port", "99999"], "--port: expected")):
        done = subprocess.run([program, "serve", "--port", "0", "--templates", "templates", *options], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30 * FACTOR, cwd=HERE)
        expect(done.returncode != 0 and text in done.stderr.decode(), f"{options}: {done.stderr}")


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    program = os.path.abspath(sys.argv[1])
    names = sys.argv[2:]
    jobs = [(os.path.basename(path)[:-5], play, path)
            for path in sorted(glob.glob(os.path.join(HERE, "*.http")))]
    jobs += [(name[6:], function, None) for name, function in sorted(globals().items())
             if name.startswith("check_")]
    failed = 0
    for name, function, path in jobs:
        if names and name not in names:
            continue
        try:
            function(program, path) if path else function(program)
            print(f"ok    {name}")
        except (Failure, OSError, http.client.HTTPException, ValueError) as failure:
            failed += 1
            print(f"FAIL  {name}: {type(failure).__name__}: {failure}")
    print(f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

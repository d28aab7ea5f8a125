#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
adit top as its users see it: JSON and OpenMetrics against what a worker's adit_stats says, lines, the screen on a
pseudo-terminal, pools that are closed, opened again and left by a killed process, and no trace of who watched.

    top.py ADIT WORKER
"""
import fcntl
import hashlib
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

ADIT, WORKER = map(os.path.abspath, sys.argv[1:3])
checks = 0


def check(what, *more):
    global checks
    checks += 1
    if not what:
        raise AssertionError(" ".join(map(str, more)))


def adit(*args, code=0, **kw):
    r = subprocess.run([ADIT, *args], capture_output=True, text=True, timeout=60, **kw)
    check(r.returncode == code, args, "exit code", r.returncode, r.stderr)
    return r.stderr if code else r.stdout


class Worker:
    def __init__(self, pool):
        self.p = subprocess.Popen([WORKER, pool], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, line):
        self.p.stdin.write(line + "\n")
        self.p.stdin.flush()
        answer = self.p.stdout.readline().strip()
        check(answer, line, "was not answered")
        return answer

    def stats(self):
        return {k: int(v) for k, v in (pair.rsplit(" ", 1) for pair in self.say("stats").split(","))}

    def end(self):
        self.p.stdin.write("quit\n")
        self.p.stdin.close()
        check(self.p.wait(60) == 0, "the worker failed")
        self.p.stdout.close()

    def kill(self):
        self.p.kill()
        self.p.wait()
        self.p.stdin.close()
        self.p.stdout.close()


def flat(sample):
    out = {}
    for key, value in sample.items():
        if isinstance(value, dict):
            out.update({f"{key}.{k}": v for k, v in value.items()})
        else:
            out[key] = value
    return out


# ---- OpenMetrics --------------------------------------------------------------------------------------------

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'


def parse_metrics(text):
    """The grammar's rules that matter: families in one piece, TYPE before samples, units, _total, the end."""
    check(text.endswith("\n# EOF\n") and text.count("# EOF") == 1, "the end mark")
    families, samples, current = {}, {}, None
    for line in text.split("\n")[:-2]:
        check(line != "" and line == line.strip(), "blanks:", repr(line))
        meta = re.fullmatch(rf"# (TYPE|UNIT|HELP) ({NAME}) (.+)", line)
        if meta:
            keyword, name, rest = meta.groups()
            if name != current:
                check(name not in families, name, "is in pieces")
                current = name
                families[name] = {}
            check(keyword not in families[name] and "sampled" not in families[name], line)
            families[name][keyword] = rest
            continue
        sample = re.fullmatch(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\d+(?:\.\d+)?)", line)
        check(sample, "no sample:", repr(line))
        name, labels, value = sample.groups()
        suffix = {"counter": "_total", "gauge": "", "info": "_info"}[families[current]["TYPE"]]
        check(name == current + suffix, line, "does not belong to", current)
        check((name, labels) not in samples, "twice:", line)
        families[current]["sampled"] = True
        names = re.findall(r'([a-zA-Z_][a-zA-Z0-9_]*)="', labels)
        check(len(set(names)) == len(names), "a label twice:", line)
        samples[name, labels] = float(value)
    for name, family in families.items():
        check("TYPE" in family and "HELP" in family and "sampled" in family, name)
        if "UNIT" in family:
            check(name.endswith("_" + family["UNIT"]), name, family["UNIT"])
        check(not name.endswith(("_total", "_info")), name)
    return samples


def escaped(path):
    return path.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


# ---- what is tried ----------------------------------------------------------------------------------------------

def test_totals(pool):
    idle = json.loads(adit("top", "--json", pool))
    check(idle["in_use"] is False and idle["calls"]["read"] == 0 and "rates" not in idle, idle)
    w = Worker(pool)
    w.say("open")
    for rounds in (1, 100, 2000):
        w.say(f"work {rounds}")
        theirs, ours = w.stats(), flat(json.loads(adit("top", pool, "--json")))
        check(ours["in_use"] is True and ours["alive"] == 1, ours)
        for key, value in theirs.items():
            check(ours[key] == value, key, ours[key], "is not", value)
    check(theirs["calls.write"] == 2101 and theirs["bytes_written"] == 5 * 2101, theirs)
    check(theirs["calls.create"] == 2102 and theirs["fences"] > 3 * 2101, theirs)

    samples = parse_metrics(adit("top", "--metrics", "-", pool))
    label = f'pool="{escaped(pool)}"'
    for kind in ("read", "write", "open", "rename", "fsync"):
        check(samples["adit_calls_total", f'{label},call="{kind}"'] == theirs[f"calls.{kind}"], kind)
    for name, key, scale in (("read_bytes", "bytes_read", 1), ("written_bytes", "bytes_written", 1),
                             ("fences", "fences", 1), ("flushed_lines", "flushed_lines", 1),
                             ("streamed_lines", "streamed_lines", 1), ("log_records", "records", 1),
                             ("lock_wait_seconds", "lock_wait_ns", 1e-9)):
        got = samples[f"adit_{name}_total", label]
        check(abs(got - theirs[key] * scale) < 1e-6, name, got, theirs[key])
    check(samples["adit_free_bytes", label] == theirs["free_blocks"] * 4096, "free")
    w.say("close")
    check(("adit_in_use", label) in parse_metrics(adit("top", "-m-", pool)), "closed")
    w.end()


def test_rates(pool):
    w = Worker(pool)
    w.say("open")
    top = subprocess.Popen([ADIT, "top", "--json", "--interval", "0.2", "--count", "4", pool],
                           stdout=subprocess.PIPE, text=True)
    while top.poll() is None:
        w.say("work 200")
    lines = [json.loads(line) for line in top.stdout]
    top.stdout.close()
    check(top.returncode == 0 and len(lines) == 4, len(lines))
    for was, now in zip(lines, lines[1:]):
        r = now["rates"]
        for key in ("fences", "records", "bytes_written", "flushed_lines"):
            check(abs(r[key] * r["seconds"] - (now[key] - was[key])) < 1 + r[key] * 0.01, key, r[key])
        changes = r["changes"]
        check(abs(changes * r["fences_a_change"] - r["fences"]) < 1 + r["fences"] * 0.01, r)
        check(changes <= r["all"] and all(now["calls"][k] >= was["calls"][k] for k in now["calls"]), r)
    check(sum(now["rates"]["calls"]["write"] for now in lines) > 0, "nothing was seen")
    text = adit("top", "--interval=0.05", "--count=3", pool).splitlines()
    check(len(text) == 4 and text[0].split()[:3] == ["TIME", "PROCS", "CALLS/S"], text)
    for line in text[1:]:
        check(len(line.split()) == len(text[0].split()), line)
        check(all(re.fullmatch(r"[0-9:.]+", word) for word in line.split()), line)
    w.say("close")
    w.end()


def test_file(pool, out):
    w = Worker(pool)
    w.say("open")
    top = subprocess.Popen([ADIT, "top", "-m", out, "-d", "0.01", "-n", "60", pool], umask=0o027)
    seen = set()
    while top.poll() is None:
        w.say("work 20")
        if os.path.exists(out):
            with open(out, encoding="utf-8") as f:
                seen.add(parse_metrics(f.read())["adit_fences_total", f'pool="{escaped(pool)}"'])
    check(top.returncode == 0 and len(seen) > 1, "the file did not change:", seen)
    check(os.stat(out).st_mode & 0o777 == 0o640, oct(os.stat(out).st_mode))
    check(not [name for name in os.listdir(os.path.dirname(out)) if name.startswith(os.path.basename(out) + ".")],
          "left a temporary file")
    check("nowhere" in adit("top", "-m", os.path.join(os.path.dirname(out), "nowhere/x"), pool, code=1), "no error")
    w.say("close")
    w.end()


def test_mistakes(pool):
    adit("top", code=2)
    for wrong in (["-d", "-1"], ["-d", "0.001"], ["-d", "nan"], ["-n", "0"], ["-n", "-3"], ["--json", "-m-"]):
        adit("top", pool, *wrong, code=2)
    check("ENOENT" in adit("top", "-n1", pool + ".not", code=1), "a missing pool")
    with open(pool + ".no", "wb") as f:
        f.truncate(8 << 20)
    check("superblock" in adit("top", "-n1", pool + ".no", code=1), "no pool")


class Line:
    """Reads JSON samples of a running adit top."""
    def __init__(self, pool):
        self.p = subprocess.Popen([ADIT, "top", "--json", "-d", "0.05", "-n", "1000000", pool],
                                  stdout=subprocess.PIPE, text=True)

    def until(self, good):
        for _ in range(2000):
            line = self.p.stdout.readline()
            check(line, "adit top ended")
            sample = json.loads(line)
            if good(sample):
                return sample
        raise AssertionError("it never came")


def test_life(pool):
    """Closed by everybody, opened anew, a death, a repair; the one who watches dies at last."""
    line = Line(pool)
    line.until(lambda s: not s["in_use"])
    w = Worker(pool)
    w.say("open")
    w.say("work 10")
    first = line.until(lambda s: s["in_use"] and s["calls"]["write"] == 10)
    w.say("close")
    check("rates" not in line.until(lambda s: not s["in_use"]), "rates of nothing")
    w.say("open")
    second = line.until(lambda s: s["in_use"])
    check(second["incarnation"] == first["incarnation"] + 1 and second["calls"]["write"] == 0, second)
    check("rates" not in second, "rates across incarnations")
    w.say("work 5")
    other = Worker(pool)
    other.say("open")
    other.say("work 7")
    check(line.until(lambda s: s["calls"]["write"] == 12)["alive"] == 2, "two")
    other.kill()
    dead = line.until(lambda s: s["alive"] == 1)
    check(dead["calls"]["write"] == 12, dead)
    last = Worker(pool)
    last.say("open")
    last.say("work 1")
    last.say("close")  # whoever comes or leaves looks after the dead
    last.end()
    after = line.until(lambda s: s["participants"] == 1)
    check(after["calls"]["write"] == 13, after)
    line.p.kill()
    line.p.wait()
    line.p.stdout.close()
    w.say("work 100")
    check(w.stats()["calls.write"] == 113, "who watched has gone")
    w.say("close")
    w.end()
    adit("fsck", "-n", pool)
    with open(pool, "rb") as f:
        before = hashlib.sha256(f.read()).digest()
    adit("top", "--json", "-d0.02", "-n3", pool)
    with open(pool, "rb") as f:
        check(hashlib.sha256(f.read()).digest() == before, "top changed the pool")


def test_permission():
    """Somebody who may only read the pool sees what root does in it."""
    if os.getuid() != 0:
        return
    top = tempfile.mkdtemp(prefix="adit-top.")
    os.chmod(top, 0o755)
    pool = os.path.join(top, "p.adit")
    other = {"user": 65534, "group": 65534, "extra_groups": [], "capture_output": True, "text": True}
    try:
        adit("mkfs", "-q", "--size=16M", pool)
        os.chmod(pool, 0o444)
        if subprocess.run([ADIT, "info", "--version"], **other).returncode == 0:
            w = Worker(pool)
            w.say("open")
            w.say("work 3")
            r = subprocess.run([ADIT, "top", "--json", pool], timeout=60, **other)
            check(r.returncode == 0 and json.loads(r.stdout)["calls"]["write"] == 3, r)
            w.say("close")
            w.end()
    except PermissionError:
        pass  # the program itself is out of that user's reach
    finally:
        shutil.rmtree(top)


# ---- the screen -------------------------------------------------------------------------------------------------

class Terminal:
    """As much of an xterm as curses uses without scrolling."""
    SEQUENCE = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z@`])|\x1b[()][A-Z0-9]|\x1b[=>78M]")

    def __init__(self, rows, columns):
        self.rows, self.columns, self.rest = rows, columns, ""
        self.clear()

    def clear(self):
        self.cell = [[" "] * self.columns for _ in range(self.rows)]
        self.y = self.x = 0

    def put(self, c):
        if self.x < self.columns and self.y < self.rows:
            self.cell[self.y][self.x] = c
        self.x, self.last = self.x + 1, c

    def control(self, n, code):
        first = n[0] or 1
        if code == "H":
            self.y, self.x = first - 1, (n[1] if len(n) > 1 else 1) - 1
        elif code == "d":
            self.y = first - 1
        elif code in "G`":
            self.x = first - 1
        elif code in "ABCD":
            self.y += {"A": -first, "B": first}.get(code, 0)
            self.x += {"C": first, "D": -first}.get(code, 0)
        elif code == "b":
            for _ in range(first):
                self.put(self.last)
        elif code == "X":
            self.cell[self.y][self.x:self.x + first] = [" "] * first
        elif code == "K":
            a, b = [(self.x, self.columns), (0, self.x + 1)][n[0]]
            self.cell[self.y][a:b] = [" "] * (b - a)
        elif code == "P":
            self.cell[self.y][self.x:] = self.cell[self.y][self.x + first:] + [" "] * first
        elif code == "@":
            self.cell[self.y][self.x:] = ([" "] * first + self.cell[self.y][self.x:])[:self.columns - self.x]
        elif code == "J":
            self.cell[self.y][self.x:] = [" "] * (self.columns - self.x)
            for y in range(self.y + 1, self.rows):
                self.cell[y] = [" "] * self.columns

    def feed(self, text):
        text, at = self.rest + text, 0
        while at < len(text):
            m = self.SEQUENCE.match(text, at)
            if m:
                if m[3] and not m[1] and m[3] not in "mhlrt":
                    self.control([int(n or 0) for n in m[2].split(";")], m[3])
                at = m.end()
                continue
            c = text[at]
            if c == "\x1b":
                break  # the rest comes later
            if c == "\r":
                self.x = 0
            elif c == "\n":
                self.y += 1
            elif c == "\b":
                self.x -= 1
            elif c >= " ":
                self.put(c)
            at += 1
        self.rest = text[at:]

    def text(self):
        return "\n".join("".join(row).rstrip() for row in self.cell)


class Screen:
    # What curses keeps for itself is no leak of ours.
    OPTIONS = os.environ.get("ASAN_OPTIONS", "abort_on_error=1") + ":detect_leaks=0"

    def __init__(self, *args, term="xterm", rows=40, columns=120):
        self.main, self.side = pty.openpty()
        self.size(rows, columns)
        self.was = termios.tcgetattr(self.side)
        self.p = subprocess.Popen([ADIT, "top", *args], stdin=self.side, stdout=self.side, stderr=self.side,
                                  env={**os.environ, "TERM": term, "ASAN_OPTIONS": self.OPTIONS},
                                  start_new_session=True)
        self.seen = ""

    def size(self, rows, columns):
        fcntl.ioctl(self.side, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.terminal = Terminal(rows, columns)

    def read(self, seconds):
        ready, _, _ = select.select([self.main], [], [], seconds)
        if ready:
            text = os.read(self.main, 65536).decode("utf-8", "replace")
            self.seen += text
            self.terminal.feed(text)
        return bool(ready)

    def until(self, pattern):
        end = time.monotonic() + 60
        while not re.search(pattern, self.terminal.text()):
            check(time.monotonic() < end, f"no {pattern!r} in", self.terminal.text())
            self.read(1)
        check(True)

    def key(self, k):
        os.write(self.main, k.encode())

    def ends(self, code=0, screen=True):
        end = time.monotonic() + 60
        while self.p.poll() is None or self.read(0.1):
            check(time.monotonic() < end, "it does not end")
            self.read(0.1)
        check(self.p.returncode == code, "exit code", self.p.returncode, self.seen)
        if screen:
            check("\x1b[?1049l" in self.seen and "\x1b[?25h" in self.seen, "not restored:", repr(self.seen))
        check(termios.tcgetattr(self.side) == self.was, "the terminal's modes")
        os.close(self.main)
        os.close(self.side)
        return self.seen


def test_screen(pool):
    w = Worker(pool)
    w.say("open")
    w.say("work 1234")
    s = Screen("-d", "0.1", pool)
    s.until(r"(?s)adit top  .*every 0\.1 s\nincarnation \d+, 1 process\n.*\nwrite +0 +1234 +0\n")
    s.key("+")
    s.until(r"every 0\.2 s")
    s.key("-")
    s.until(r"every 0\.1 s")
    w.say("work 1000")
    s.until(r"\nwrite +\S+ +2234 +0\n")
    w.kill()
    s.until("nobody has it open")
    w = Worker(pool)
    w.say("open")
    w.say("work 77")
    s.until(r"\nunlink +\S+ +77 +0\n")
    s.size(8, 60)
    s.p.send_signal(signal.SIGWINCH)
    s.until(r"(?s)adit top .*\nq quit")
    s.key("q")
    s.ends()
    for sig in (signal.SIGINT, signal.SIGTERM):
        s = Screen(pool)
        s.until("1 process")
        s.p.send_signal(sig)
        s.ends()
    s = Screen("-n", "2", "-d", "0.1", pool, rows=5, columns=20)
    s.ends()
    check("nosuchterminal" in Screen(pool, term="nosuchterminal").ends(code=1, screen=False), "no message")
    out = Screen("-b", "-n", "2", "-d", "0.1", pool).ends(screen=False)
    check("CALLS/S" in out and "\x1b" not in out, out)
    w.say("close")
    w.end()


def main():
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    top = tempfile.mkdtemp(prefix="adit-top.", dir=parent)
    os.chmod(top, 0o755)
    os.environ.pop("ADIT_ASSUME", None)
    try:
        pool = os.path.join(top, "p.adit")
        strange = os.path.join(top, 'a "b"\\c\n.adit')
        for path in (pool, strange):
            adit("mkfs", "-q", "--size=32M", '--label=one\\two "three"', path)
        test_mistakes(pool)
        for path in (pool, strange):
            test_totals(path)
        test_rates(pool)
        test_file(strange, os.path.join(top, "adit.prom"))
        test_life(pool)
        test_permission()
        test_screen(pool)
    finally:
        shutil.rmtree(top)
    print(f"top: {checks} checks")


main()

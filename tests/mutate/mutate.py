#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The test of the tests: break the engine in one place, build, and see which test notices (R30).

    scripts/mutate [NAME...]   mutations whose name contains NAME; without: all
        --all                  the same as no name
        --list                 only say what there is
        --sample               some with a known catcher, chosen by the seed: part of `make check`
        --seconds N            begin no new one after N seconds (ADIT_SECONDS)
        --seed N               order of a sample, or of what fits into --seconds (ADIT_SEED)
        --jobs N               so many at a time (default 2)
        --build DIR            the build whose tests are run (default build)
        --no-build             it is up to date
        --quick                the cheap tests only
        --tests A,B            only these tests
        --learn                write what caught each into catchers.txt, to be tried first next time

Mutations come from the sources (generate.py) and from mutations.txt. catchers.txt says what to try first;
unseen.txt which generated ones no test can see, and why. A mutation that is not caught is a failure, and so is
one of mutations.txt or unseen.txt that does not fit the sources any more.

A mutant is one object, compiled from a changed copy of the file with the build's own command, and linked before the
recording library: neither the sources nor the build are touched. Every test that catches something has been run on
the unchanged engine first and must pass there.
"""

import argparse
import concurrent.futures
import ctypes
import json
import os
import random
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import table

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent

# Cheapest first; what a mutation without a known catcher meets. "crash TEXT": crash --only TEXT.
QUICK = [
    "test_log", "test_persist", "test_turns", "test_making", "test_sets", "crash empty: create /n", "test_check",
    "test_namei", "test_api", "test_damaged_log", "test_tree", "crash dirty: create /n", "crash dirty: unlink /f", "crash orphan: unlink /f",
    "crash lanes: chmod /f", "crash reuse: write /f 0 30000", "crash steps: fallocate /f 8",
    "crash freed: write /f 0 4096", "test_file", "test_xattr", "test_counts", "crash checkpointed: checkpoint",
    "crash ringpad: chmod", "crash half: write /f 0 4096", "crash part: write /f 100 5000", "crash stepstree: unlink",
    "crash stepstree: write /f 100 600000", "crash stepstree: fallocate /f 0x20", "crash stepsfree: truncate /f 0",
    "test_repair", "test_holds", "test_grow", "test_stats", "test_flush", "test_kill_power", "test_recover", "test_stopped", "misuse mkfs", "test_media",
]
LONG = [
    "test_verify", "test_check_fields", "test_extent", "test_glance", "test_lock", "test_check_damage",
    "crash dirtydata", "crash lanes", "crash orphan", "crash checkpointed", "crash ringend", "crash ringpad",
    "crash half", "test_model", "crash reuse", "crash tmpfile", "crash full", "crash brimful", "crash dirtree",
    "crash steps", "crash meet", "test_dir", "misuse", "fault_refuse", "crash", "test_file_crash",
]

RECORDING = ("libadit_core_rec.a", "libadit_rec.a")
FAILED = re.compile(r"FAILED|\[  ERROR|ERROR:|Assertion")
LOCK = threading.Lock()


class Build:
    """The commands of a Meson build: how an object of the recording library is made, how a test is linked."""

    def __init__(self, path):
        self.path = path.resolve()
        with open(self.path / "compile_commands.json", encoding="utf-8") as file:
            commands = json.load(file)
        self.compile = {}  # (archive, source) -> (command, object)
        self.tests = {}
        for c in commands:
            args = shlex.split(c["command"])
            source = os.path.relpath(os.path.join(c["directory"], c["file"]), ROOT)
            if "-DADIT_RECORD=1" not in args:
                continue
            target = c["output"].split(".p/")[0]
            if source.startswith("src/") and target.endswith(".a"):
                self.compile[target, source] = args, c["output"]
            elif source.startswith("tests/"):
                self.tests[os.path.basename(target)] = target
        self.links = {}

    def archive_of(self, source):
        """The recording library that has it."""
        return next(a for a in RECORDING if (a, source) in self.compile)

    def object_command(self, archive, source, mutant, output):
        """As the build does it, but quickly: for other things than warnings."""
        args, out, skip = self.compile[archive, source][0], [], False
        for a in args:
            if skip:
                skip = False
            elif a in ("-MQ", "-MF", "-o", "-c"):
                skip = True
            elif not re.match(r"-(W|g|O|MD|fdiagnostics)", a):
                out.append(a)
        return out + ["-w", "-O1", "-o", str(output), "-c", str(mutant)]

    def link_command(self, test, source, mutant_of, output):
        """mutant_of(archive): the changed object as it would be in that archive. It stands before the recording
        library, whose own is then not used; an archive that is linked whole is taken apart."""
        with LOCK:
            if test not in self.links:
                target = self.tests[test]
                text = subprocess.run(["ninja", "-C", self.path, "-t", "commands", target], check=True,
                                      stdout=subprocess.PIPE, text=True).stdout
                self.links[test] = next(shlex.split(line) for line in reversed(text.splitlines())
                                        if f" -o {target} " in line)
        args = list(self.links[test])
        own = [a for a in args if (a, source) in self.compile and a not in RECORDING]
        for archive in own:
            at = args.index(archive)
            args[at:at + 1] = [str(mutant_of(archive)) if s == source else made
                               for (a, s), (_, made) in self.compile.items() if a == archive]
        at = args.index("-o")
        first = [] if own else [str(mutant_of(self.archive_of(source)))]
        return args[:at] + ["-o", str(output)] + first + args[at + 2:]

    def binary(self, test):
        return self.path / self.tests[test]

    def has(self, catcher):
        return catcher.split()[0] in self.tests


def run(args, cwd):
    return subprocess.run(args, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          check=False)


def test_command(binary, catcher):
    word, _, text = catcher.partition(" ")
    return [str(binary)] + (["--only", text] if text else [])


IDLE_S = 20  # a test that waits so long waits for ever
LIBC = ctypes.CDLL(None)


def limits():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: gone when we are


def group_use(pgid):
    """(seconds of processor time, whether anything runs or waits for a processor) of a process group."""
    used, runs = 0, False
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[2]) == pgid:
                used += int(fields[11]) + int(fields[12])
                runs = runs or fields[0] == "R"
    return used / os.sysconf("SC_CLK_TCK"), runs


def watch(pgid, limit_s, done, give_up):
    """Gives up on a test that uses far more of the processor than it should, or that only waits. How long it takes
    says nothing: the machine may be busy."""
    before, idle = -1, 0
    while not done.wait(1):
        used, runs = group_use(pgid)
        idle = idle + 1 if used == before and not runs else 0
        before = used
        if used > limit_s or idle >= IDLE_S:
            give_up(f"hangs: {used:.0f} s of the processor" if used > limit_s else f"hangs: idle for {idle} s")
            return


def try_test(binary, catcher, work, limit_s):
    """(failed, what it said first, seconds of the processor). A test is ended at its first failure, which settles how
    it exits, unless it would leave files outside of `work`."""
    said, hangs, soon = "", [], not catcher.startswith("test_media")
    env = dict(os.environ, ADIT_TEST_SHM=str(work))
    for name in ("ADIT_PROOF_DIR", "ADIT_SECONDS", "ADIT_TIER"):
        env.pop(name, None)
    child = subprocess.Popen(test_command(binary, catcher), cwd=work, env=env, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                             start_new_session=True, preexec_fn=limits)

    def end():
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def give_up(why):
        hangs.append(why)
        end()

    done = threading.Event()
    watcher = threading.Thread(target=watch, args=(child.pid, limit_s, done, give_up))
    watcher.start()
    for line in child.stdout:
        if not said and FAILED.search(line):
            said = " ".join(line.split())[:160]
            if soon:
                end()
    _, status, usage = os.wait4(child.pid, 0)
    code = child.returncode = os.waitstatus_to_exitcode(status)
    done.set()
    watcher.join()
    took = usage.ru_utime + usage.ru_stime
    if said or hangs:
        return True, said or hangs[0], took
    return code != 0, "ended by " + signal.Signals(-code).name if code < 0 else f"exit status {code}", took


class Broken(Exception):
    """The mutant is no program: a mistake in the mutation, not a finding."""


class Session:
    def __init__(self, build, work):
        self.build, self.work = build, work
        self.base = {}  # catcher -> seconds on the unchanged engine
        self.base_locks = {}

    def base_seconds(self, catcher):
        """Runs the test on the unchanged engine once; it must pass, or it proves nothing."""
        with LOCK:
            lock = self.base_locks.setdefault(catcher, threading.Lock())
        with lock:
            if catcher not in self.base:
                work = Path(tempfile.mkdtemp(dir=self.work))
                failed, said, took = try_test(self.build.binary(catcher.split()[0]), catcher, work, 3600)
                shutil.rmtree(work, ignore_errors=True)
                if failed:
                    print(f"mutate: {catcher} fails on the unchanged engine: {said}")
                    os._exit(2)
                self.base[catcher] = took
        return self.base[catcher]

    def mutant(self, m, archive, work):
        """Compiles the changed file as a member of that archive; the object's path."""
        changed = work / "src" / Path(m.path).relative_to("src")
        out = work / (os.path.basename(archive) + ".o")
        if not changed.exists():
            changed.parent.mkdir(parents=True)
            changed.write_text(m.apply((ROOT / m.path).read_text(encoding="utf-8")), encoding="utf-8")
        if not out.exists():
            done = run(self.build.object_command(archive, m.path, changed, out), self.build.path)
            if done.returncode != 0:
                raise Broken("does not compile: " + done.stdout.strip()[-300:])
        return out

    def attempt(self, m, catcher, work):
        limit = 10 + 4 * self.base_seconds(catcher)
        test = catcher.split()[0]
        binary = work / test
        if not binary.exists():
            done = run(self.build.link_command(test, m.path, lambda archive: self.mutant(m, archive, work), binary),
                       self.build.path)
            if done.returncode != 0:
                raise Broken(f"{test} does not link: " + done.stdout.strip()[-300:])
        return try_test(binary, catcher, work, limit)

    def judge(self, m, catchers):
        """(catcher or None, what it said, seconds)"""
        began = time.monotonic()
        work = Path(tempfile.mkdtemp(dir=self.work))
        try:
            for catcher in catchers:
                failed, said, _ = self.attempt(m, catcher, work)
                if failed:
                    return catcher, said, time.monotonic() - began
            return None, "not caught", time.monotonic() - began
        except Broken as why:
            return None, str(why), time.monotonic() - began
        finally:
            shutil.rmtree(work, ignore_errors=True)


def arguments():
    p = argparse.ArgumentParser(prog="scripts/mutate", description="Break the engine in one place; which test notices?")
    p.add_argument("names", nargs="*")
    p.add_argument("--all", action="store_true")
    p.add_argument("--list", action="store_true")
    p.add_argument("--sample", action="store_true")
    p.add_argument("--tests", type=lambda text: [t.strip() for t in text.split(",")])
    p.add_argument("--quick", action="store_true")
    p.add_argument("--learn", action="store_true")
    p.add_argument("--no-build", action="store_true")
    p.add_argument("--seconds", type=float, default=float(os.environ.get("ADIT_SECONDS", "0")))
    p.add_argument("--seed", type=int, default=int(os.environ.get("ADIT_SEED", "1"), 0) & 0xffffffff)
    p.add_argument("--jobs", type=int, default=2)
    p.add_argument("--build", type=Path, default=ROOT / "build")
    return p.parse_args()


def choose(options, mutations):
    if options.names:
        exact = {m.name for m in mutations}.intersection(options.names)
        chosen = [m for m in mutations if m.name in exact or any(n in m.name for n in options.names if n not in exact)]
        if not chosen:
            sys.exit("mutate: no such mutation")
        return chosen
    if options.sample:
        mutations = [m for m in mutations if m.by and not m.by.startswith("test_file_crash")]
    if options.sample or options.seconds:
        random.Random(options.seed).shuffle(mutations)
    return mutations


def proof(options, tried, caught, total, unseen, seconds):
    where = os.environ.get("ADIT_PROOF_DIR")
    if not where:
        return
    by = {}
    for catcher in caught:
        by[catcher.split()[0]] = by.get(catcher.split()[0], 0) + 1
    notes = [f"{m.name} cannot be seen: {why}" for m, why in unseen]
    if tried < total:
        notes.insert(0, f"{tried} of {total} mutations were tried in the time given")
    result = {"suite": "mutate", "reliability": "R30",
              "what": "one step, flush, fence or check of the engine left out, moved or made wrong: some test must fail",
              "seed": str(options.seed), "tried": {"mutations": tried, "caught": len(caught)},
              "failures": tried - len(caught), "seconds": round(seconds, 1), "notes": notes,
              "matrix": {"title": "caught by", "columns": ["mutations"],
                         "rows": {k: [v] for k, v in sorted(by.items(), key=lambda x: -x[1])}}}
    path = Path(where) / "mutate.json"
    new = path.with_suffix(".json.new")
    new.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    new.rename(path)


def main():
    options = arguments()
    began = time.monotonic()
    mutations, unseen, notices = table.load(ROOT, HERE)
    for line in notices:
        print("mutate: " + line)
    if options.list:
        for m in mutations:
            print(f"{m.name:64} {m.breaks}" + (f" [{m.by}]" if m.by else ""))
        for m, why in unseen:
            print(f"{m.name:64} NOT TRIED: {why}")
        print(f"{len(mutations)} mutations, {len(unseen)} more that no test can see")
        return 0
    chosen = choose(options, list(mutations))
    if not options.no_build:
        done = run(["ninja", "-C", str(options.build)], ROOT)
        if done.returncode != 0:
            sys.exit("mutate: the build fails\n" + done.stdout[-3000:])
    build = Build(options.build)
    ladder = [c for c in (options.tests or (QUICK if options.quick else QUICK + LONG)) if build.has(c)]
    results = {}
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="adit-mutate-", dir=memory) as work:
        session = Session(build, Path(work))

        def one(m):
            if options.seconds and time.monotonic() - began > options.seconds:
                return
            first = [m.by] if m.by and build.has(m.by) else []
            rest = [] if options.sample else [c for c in ladder if c not in first]
            catcher, said, took = session.judge(m, first + rest)
            with LOCK:
                results[m.name] = (m, catcher, said)
                print(f"{m.name:64} {m.where:44} {catcher or 'NOT CAUGHT':24} {took:6.1f}  {said}", flush=True)

        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(one, chosen))
    missed = [m for m, catcher, _ in results.values() if not catcher]
    if options.learn:
        table.learn(HERE, mutations, {name: catcher for name, (_, catcher, _) in results.items() if catcher})
    for m in missed:
        print(f"NOT CAUGHT {m.name}: {m.breaks} ({m.where}); again: scripts/mutate {m.name}")
    caught = [catcher for _, catcher, _ in results.values() if catcher]
    proof(options, len(results), caught, len(mutations), unseen, time.monotonic() - began)
    print(f"{len(results)} mutations, {len(caught)} caught")
    return 1 if missed or not results else 0


if __name__ == "__main__":
    sys.exit(main())

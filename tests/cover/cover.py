#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
Line and branch coverage of src/core and src/media against the list of what is not covered.

    cover.py [--update] [--proof FILE] LIST EXPORT.json...

The exports come from `llvm-cov export` (scripts/cover makes them), one for each library; the same
source may be in several. Clang's source-based coverage is used because its branches are the conditions of
the source text; gcov's are jumps of the compiled code.

What is named in the list, one line each, below the reason that it has:

    FILE  FUNCTION  KIND  TEXT

    T  the condition TEXT was looked at and never true      F  ... and never false
    N  the function is never called                         L  this line is never reached (no condition explains it)

A condition or line that is only behind one of those needs no line of its own. When a text occurs more than once
in its function, " << " and the line of code before it follow. Neither holds line numbers: moving code changes nothing.

A reason is a line that begins with "= ". One that begins with "=? " is for what a run meets by chance (two threads at
one moment): it may be covered or not.
"""
import argparse
import bisect
import json
import os
import sys
from collections import defaultdict

NEED = 95.0
NO_REASON = "= (no reason yet)"


class Source:
    """A source file, merged over every object that has it."""

    def __init__(self, name, path):
        self.name = name
        with open(path) as f:
            self.text = f.read().splitlines()
        self.lines = {}  # line -> times
        self.branches = {}  # (function, ls, cs, le, ce) -> [true, false]
        self.functions = {}  # name -> [first, last, times]

    def piece(self, ls, cs, le, ce):
        if ls == le:
            return self.text[ls - 1][cs - 1:ce - 1]
        parts = [self.text[ls - 1][cs - 1:], *self.text[ls:le - 1], self.text[le - 1][:ce - 1]]
        return " ".join(" ".join(parts).split())

    def before(self, line):
        """The nearest line of code above."""
        for at in range(line - 2, -1, -1):
            text = " ".join(self.text[at].split())
            if text not in ("", "{", "}", "} else {") and not text.startswith(("/*", "*", "//")):
                return text
        return ""


def line_counts(segments):
    """Times each line ran, from a file's segments (as LLVM's LineCoverageStats counts)."""
    counts = {}
    wrapped = None
    by_line = defaultdict(list)
    for s in segments:
        by_line[s[0]].append(s)
    if not by_line:
        return counts
    for line in range(min(by_line), max(by_line) + 1):
        here = by_line.get(line, [])
        starts = [s for s in here if s[3] and s[4] and not s[5]]
        skipped = bool(here) and not here[0][3] and here[0][4]
        if not skipped and (starts or (wrapped and wrapped[3])):
            counts[line] = max([s[2] for s in starts] + ([wrapped[2]] if wrapped and wrapped[3] else []))
        if here:
            wrapped = here[-1]
    return counts


def in_part(path):
    """The name below src/ when the file counts, else None."""
    for part in ("src/core/", "src/media/"):
        at = path.rfind("/" + part)
        if at >= 0:
            return path[at + 1:]
    return None


def add_function(sources, f):
    short = f["name"].rsplit(":", 1)[-1]
    own = in_part(f["filenames"][0])
    if own and f["regions"]:
        r = f["regions"][0]
        known = sources[own].functions.setdefault(short, [r[0], r[2], 0])
        known[2] += f["count"]
    for ls, cs, le, ce, true, false, file_id, _, _ in f["branches"]:
        name = in_part(f["filenames"][file_id])
        if not name:
            continue
        # A macro's body is one place, whoever uses it.
        key = ("macro" if file_id else short, ls, cs, le, ce)
        known = sources[name].branches.setdefault(key, [0, 0])
        known[0] += true
        known[1] += false


def load(exports):
    sources = {}
    for export in exports:
        with open(export) as f:
            data = json.load(f)["data"][0]
        for entry in data["files"]:
            name = in_part(entry["filename"])
            if not name:
                continue
            source = sources.setdefault(name, Source(name, os.path.normpath(entry["filename"])))
            for line, times in line_counts(entry["segments"]).items():
                source.lines[line] = source.lines.get(line, 0) + times
        for f in data["functions"]:
            add_function(sources, f)
    return sources


def branches(source):
    """(function, kind, text, line, times, taken the other way) of every side of every condition."""
    keys = sorted(source.branches, key=lambda key: key[1:])
    texts = defaultdict(list)
    for key in keys:
        texts[key[0], source.piece(*key[1:])].append(key)
    for key in keys:
        text = source.piece(*key[1:])
        same = texts[key[0], text]
        if len(same) > 1:
            text += " << " + source.before(key[1])
            again = [k for k in same if source.before(k[1]) == source.before(key[1])]
            if len(again) > 1:
                text += f" #{again.index(key) + 1}"
        true, false = source.branches[key]
        yield key[0], "T", text, key[1], true, false
        yield key[0], "F", text, key[1], false, true


def uncovered_lines(source, explained):
    """Lines never reached in functions where no condition of the list tells why; functions never called."""
    spans = sorted((first, last, name) for name, (first, last, times) in source.functions.items())
    starts = [s[0] for s in spans]
    for name, (first, _, times) in source.functions.items():
        if times == 0:
            yield name, "N", "", first
    for line, times in sorted(source.lines.items()):
        at = bisect.bisect_right(starts, line) - 1
        if times or at < 0:
            continue
        first, last, name = spans[at]
        if line > last or source.functions[name][2] == 0 or name in explained:
            continue
        yield name, "L", " ".join(source.text[line - 1].split()), line


def entry(source, function, kind, text):
    return f"{source.name}  {function}  {kind}  {text}".rstrip()


def uncovered(source):
    """{entry of the list: line}. A condition that was never looked at has no entry: what led there has."""
    found = [(f, kind, text, line) for f, kind, text, line, times, other in branches(source) if other and not times]
    found += list(uncovered_lines(source, {f for f, _, _, _ in found}))
    return {entry(source, f, kind, text): line for f, kind, text, line in sorted(found, key=lambda f: f[3])}


def possible(source):
    return {entry(source, f, kind, text) for f, kind, text, _, _, _ in branches(source)}


def read_list(path):
    """Comment lines at the head, and {reason line: [entry]} in order."""
    head, reasons, at = [], {}, None
    if os.path.exists(path):
        with open(path) as f:
            for line in f.read().splitlines():
                if line.startswith("="):
                    at = reasons.setdefault(line, [])
                elif line.startswith("#") and at is None:
                    head.append(line)
                elif line.strip():
                    at.append(line)
    return head, reasons


def write_list(path, head, reasons):
    with open(path, "w") as f:
        f.write("\n".join(head) + "\n")
        for reason, entries in reasons.items():
            if entries:
                f.write(f"\n{reason}\n" + "\n".join(entries) + "\n")


def percent(part, whole):
    return 100.0 * part / whole if whole else 100.0


def table(sources):
    """{file: (lines, covered, sides of branches, covered)}; prints it."""
    rows = {}
    for name, source in sorted(sources.items()):
        sides = [times > 0 for pair in source.branches.values() for times in pair]
        rows[name] = (len(source.lines), sum(t > 0 for t in source.lines.values()), len(sides), sum(sides))
    print(f"{'':32}{'lines':>8}{'covered':>9}{'%':>7}{'branches':>10}{'covered':>9}{'%':>7}")
    for name, (lines, lines_in, sides, sides_in) in [*rows.items(), *totals(rows).items()]:
        print(f"{name:32}{lines:8}{lines_in:9}{percent(lines_in, lines):7.1f}"
              f"{sides:10}{sides_in:9}{percent(sides_in, sides):7.1f}")
    return rows


def totals(rows):
    sums = {}
    for part in ("src/core", "src/media"):
        mine = [r for name, r in rows.items() if name.startswith(part + "/")]
        sums[part] = tuple(map(sum, zip(*mine))) if mine else (0, 0, 0, 0)
    return sums


def compare(found, can_be, reasons):
    """What is wrong with the list: (not listed, listed but covered or gone)."""
    listed = {e for entries in reasons.values() for e in entries}
    by_chance = {e for reason, entries in reasons.items() if reason.startswith("=?") for e in entries}
    stale = {e for e in listed if e not in (can_be if e in by_chance else found)}
    return [e for e in found if e not in listed], sorted(stale)


def update(path, head, reasons, found, can_be):
    new, stale = compare(found, can_be, reasons)
    for reason, entries in reasons.items():
        kept = [e for e in entries if e not in stale]
        reasons[reason] = sorted(kept)
    reasons.setdefault(NO_REASON, []).extend(new)
    write_list(path, head, reasons)
    print(f"{path}: {len(stale)} removed, {len(new)} new without a reason")
    for e in new:
        print(f"  {e}    line {found[e]}")


def write_proof(path, rows, found, reasons, failures):
    sums = totals(rows)
    tried = {}
    for part, (lines, lines_in, sides, sides_in) in sums.items():
        tried[f"lines of {part}"] = lines
        tried[f"lines of {part} covered"] = lines_in
        tried[f"branches of {part}"] = sides
        tried[f"branches of {part} covered"] = sides_in
    tried["places listed with a reason"] = len(found)
    proof = {
        "suite": "cover", "reliability": "R24",
        "what": "Line and branch coverage of the engine and the media layer by the tests; every branch that is "
                "not covered is in tests/cover/uncovered with its reason.",
        "tried": tried, "failures": failures, "seconds": float(os.environ.get("COVER_SECONDS", "0")),
        "notes": [f"{len(entries)} x {reason.lstrip('=? ')}" for reason, entries in reasons.items() if entries],
        "matrix": {"title": "lines and branches per file",
                   "columns": ["lines", "covered", "branches", "covered "],
                   "rows": {name: list(row) for name, row in rows.items()}},
    }
    with open(path + ".new", "w") as f:
        json.dump(proof, f, indent=1)
    os.replace(path + ".new", path)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--update", action="store_true")
    args.add_argument("--proof")
    args.add_argument("list")
    args.add_argument("export", nargs="+")
    args = args.parse_args()

    sources = load(args.export)
    rows = table(sources)
    found, can_be = {}, set()
    for _, source in sorted(sources.items()):
        found.update(uncovered(source))
        can_be |= possible(source)
    head, reasons = read_list(args.list)
    if args.update:
        update(args.list, head, reasons, found, can_be)

    new, stale = compare(found, can_be, reasons)
    unreasoned = reasons.get(NO_REASON, [])
    low = [part for part, r in totals(rows).items() if percent(r[1], r[0]) < NEED]
    for part in low:
        print(f"cover: lines of {part}: under {NEED} %")
    for e in new:
        print(f"cover: not covered and not in the list: {e}    line {found[e]}")
    for e in stale:
        print(f"cover: in the list, but covered or gone: {e}")
    if unreasoned:
        print(f"cover: {len(unreasoned)} without a reason in {args.list}")
    failures = len(low) + len(new) + len(stale) + len(unreasoned)
    if args.proof:
        write_proof(args.proof, rows, found, reasons, failures)
    sums = totals(rows)
    print("cover: " + ", ".join(f"{part} {percent(r[1], r[0]):.1f} % of lines, {percent(r[3], r[2]):.1f} % of branches"
                                for part, r in sums.items()) + f"; {len(found)} listed, {failures} failures")
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())

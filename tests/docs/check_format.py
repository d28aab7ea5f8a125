#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
Compares docs/format.md with src/core/format.h.

Every table that follows a line "`struct NAME`, N bytes..." lists fields: offset, size, `field`. Every row
"| `ADIT_NAME` | value |" names a constant. From these a C program is made whose static assertions say the
same; it must compile. In the text itself, fields must follow each other without gaps up to the size, and
every struct of format.h must have a table.

    check_format.py SOURCE_ROOT [CC...]
"""
import os
import re
import subprocess
import sys
import tempfile


def parse(path):
    structs, constants, current = {}, [], None
    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        head = re.match(r"`struct (\w+)`, (\d+) bytes(.*)", line)
        if head:
            current = head[1]
            structs[current] = (int(head[2]), " and " in head[3], [], number)
            continue
        field = re.match(r"\| (\d+) \| (\d*) \| `(\w+)` \|", line)
        if field:
            assert current, f"format.md:{number}: a field outside of a structure"
            structs[current][2].append((int(field[1]), field[2], field[3], number))
            continue
        constant = re.match(r"\| `(ADIT_\w+)` \| (0x[0-9a-f]+|\d+) \|", line)
        if constant:
            constants.append((constant[1], constant[2], number))
    return structs, constants


def gaps(structs):
    for name, (size, open_end, fields, line) in structs.items():
        at = 0
        for offset, length, field, number in fields:
            if offset != at:
                yield f"format.md:{number}: {name}.{field} at {offset}, the one before ends at {at}"
            if length == "" and not open_end:
                yield f"format.md:{number}: {name}.{field} has no size"
            at = offset + int(length or 0)
        if at != size:
            yield f"format.md:{line}: the fields of {name} end at {at}, not at {size}"


def program(structs, constants):
    out = ['#include "core/core.h"', '#include "core/extent.h"']
    for name, (size, open_end, fields, line) in structs.items():
        out.append(f'#line {line} "format.md"')
        # A flexible array at the end may leave padding behind it in C.
        if not open_end:
            out.append(f'_Static_assert(sizeof(struct {name}) == {size}, "size of {name}");')
        for offset, length, field, number in fields:
            out.append(f'#line {number} "format.md"')
            out.append(f'_Static_assert(offsetof(struct {name}, {field}) == {offset}, "offset of {field}");')
            if length:
                out.append(f'_Static_assert(sizeof(((struct {name} *)0)->{field}) == {length}, '
                           f'"size of {field}");')
    for name, value, number in constants:
        out.append(f'#line {number} "format.md"')
        out.append(f'_Static_assert(({name}) == {value}ull, "value of {name}");')
    return "\n".join(out) + "\n"


def main():
    root, cc = sys.argv[1], sys.argv[2:] or ["cc"]
    structs, constants = parse(os.path.join(root, "docs/format.md"))
    errors = list(gaps(structs))
    header = open(os.path.join(root, "src/core/format.h"), encoding="utf-8").read()
    for name in re.findall(r"^struct (\w+_pm) \{", header, re.M):
        if name not in structs:
            errors.append(f"format.md: struct {name} of format.h is missing")
    named = {name for name, _, _ in constants}
    for name in re.findall(r"^#define (ADIT_(?!PTR_|BLOCK_SHIFT)\w+) ", header, re.M):
        if name not in named:
            errors.append(f"format.md: constant {name} of format.h is missing")
    for error in errors:
        print(error)
    with tempfile.TemporaryDirectory() as work:
        source = os.path.join(work, "format.c")
        with open(source, "w", encoding="utf-8") as f:
            f.write(program(structs, constants))
        done = subprocess.run(cc + ["-std=gnu11", "-fsyntax-only", "-I", os.path.join(root, "src"), source])
    fields = sum(len(s[2]) for s in structs.values())
    print(f"{len(structs)} structures, {fields} fields, {len(constants)} constants compared")
    if errors or done.returncode or not fields or not constants:
        sys.exit(1)


main()

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Runs a page of documentation. Fenced blocks, by their first words:
#
#   c NAME      becomes the file NAME, and must compile with -Wall -Wextra -Werror
#   sh          is run, in the order of the page, in one empty directory; each command must succeed
#   output      is what the sh block before it prints; "..." stands for anything
#   other       is not run
#
#   tutorial.sh PAGE BUILD_DIR [CC...]

set -euo pipefail
page=$(realpath "$1")
build=$(realpath "$2")
shift 2
[ $# -gt 0 ] || set -- cc

parent=/dev/shm
[ -w $parent ] || parent=${TMPDIR:-/tmp}
dir=$(mktemp -d "$parent/adit-docs.XXXXXX")
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/bin" "$dir/work"

# `cc` of the page is the compiler the build uses; pkg-config finds the library that is not installed.
compiler=$(command -v "$1")
shift
printf '#!/bin/sh\nexec %s %s -Wall -Wextra -Werror "$@"\n' "$compiler" "$*" >"$dir/bin/cc"
chmod +x "$dir/bin/cc"
ln -s "$build/adit" "$dir/bin/adit"
export PATH=$dir/bin:$PATH LD_LIBRARY_PATH=$build PKG_CONFIG_PATH=$build/meson-uninstalled
export LC_ALL=C.UTF-8 TZ=UTC
unset ADIT_ASSUME
cd "$dir/work"

python3 - "$page" <<'PY'
import re, subprocess, sys

page, block, kind, name, printed, ran, files = sys.argv[1], [], None, "", None, 0, 0


def fail(line, text):
    sys.exit(f"{page}:{line}: {text}")


for number, line in enumerate(open(page, encoding="utf-8"), 1):
    fence = re.match(r"```(\w*) ?(\S*)", line)
    if kind is None:
        if fence:
            kind, name, block = fence[1] or "none", fence[2], []
        continue
    if not fence:
        block.append(line)
        continue
    text, was, kind = "".join(block), kind, None
    if was == "c":
        if not name:
            fail(number, "a program without a name")
        open(name, "w", encoding="utf-8").write(text)
        files += 1
        subprocess.run(["cc", "-fsyntax-only", name] +
                       subprocess.run(["pkg-config", "--cflags", "adit"], check=True, capture_output=True,
                                      text=True).stdout.split(), check=True)
    elif was == "sh":
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], stdout=subprocess.PIPE, text=True)
        printed = done.stdout
        ran += 1
        if done.returncode:
            fail(number, f"exit {done.returncode} of:\n{text}\n{printed}")
    elif was == "output":
        pattern = re.escape(text).replace(re.escape("..."), ".*")
        # A block's output may begin before what is shown.
        if not re.search(f"(^|\n){pattern}$", printed or ""):
            fail(number, f"prints\n{printed}\nand not\n{text}")
if not ran:
    fail(1, "nothing to run")
print(f"{files} programs, {ran} command blocks")
PY

#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The manual pages have no mistakes that groff knows, and adit.3 names every function of adit.h and no
# other.
#
#   check_man.sh SOURCE_ROOT

set -euo pipefail
cd "$1"
bad=0

if command -v groff >/dev/null; then
    for page in man/*.[0-9]; do
        # A page that stands for another one.
        if grep -q '^\.so ' "$page"; then
            continue
        fi
        case $(grep -m 1 -oE '^\.(Dd|TH)' "$page") in
        .Dd) macros=-mdoc ;;
        *) macros=-man ;;
        esac
        if said=$(groff -ww $macros -Tutf8 "$page" 2>&1 >/dev/null) && [ -z "$said" ]; then
            continue
        fi
        printf '%s:\n%s\n' "$page" "$said"
        bad=1
    done
fi

functions=$(grep -oE '\badit_[a-z0-9_]+\(' include/adit/adit.h | tr -d '(' | sort -u)
named=$(grep -oE '\badit_[a-z0-9_]+\b' man/adit.3 | sort -u)
# Types in prototypes are not functions.
types=$(grep -oE '\b(struct|enum) adit_[a-z0-9_]+' include/adit/adit.h | cut -d' ' -f2; echo adit_report_fn)
diff <(echo "$functions") <(comm -23 <(echo "$named") <(sort -u <<<"$types")) || bad=1
exit $bad

# SPDX-License-Identifier: BSD-3-Clause
"""Mutations that come from the sources themselves, so that a new fence is tried without being listed.

For every call that writes, flushes or fences the pool (adit__pm_*), wherever it stands:

    drop        the statement is gone
    early       a fence comes before the stores or flushes that it is to order
    late        a fence, or what is to be flushed before one, comes after
    unflushed   a streamed copy becomes an ordinary store that nobody flushes
    short       a flush reaches its first line only

and for each function of STEPS, every statement that does something:

    drop        the statement is gone; err = f() becomes err = 0, return f() becomes return 0

The name is FILE.FUNCTION.WHAT.CHANGE, WHAT being the function called or the place assigned to, with a number
where that occurs again.
"""

import re

from csource import Source

PM_CALL = re.compile(r"\badit__pm_(store|store32|store64|zero|or64|andnot64|max64|copy_nt|zero_nt|flush|fence)\s*\(")

# What a fence orders, when it stands beside one.
ORDERED = re.compile(r"\badit__pm_\w+\s*\(|\b__atomic_(store|fetch)\w*\s*\(|\badit__(ckpt_store|ck_store|super_store)"
                     r"|\badit__apply_notes|\badit__apply_record|\bwrite_(back_all|record|group)|\blane_walk|\bseal_\w+")
FENCES = re.compile(r"\badit__pm_fence|\badit__(ckpt_store|ck_store|super_store|cs_commit)")

# The commit, the checkpoint, recovery, and what they are made of.
STEPS = {
    "src/core/log.c": """adit__cs_fresh adit__cs_fresh_zero adit__cs_data raise_dirty apply_entry
        adit__apply_record forget adit__cs_drop adit__cs_alloc_entry adit__cs_note_data adit__cs_intent
        write_pad write_record adit__apply_notes make_room adit__cs_commit put_differences""",
    "src/core/checkpoint.c": """adit__ckpt_store seal_root seal_structure seal_touched flush_touched write_back_all
        touch touch_range touch_bitmaps touch_entry release_entry total_record checkpoint_to adit__checkpoint
        adit__checkpoint_due adit__data_settled adit__log_init next_record claim_log renew_nonce adit__log_recover""",
    "src/core/fs.c": """adit__super_store read_super volatile_init read_root recover resume_intents free_orphan
        free_orphans open_checked adit__core_close""",
    "src/core/file_steps.c": """collapse_step replace_step zero_step put_intent adit__steps_run
        adit__steps_guard adit__steps_undo adit__file_resume""",
    "src/core/inode.c": """init_clusters grow alloc_in_shard adit__inode_free adit__orphan_add
        adit__orphan_remove put_link adit__inode_destroy""",
    "src/core/alloc.c": "adit__bitmap_seal adit__alloc_apply adit__alloc_unreserve adit__free_blocks",
    "src/core/grow.c": "adit__group_write adit__mark_area zero_blocks zero_places write_groups adit__grow_prepare adopt adit__follow_now adit__grow_look fit_header adit__grow_finish adit__grow",
    "src/core/mkfs.c": "write_groups mark_fixed zero_area write_root adit__core_mkfs adit__core_wipe",
    "src/core/op.c": "begin_changes end_changes",
    "src/core/check_fix.c": "adit__ck_store",
}

# Not steps: they say something, make something faster, take or give back a lock or memory. (A lock that is not given
# back hangs at once; one that is not taken is for the thread sanitizer to find.)
IDLE = {
    "adit__op_lock", "adit__lock_inode", "adit__lock_below", "adit__set_verified", "check_params", "adit__core_abandon",
    "adit__report", "prefetch_targets", "prefetch_touched", "__builtin_prefetch", "yield", "assert", "group_unlock",
    "adit__unlock_below", "adit__op_unlock", "adit__op_unlock_aux", "adit__op_unlock_one", "adit__op_end", "fs_free",
}

DECLARATION = re.compile(r"(?:const\s+|static\s+|volatile\s+)*(?:struct\s+\w+|enum\s+\w+|unsigned|u?int\d+_t|int|bool|"
                         r"size_t|le\d+|char|void|long|double)\b(?:\s+const\b)?[\s*]+\w")
CALLEE = re.compile(r"([A-Za-z_]\w*)\s*\(")
ERROR = re.compile(r"(err|more)\s*=(?!=)")
ASSIGN = re.compile(r"(?P<place>[^=();]*?(?:\([^=;]*\))?[^=();]*?)\s*(?:[-+|&^]|<<|>>)?=(?!=)")


class Mutation:
    def __init__(self, name, path, breaks, edits):
        self.name, self.path, self.breaks, self.edits = name, path, breaks, edits
        self.where = ""
        self.by = None

    def apply(self, text):
        """The whole file with the change. Edits are (start, end, new text), not overlapping."""
        for start, end, new in sorted(self.edits, reverse=True):
            text = text[:start] + new + text[end:]
        return text


def slug(text):
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")


def callee_of(code):
    """The call that the statement is about: the first one that is neither a cast nor a conversion."""
    for m in CALLEE.finditer(code):
        if m.group(1) not in ("put16", "put32", "put64", "get16", "get32", "get64", "sizeof", "if", "for", "while",
                              "return", "uint8_t", "uint16_t", "uint32_t", "uint64_t"):
            return m.group(1)
    return None


def what_of(code, fields_too):
    """A name for the statement, and what stands in its place when it is dropped; None: not a step."""
    if DECLARATION.match(code) or re.match(r"(break|continue|goto\b.*|return)\s*;|^;", code):
        return None
    callee = callee_of(code)
    if callee in IDLE or re.search(r"->(free|unlock|yield)\(", code):
        return None
    error = ERROR.match(code)
    if error:
        return (callee, error.group(1) + " = 0;") if callee else None
    if code.startswith("return"):
        return (callee, "return 0;") if callee and callee.startswith("adit__") else None
    assign = ASSIGN.match(code)
    if assign:
        place = assign.group("place")
        if re.fullmatch(r"\w+", place) or place == "cs->err" or not fields_too:  # a local variable: that is no step
            return None
        return slug(place), ";"
    if re.match(r"[\w\->.\[\]]+(\+\+|--);", code):
        return (slug(code), ";") if "->" in code else None
    return (callee, ";") if callee else None


def line_of(source, at):
    return source.text.count("\n", 0, at) + 1


class Generator:
    def __init__(self, source, path, stem):
        self.source, self.path, self.stem = source, path, stem
        self.found = []

    def add(self, function, what, change, breaks, edits, at):
        m = Mutation(f"{self.stem}.{function}.{what}.{change}", self.path, breaks, edits)
        m.where = f"{self.path}:{line_of(self.source, at)} {function}"
        self.found.append(m)

    def swap(self, one, other):
        """Edits that let the statement `one` stand on the other side of `other`."""
        text = self.source.text
        moved = one.text(text)
        if one.start < other.start:
            return [(one.start, one.end, ";"), (other.end, other.end, " " + moved)]
        return [(one.start, one.end, ";"), (other.start, other.start, moved + " ")]

    def neighbour(self, chain, step, pattern):
        """The nearest statement before or behind that matches, in the list that holds the call or, where the
        call is all that an `if` does, in the list that holds the `if`. Returns (what moves, beside what)."""
        body, i = chain[-1]
        for outer, k in reversed(chain[:-1]):
            if len(body) > 1 or outer[k].kind != "if":
                break
            body, i = outer, k
        others = body[i + 1:] if step > 0 else body[i - 1::-1] if i > 0 else []
        for other in others:
            code = other.text(self.source.code)
            if pattern.search(code):
                if DECLARATION.match(code) or code.startswith("return"):
                    return None
                return body[i], other
        return None

    def chains(self, body, above=()):
        for i, statement in enumerate(body):
            chain = above + ((body, i),)
            if statement.bodies:
                for inner in statement.bodies:
                    yield from self.chains(inner, chain)
            elif statement.kind != "label":
                yield chain

    def moves(self, function, what, chain, call, at):
        if call == "fence":
            found = self.neighbour(chain, -1, ORDERED)
            if found:
                self.add(function, what, "early", "the fence comes before what it is to order", self.swap(*found), at)
            found = self.neighbour(chain, 1, ORDERED)
            if found:
                self.add(function, what, "late", "the fence comes after what is to wait for it", self.swap(*found), at)
        elif call in ("flush", "copy_nt", "zero_nt"):
            found = self.neighbour(chain, 1, FENCES)
            if found:
                self.add(function, what, "late", "it comes after the fence that is to make it durable",
                         self.swap(*found), at)

    def pm_call(self, function, what, chain, match):
        statement = chain[-1][0][chain[-1][1]]
        source, call, at = self.source, match.group(1), match.start()
        self.moves(function, what, chain, call, statement.start)
        name_end = match.end(1)
        if call in ("copy_nt", "zero_nt"):
            plain = "adit__pm_store" if call == "copy_nt" else "adit__pm_zero"
            self.add(function, what, "unflushed", "stored and never flushed", [(at, name_end, plain)], at)
        if call == "flush":
            close = source.code.rindex(")", 0, statement.end)
            comma = source.code.rindex(",", 0, close)
            depth_is_zero = source.code[comma:close].count("(") == source.code[comma:close].count(")")
            if depth_is_zero and source.code[comma + 1:close].strip() != "8":
                self.add(function, what, "short", "only the first line is flushed", [(comma + 1, close, " 8")], at)

    def function(self, name, all_steps):
        counts = {}
        for chain in self.chains(self.source.functions[name].body):
            body, i = chain[-1]
            statement = body[i]
            code = statement.text(self.source.code)
            pm = PM_CALL.search(self.source.code, statement.start, statement.end)
            if not pm and not all_steps:
                continue
            step = what_of(code, self.stem != "mkfs")
            if not step:
                continue
            what = step[0].replace("adit__", "")
            counts[what] = counts.get(what, 0) + 1
            if counts[what] > 1:
                what = f"{what}-{counts[what]}"
            self.add(name, what, "drop", "this step is left out", [(statement.start, statement.end, step[1])],
                     statement.start)
            if pm:
                self.pm_call(name, what, chain, pm)


def generate(root, paths):
    """All mutations of these files, in the order of the sources."""
    found = []
    for path in paths:
        source = Source(root / path)
        wanted = STEPS.get(path, "").split()
        for name in wanted:
            if name not in source.functions:
                raise SystemExit(f"mutate: {path} has no function {name} any more: generate.py names it")
        stem = path.rsplit("/", 1)[1][:-2]
        generator = Generator(source, path, stem)
        for name in source.functions:
            generator.function(name, name in wanted)
        found += generator.found
    return found

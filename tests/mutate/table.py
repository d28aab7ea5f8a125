# SPDX-License-Identifier: BSD-3-Clause
"""mutations.txt, catchers.txt and unseen.txt, and all mutations together.

mutations.txt is written by hand. Blocks, separated by empty lines; # begins a comment line:

    mutation NAME
    breaks   one sentence
    in       FILE FUNCTION           (FUNCTION may be - : anywhere in the file)
    old      text, spaced as you like    (more old lines go on with it)
    new      what stands there instead   (absent: nothing)

Several old/new pairs make one mutation. Each old text must occur exactly once in the function; only its
spacing may differ.
"""

import re

import generate
from csource import Source


def pattern_of(text):
    """The text with any spacing, or none where none is needed."""
    tokens = re.findall(r"\w+|[^\w\s]", text)
    out = re.escape(tokens[0])
    for before, now in zip(tokens, tokens[1:]):
        word = before[-1].isalnum() or before[-1] == "_"
        out += (r"\s+" if word and (now[0].isalnum() or now[0] == "_") else r"\s*") + re.escape(now)
    return re.compile(out)


def blocks(path):
    """Lists of (key, value) lines."""
    block = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() + [""], 1):
        if line.startswith("#"):
            continue
        if not line.strip():
            if block:
                yield block
            block = []
            continue
        key, _, value = line.partition(" ")
        block.append((key, value.strip(), number))


def edits_of(source, function, pairs):
    if function == "-":
        start, end = 0, len(source.text)
    elif function in source.functions:
        start, end = source.functions[function].start, source.functions[function].end
    else:
        raise ValueError(f"there is no function {function}")
    edits = []
    for old, new in pairs:
        found = list(pattern_of(old).finditer(source.text, start, end))
        if len(found) != 1:
            raise ValueError(f'"{old}" occurs {len(found)} times')
        edits.append((found[0].start(), found[0].end(), new))
    return edits


def by_hand(root, path):
    sources, found, wrong = {}, [], []
    for block in blocks(path):
        fields = {}
        pairs = []
        for key, value, number in block:
            if key == "old":
                if pairs and pairs[-1][1] is None:
                    pairs[-1][0] += " " + value
                else:
                    pairs.append([value, None])
            elif key == "new":
                pairs[-1][1] = value if pairs[-1][1] is None else pairs[-1][1] + " " + value
            elif key in ("mutation", "breaks", "in"):
                fields[key] = value
            else:
                raise SystemExit(f"mutate: {path.name}:{number}: what is {key}?")
        file, function = fields["in"].split()
        if file not in sources:
            sources[file] = Source(root / file)
        source = sources[file]
        try:
            edits = edits_of(source, function, [(old, new or "") for old, new in pairs])
        except ValueError as why:
            wrong.append(f"mutation {fields['mutation']} no longer applies: {file}: {why}")
            continue
        m = generate.Mutation(fields["mutation"], file, fields["breaks"], edits)
        m.where = f"{file}:{generate.line_of(source, edits[0][0])} {function}"
        found.append(m)
    return found, wrong


def lines(path):
    """NAME and the rest of each line."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            yield name, rest.strip()


def sources(root):
    listed = []
    for folder in ("media", "core"):
        for line in (root / "src" / folder / "SOURCES").read_text(encoding="utf-8").splitlines():
            # record.c is the recorder itself.
            if line.endswith(".c") and not line.startswith("#") and line != "record.c":
                listed.append(f"src/{folder}/{line.strip()}")
    return listed


def load(root, here):
    """(mutations to be caught, [(mutation, why it cannot be)], what to say). Exits when something does not fit."""
    generated = generate.generate(root, sources(root))
    hand, wrong = by_hand(root, here / "mutations.txt")
    everything = {}
    for m in generated + hand:
        if m.name in everything:
            wrong.append(f"two mutations are called {m.name}")
        everything[m.name] = m
    unseen = []
    for name, why in lines(here / "unseen.txt"):
        if name not in everything:
            wrong.append(f"mutation {name} no longer applies: unseen.txt names it, the sources do not have it")
        elif not why:
            wrong.append(f"unseen.txt does not say why {name} cannot be seen")
        else:
            unseen.append((everything.pop(name), why))
    if wrong:
        raise SystemExit("\n".join("mutate: " + w for w in wrong))
    gone = 0
    for name, catcher in lines(here / "catchers.txt"):
        if name in everything:
            everything[name].by = catcher
        else:
            gone += 1
    new = sum(m.by is None for m in everything.values())
    notices = []
    if gone or new:
        notices.append(f"{new} mutations without a known catcher, {gone} known ones gone: scripts/mutate --all --learn")
    return list(everything.values()), unseen, notices


def learn(here, mutations, caught):
    """catchers.txt anew: what is known still, and what was found now."""
    path = here / "catchers.txt"
    text = ["# SPDX-License-Identifier: BSD-3-Clause", "#",
            "# What to try first for each mutation. Written by scripts/mutate --learn."]
    for m in mutations:
        catcher = caught.get(m.name, m.by)
        if catcher:
            text.append(f"{m.name} {catcher}")
    path.write_text("\n".join(text) + "\n", encoding="utf-8")

# SPDX-License-Identifier: BSD-3-Clause
"""As much of C as the mutations need: a file's functions, and the statements of each as a tree.

Works on the text as it stands, with comments, strings and preprocessor lines blanked out (same length, so
that positions fit the original). Knows the style of this repository: a function's braces stand in column 0,
and no macro hides a statement's structure.
"""

import re

CONTROL = {"if", "while", "for", "switch"}


def blank(text):
    """Comments, strings, character constants and preprocessor lines as spaces."""
    pattern = re.compile(
        r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|^[ \t]*#(?:[^\n]*\\\n)*[^\n]*',
        re.S | re.M)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def matching(text, at):
    """Position behind the bracket that closes the one at `at`."""
    pairs = {"(": ")", "[": "]", "{": "}"}
    stack = []
    for i in range(at, len(text)):
        if text[i] in pairs:
            stack.append(pairs[text[i]])
        elif stack and text[i] == stack[-1]:
            stack.pop()
            if not stack:
                return i + 1
    raise ValueError("no closing bracket")


class Statement:
    """[start, end) in the file; `bodies` are the lists of statements inside it."""

    def __init__(self, start, end, kind, bodies=()):
        self.start, self.end, self.kind, self.bodies = start, end, kind, list(bodies)

    def text(self, source):
        return source[self.start:self.end]


class Parser:
    def __init__(self, text):
        self.text = text

    def skip(self, at):
        while self.text[at].isspace():
            at += 1
        return at

    def block(self, at):
        """Statements from behind a { to its }; returns them and the position behind it."""
        found = []
        at = self.skip(at)
        while self.text[at] != "}":
            one, at = self.statement(at)
            found.append(one)
            at = self.skip(at)
        return found, at + 1

    def simple_end(self, at):
        while self.text[at] != ";":
            at = matching(self.text, at) if self.text[at] in "([{" else at + 1
        return at + 1

    def control(self, start, at, word):
        at = matching(self.text, self.text.index("(", at))
        body, at = self.statement(self.skip(at))
        bodies = [body.bodies[0] if body.kind == "block" else [body]]
        after = self.skip(at)
        if word == "if" and re.match(r"else\b", self.text[after:after + 5]):
            body, at = self.statement(self.skip(after + 4))
            bodies.append(body.bodies[0] if body.kind == "block" else [body])
        return Statement(start, at, word, bodies), at

    def statement(self, at):
        start = at
        if self.text[at] == "{":
            body, at = self.block(at + 1)
            return Statement(start, at, "block", [body]), at
        label = re.compile(r"(case\b[^:]*|default|[A-Za-z_]\w*)\s*:(?!:)").match(self.text, at)
        if label:
            return Statement(start, label.end(), "label"), label.end()
        word = re.compile(r"[A-Za-z_]\w*").match(self.text, at)
        word = word.group() if word else ""
        if word in CONTROL:
            return self.control(start, at + len(word), word)
        if word == "do":
            body, at = self.statement(self.skip(at + 2))
            end = self.simple_end(at)
            return Statement(start, end, "do", [body.bodies[0] if body.kind == "block" else [body]]), end
        end = self.simple_end(at)
        return Statement(start, end, "simple"), end


class Function:
    def __init__(self, name, start, end, body):
        self.name, self.start, self.end, self.body = name, start, end, body


class Source:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.text = file.read()
        self.path = path
        self.code = blank(self.text)
        self.functions = {}
        for m in re.finditer(r"^\{", self.code, re.M):
            before = self.code[:m.start()]
            head = before[max(before.rfind(";"), before.rfind("}")) + 1:]
            name = re.search(r"([A-Za-z_]\w*)\s*\((?!\()", re.sub(r"__attribute__\s*\(\(.*?\)\)", "", head))
            if not name:
                continue
            body, end = Parser(self.code).block(m.end())
            self.functions[name.group(1)] = Function(name.group(1), m.start(), end, body)

    def walk(self, body):
        """Every (list, index) below a list of statements, outermost first, in order."""
        for i, statement in enumerate(body):
            yield body, i
            for inner in statement.bodies:
                yield from self.walk(inner)

    def leaves(self, name):
        """(list, index) of each statement of a function that holds no other."""
        for body, i in self.walk(self.functions[name].body):
            if not body[i].bodies and body[i].kind != "label":
                yield body, i

# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Globs as glob(3) and fnmatch(3) in the C locale match them."""

import re

MAX_ALTERNATIVES = 256  # of one brace glob
MAX_GLOB = 255  # characters in one component: no name is longer (NAME_MAX), and a pattern of brackets takes time

GLOB_CHARACTERS = re.compile(r"[*?\[]")  # GLOB_CHARS of systemd and procps: a brace alone makes no glob
SPECIAL_CHARACTERS = re.compile(r"[*?\[{\\]")
_ESCAPED_SLASH = re.compile(r"(?<!\\)((?:\\\\)*)\\/")

_CLASSES = {
    "alnum": lambda c: c.isalnum(),
    "alpha": lambda c: c.isalpha(),
    "digit": lambda c: c.isdigit(),
    "lower": lambda c: c.islower(),
    "upper": lambda c: c.isupper(),
    "space": lambda c: c in b" \t\n\v\f\r",
    "blank": lambda c: c in b" \t",
    "cntrl": lambda c: c < b" " or c == b"\x7f",
    "print": lambda c: b" " <= c <= b"~",
    "graph": lambda c: b"!" <= c <= b"~",
    "xdigit": lambda c: c in b"0123456789abcdefABCDEF",
    "punct": lambda c: b"!" <= c <= b"~" and not c.isalnum(),
}
_NEVER = b"(?!)"
_compiled = {}


def glob_matcher(glob, period=True):
    """A compiled expression for one component of a glob, for the bytes of a name, as glibc matches it.

    period: a leading dot of the name needs a dot in the pattern, as in glob(3).
    """
    known = _compiled.get((glob, period))
    if known is None:
        if len(_compiled) > 10000:
            _compiled.clear()
        pattern = _translate(to_bytes(glob)) if len(glob) <= MAX_GLOB else _NEVER
        if period and glob[:1] in ("*", "?", "["):
            pattern = b"(?!\\.)" + pattern
        known = _compiled[(glob, period)] = re.compile(b"(?:" + pattern + b")\\Z", re.DOTALL)
    return known


def glob_matches(glob, name):
    """Whether a glob of one component matches a name."""
    return bool(glob_matcher(glob).match(to_bytes(name)))


def _translate(glob):
    out = []
    position = 0
    while position < len(glob):
        char = glob[position : position + 1]
        position += 1
        if char == b"*":
            if out[-1:] != [b".*"]:  # '***' would only make the search slow
                out.append(b".*")
        elif char == b"?":
            out.append(b".")
        elif char == b"[":
            members, end = _bracket(glob, position)
            if end is None:  # unterminated: a bracket like any other character
                out.append(b"\\[")
            else:
                out.append(members)
                position = end
        elif char == b"\\":
            if position == len(glob):
                return _NEVER
            out.append(re.escape(glob[position : position + 1]))
            position += 1
        else:
            out.append(re.escape(char))
    return b"".join(out)


def _bracket(glob, position):
    """The expression for the bracket that opened before ``position`` and where it ends; end is None if it does not."""
    negated = glob[position : position + 1] in (b"!", b"^")
    if negated:
        position += 1
    first, members, impossible = True, set(), False
    while True:
        if position >= len(glob):
            return None, None
        if glob[position : position + 1] == b"]" and not first:
            break
        first = False
        named = re.compile(rb"\[:([a-y]*):\]").match(glob, position)
        if named:
            test = _CLASSES.get(named.group(1).decode("ascii"))
            if test is None:
                impossible = True
            else:
                members.update(code for code in range(128) if test(bytes(bytearray([code]))))
            position = named.end()
            continue
        low, position = _member(glob, position)
        if low is None:
            return None, None
        high = low
        if glob[position : position + 1] == b"-" and glob[position + 1 : position + 2] not in (b"]", b""):
            high, position = _member(glob, position + 1)
            if high is None:
                return None, None
        members.update(range(low, high + 1))
    if impossible:
        return _NEVER, position + 1
    if negated:
        members = set(range(256)) - members
    if not members:
        return _NEVER, position + 1
    return b"[" + b"".join(b"\\x%02x" % code for code in sorted(members)) + b"]", position + 1


def _member(glob, position):
    """One character inside a bracket, and where the next begins."""
    collating = re.compile(rb"\[([.=])(.)\1\]", re.DOTALL).match(glob, position)
    if collating:
        return bytearray(collating.group(2))[0], collating.end()
    if glob[position : position + 1] == b"\\":
        position += 1
    if position >= len(glob):
        return None, position
    return bytearray(glob[position : position + 1])[0], position + 1


def components(glob):
    """What glob(3) looks for in each folder: (component, period)."""
    # "foo\\/bar" is "foo/bar" to it.
    return [(part, True) for part in _ESCAPED_SLASH.sub(r"\1/", glob).split("/")]


def literal_glob(text):
    """A glob that matches this text only."""
    return text.replace("\\", "\\\\")


def expand_braces(glob):
    """All alternatives of a glob as GLOB_BRACE makes them; [] if there are too many to be meant."""
    done, pending = [], [glob]
    while pending:
        glob = pending.pop()
        alternatives = _first_brace(glob)
        if alternatives is None:
            done.append(glob)
        else:
            pending.extend(alternatives)
        if len(done) + len(pending) > MAX_ALTERNATIVES:
            return []
    return done


def _first_brace(glob):
    begin = _next_brace(glob, 0, "{")
    if begin is None:
        return None
    parts, start = [], begin + 1
    while True:
        end = _next_brace(glob, start, ",}")
        if end is None:  # unbalanced: no brace expression
            return None
        parts.append(glob[start:end])
        start = end + 1
        if glob[end] == "}":
            return [glob[:begin] + part + glob[start:] for part in parts]


def _next_brace(glob, position, wanted):
    depth = 0
    while position < len(glob):
        char = glob[position]
        if char == "\\":
            position += 1
        elif depth == 0 and char in wanted:
            return position
        elif char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
        position += 1
    return None


def to_bytes(text):
    return text.encode("utf-8", "surrogateescape")

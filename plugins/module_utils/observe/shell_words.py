# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of a line of a shell script that has no other syntax than commands, their redirections and lists. Pure."""

import re
from collections import namedtuple

#: kind: "word", "operator", "redirect" or "copy" (``2>&1``). raw: as written. glob: whether the shell replaces the word
#: by names of files.
Token = namedtuple("Token", "kind text line raw glob")

#: Stands in a text for what is not known.
UNKNOWN = "\x02"
NAME = r"[A-Za-z_][A-Za-z0-9_]*"
VARIABLE = re.compile(rf"\$(?:\{{(?P<braced>{NAME}|[0-9])\}}|(?P<bare>{NAME}|[0-9@*#?$!-]))")

_VARIABLE = VARIABLE.pattern.replace("?P<braced>", "?:").replace("(?P<bare>", "(?:")
_END = r"(?=[ \t\n;|&>]|\Z)"
_TOKEN = re.compile(
    rf"(?P<space>(?:[ \t]|\\\n)+|\#[^\n]*)|(?P<newline>\n)|(?P<copy>[0-9]*>&[0-9]{_END})"
    r"|(?P<redirect>[0-9]*(?:>>|>\||>(?![>|&(])))|(?P<operator>&&|\|\||;|\|(?!&))"
)
_PART = re.compile(
    r"(?P<plain>[^ \t\n'\"\\$`;&|<>(){}*?\[\]]+)|(?P<glob>[*?\[\]]+)|'(?P<single>[^']*)'"
    rf"|\"(?P<double>(?:[^\"\\`]|\\(?:.|\n))*)\"|\\(?:(?P<escaped>[^\n])|\n)|(?P<variable>{_VARIABLE})|(?P<dollar>\${_END})"
)
_QUOTED = re.compile(rf"\\(?:([\\\"$`])|\n)|({_VARIABLE})|(\$[({{\[A-Za-z_])")
_KEYWORDS = (
    "if", "then", "elif", "else", "fi", "for", "while", "until", "do", "done", "case", "esac", "function", "select",
    "time", "coproc", "!", "[[",
)  # fmt: skip


class NotStraight(Exception):
    """The line has syntax of another kind, or ends within a command."""


def tokens(text, here, line, variables):
    """([Token], position after it, number of the next line) of one line, with all lines that its quotes hold.

    :arg variables: the values of variables; one that is not among them is replaced by UNKNOWN.
    """
    found, before = [Token("operator", "", line, "", False)], None
    while here < len(text):
        match = _TOKEN.match(text, here) if before != "word" or text[here] in " \t\n;|&>" else None
        if match:
            token = Token(match.lastgroup, match.group(), line, match.group(), False)
        else:
            token = _word(text, here, line, variables)
        here += len(token.raw)
        line += token.raw.count("\n")
        before, last = token.kind, found[-1]
        if token.kind != "space" and last.kind == "redirect" and token.kind != "word":
            raise NotStraight
        if token.kind == "newline":
            break
        if last.kind == "operator" and (token.kind == "operator" or token.kind == "word" and token.raw in _KEYWORDS):
            raise NotStraight
        if token.kind != "space":
            found.append(token)
    if found[-1].kind == "redirect" or found[-1].raw in ("&&", "||", "|"):
        raise NotStraight
    return found[1:], here, line


def _word(text, start, line, variables):
    def value(spelling):
        match = VARIABLE.match(spelling)
        return variables.get(match.group("braced") or match.group("bare"), UNKNOWN)

    def quoted(match):
        if match.group(3):
            raise NotStraight
        return value(match.group(2)) if match.group(2) else match.group(1) or ""

    here, found, glob = start, [], False
    while here < len(text) and text[here] not in " \t\n;|&<>":
        match = _PART.match(text, here)
        if not match:
            raise NotStraight
        here, kind = match.end(), match.lastgroup
        if kind == "variable":
            found.append(value(match.group()))
        elif kind == "double":
            found.append(_QUOTED.sub(quoted, match.group(kind)))
        elif kind:
            found.append(match.group(kind))
            glob = glob or kind == "glob"
    if here == start:
        raise NotStraight
    return Token("word", "".join(found), line, text[start:here], glob)


def split(found, *operators):
    """The tokens between operators, as lists; none is empty."""
    parts = [[]]
    for token in found:
        if token.kind == "operator" and token.text in operators:
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]

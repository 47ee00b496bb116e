# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse shell text into commands: the part of the POSIX shell language that scripts on nodes use. Pure."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import re
from collections import namedtuple

MAX_DEPTH = 30

PLAIN, QUOTED, LITERAL, COMMAND = "plain", "quoted", "literal", "command"

#: parts: [(mode, text)]; variables are expanded in PLAIN and QUOTED; the text of COMMAND is run and replaced.
Word = namedtuple("Word", "parts line")
#: redirects: [(operator, Word)].
Simple = namedtuple("Simple", "words redirects line")
#: branches: [(condition, body)], lists both; otherwise: a list. A list is [(connector, pipeline)].
If = namedtuple("If", "branches otherwise")
#: words: None stands for "$@".
For = namedtuple("For", "variable words body")
Loop = namedtuple("Loop", "condition body")
Case = namedtuple("Case", "word branches")
Function = namedtuple("Function", "name body")
Group = namedtuple("Group", "body redirects")

_OPERATOR = re.compile(r"&>>|&>|&&|\|\||;;&|;;|;&|<<<|<<-|<<|>>|>\||[<>]&|<>|\|&|[;&|<>()\n]")
_DESCRIPTOR = re.compile(r"(\d)(>>|>\||>&|>|<&|<(?!<))")
_NAME = re.compile(r"[A-Za-z_]\w*\Z")
_REDIRECTIONS = (">", ">>", ">|", "&>", "&>>", "<", "<<", "<<-", "<<<", "<>", ">&", "<&")
_ENDS = {"then", "elif", "else", "fi", "do", "done", "esac", "}", ")", ";;", ";&", ";;&"}


class ShellSyntaxError(ValueError):
    """The text is not in the part of the language that is parsed here."""


def parse(text, line=1):
    """The list of commands of a text; raises ShellSyntaxError."""
    parser = _Parser(_tokens(text, line))
    commands = parser.list_until(())
    if parser.peek() is not None:
        raise ShellSyntaxError("line %d: unexpected '%s'" % (parser.line(), parser.peek()))
    return commands


def plain_text(word):
    """The text of a word without quotes, nothing expanded."""
    return "".join(text for _mode, text in word.parts)


# ---- words -----------------------------------------------------------------------------------------------------------


def _tokens(text, line):
    """[(operator or None, Word or None, line)]."""
    tokens, here, pending = [], 0, []
    while here < len(text):
        char = text[here]
        if char in " \t\r":
            here += 1
        elif text.startswith("\\\n", here):
            here, line = here + 2, line + 1
        elif char == "#":
            end = text.find("\n", here)
            here = len(text) if end < 0 else end
        else:
            descriptor = _DESCRIPTOR.match(text, here)
            if descriptor:
                # Only standard output matters; any other descriptor is taken as an input.
                tokens.append((descriptor.group(2) if descriptor.group(1) == "1" else "<", None, line))
                here = descriptor.end()
                continue
            substitution = text[here : here + 2] in ("<(", ">(")
            match = None if substitution else _OPERATOR.match(text, here)
            if match:
                tokens.append((match.group(), None, line))
                here = match.end()
                if match.group() == "\n":
                    line += 1
                    for delimiter, tabs in pending:
                        here, line = _skip_document(text, here, line, delimiter, tabs)
                    pending = []
                continue
            word, after = _word(text, here, line)
            if len(tokens) and tokens[-1][0] in ("<<", "<<-"):
                pending.append((plain_text(word), tokens[-1][0] == "<<-"))
            tokens.append((None, word, line))
            line += text.count("\n", here, after)
            here = after
    return tokens


def _skip_document(text, here, line, delimiter, tabs):
    while here < len(text):
        end = text.find("\n", here)
        end = len(text) if end < 0 else end
        row = text[here:end]
        here, line = min(end + 1, len(text)), line + 1
        if (row.lstrip("\t") if tabs else row) == delimiter:
            break
    return here, line


def _word(text, here, line):
    parts = []
    if text[here : here + 2] in ("<(", ">("):
        end = _closing(text, here + 1)
        return Word([(COMMAND, text[here + 2 : end])], line), end + 1
    while here < len(text):
        char = text[here]
        if char in " \t\r\n;&|<>()":
            break
        if char == "'":
            end = _find(text, "'", here + 1)
            parts.append((LITERAL, text[here + 1 : end]))
            here = end + 1
        elif char == '"':
            inner, here = _double_quoted(text, here + 1)
            parts.extend(inner or [(QUOTED, "")])
        elif char == "\\":
            parts.append((LITERAL, text[here + 1 : here + 2].replace("\n", "")))
            here += 2
        elif char == "`" or text.startswith("$(", here):
            part, here = _substitution(text, here)
            parts.append(part)
        elif text.startswith("${", here):
            end = _find(text, "}", here)
            parts.append((PLAIN, text[here : end + 1]))
            here = end + 1
        else:
            end = re.compile(r"\$?[^\s;&|<>()'\"\\`$]*").match(text, here).end()
            parts.append((PLAIN, text[here : max(end, here + 1)]))
            here = max(end, here + 1)
    return Word(parts, line), here


def _double_quoted(text, here):
    parts, start = [], here
    while True:
        if here >= len(text):
            raise ShellSyntaxError("a double quote does not end")
        char = text[here]
        if char not in '"\\`' and not text.startswith("$(", here):
            here += 1
            continue
        if here > start:
            parts.append((QUOTED, text[start:here]))
        if char == '"':
            return parts, here + 1
        if char == "\\":
            escaped = text[here + 1 : here + 2]
            parts.append((LITERAL, escaped if escaped in '"\\`$' else "" if escaped == "\n" else "\\" + escaped))
            here += 2
        else:
            part, here = _substitution(text, here)
            parts.append(part)
        start = here


def _substitution(text, here):
    if text[here] == "`":
        end = _find(text, "`", here + 1)
        return (COMMAND, text[here + 1 : end]), end + 1
    end = _closing(text, here + 1)
    inner = text[here + 2 : end]
    # Arithmetic runs nothing.
    return (COMMAND, "" if inner.startswith("(") else inner), end + 1


def _closing(text, here):
    """The position of the parenthesis that closes the one at ``here``."""
    depth = 0
    while here < len(text):
        char = text[here]
        if char == "\\":
            here += 1
        elif char == "'":
            here = _find(text, "'", here + 1)
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if not depth:
                return here
        here += 1
    raise ShellSyntaxError("a parenthesis does not end")


def _find(text, char, start):
    end = text.find(char, start)
    if end < 0:
        raise ShellSyntaxError("no '%s' ends what one began" % char)
    return end


# ---- commands --------------------------------------------------------------------------------------------------------


class _Parser(object):
    def __init__(self, tokens):
        self.tokens = tokens
        self.here = 0
        self.depth = 0

    def peek(self):
        """The operator, or the word as far as it can be a keyword; None at the end."""
        if self.here >= len(self.tokens):
            return None
        operator, word, _line = self.tokens[self.here]
        if operator is not None:
            return operator
        return word.parts[0][1] if len(word.parts) == 1 and word.parts[0][0] == PLAIN else ""

    def line(self):
        return self.tokens[min(self.here, len(self.tokens) - 1)][2] if self.tokens else 1

    def is_word(self):
        return self.here < len(self.tokens) and self.tokens[self.here][0] is None

    def word(self):
        if not self.is_word():
            raise ShellSyntaxError("line %d: expected a word" % self.line())
        self.here += 1
        return self.tokens[self.here - 1][1]

    def expect(self, text):
        self.skip_newlines()
        if self.peek() != text:
            raise ShellSyntaxError("line %d: expected '%s'" % (self.line(), text))
        self.here += 1

    def skip_newlines(self):
        while self.peek() == "\n":
            self.here += 1

    def list_until(self, ends):
        """[(connector, [command, …])]; connector is ';', '&&' or '||', and stands before the pipeline."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ShellSyntaxError("more than %d levels" % MAX_DEPTH)
        found, connector = [], ";"
        while True:
            while self.peek() in ("\n", ";", "&"):
                self.here += 1
                connector = ";"
            if self.peek() is None or self.peek() in ends:
                break
            if self.peek() in _ENDS:
                raise ShellSyntaxError("line %d: unexpected '%s'" % (self.line(), self.peek()))
            pipeline = [self.command()]
            while self.peek() in ("|", "|&"):
                self.here += 1
                self.skip_newlines()
                pipeline.append(self.command())
            found.append((connector, pipeline))
            connector = ";"
            if self.peek() in ("&&", "||"):
                connector = self.peek()
                self.here += 1
                self.skip_newlines()
        self.depth -= 1
        return found

    def command(self):
        keyword = self.peek()
        readers = {
            "if": self.conditional,
            "for": self.loop_over,
            "while": self.loop,
            "until": self.loop,
            "case": self.case,
            "{": lambda: self.group("}"),
            "(": lambda: self.group(")"),
            "function": self.named_function,
        }
        if keyword in readers:
            self.here += 1
            found, redirects = readers[keyword](), []
            while self.peek() in _REDIRECTIONS:
                self.redirection(redirects)
            return Group([(";", [found])], redirects) if redirects else found
        return self.simple()

    def conditional(self):
        branches, otherwise = [], []
        while True:
            condition = self.list_until(("then",))
            self.expect("then")
            branches.append((condition, self.list_until(("elif", "else", "fi"))))
            if self.peek() != "elif":
                break
            self.here += 1
        if self.peek() == "else":
            self.here += 1
            otherwise = self.list_until(("fi",))
        self.expect("fi")
        return If(branches, otherwise)

    def loop_over(self):
        variable, words = plain_text(self.word()), None
        self.skip_newlines()
        if self.peek() == "in":
            self.here += 1
            words = []
            while self.is_word():
                words.append(self.word())
        if self.peek() == ";":
            self.here += 1
        self.expect("do")
        body = self.list_until(("done",))
        self.expect("done")
        return For(variable, words, body)

    def loop(self):
        condition = self.list_until(("do",))
        self.expect("do")
        body = self.list_until(("done",))
        self.expect("done")
        return Loop(condition, body)

    def case(self):
        word, branches = self.word(), []
        self.expect("in")
        self.skip_newlines()
        while self.peek() != "esac":
            if self.peek() == "(":
                self.here += 1
            patterns = [self.word()]
            while self.peek() == "|":
                self.here += 1
                patterns.append(self.word())
            self.expect(")")
            branches.append((patterns, self.list_until((";;", ";&", ";;&", "esac"))))
            if self.peek() in (";&", ";;&"):
                raise ShellSyntaxError("line %d: '%s'" % (self.line(), self.peek()))
            if self.peek() == ";;":
                self.here += 1
            self.skip_newlines()
        self.expect("esac")
        return Case(word, branches)

    def group(self, end):
        body = self.list_until((end,))
        self.expect(end)
        return Group(body, [])

    def named_function(self):
        name = plain_text(self.word())
        if self.peek() == "(":
            self.here += 1
            self.expect(")")
        return self.function_body(name)

    def function_body(self, name):
        self.skip_newlines()
        return Function(name, [(";", [self.command()])])

    def simple(self):
        words, redirects, line = [], [], self.line()
        while True:
            if self.peek() in _REDIRECTIONS:
                self.redirection(redirects)
            elif self.is_word():
                words.append(self.word())
            elif self.peek() == "(" and len(words) == 1 and not redirects and _NAME.match(plain_text(words[0])):
                self.here += 1
                self.expect(")")
                return self.function_body(plain_text(words[0]))
            else:
                break
        if not words and not redirects:
            raise ShellSyntaxError("line %d: expected a command" % line)
        return Simple(words, redirects, line)

    def redirection(self, redirects):
        operator = self.peek()
        self.here += 1
        redirects.append((operator, self.word()))

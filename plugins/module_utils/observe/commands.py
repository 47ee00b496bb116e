# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command line or a shell script writes to rp_filter. Pure: nothing is run.

Only straight-line text is predicted: known commands one after another, from the first line up to the first that is
anything else (a condition, a loop, a function, a substitution, a program that may not return). From there on each line
that may write is one write that is not certain.
"""

import os
import re
import shlex

from ansible_collections.nodeward.cilium.plugins.module_utils.observe import sysctl_commands
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.shell_words import (
    NAME,
    UNKNOWN,
    VARIABLE,
    NotStraight,
    Token,
    split,
    tokens,
)
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.sysctl_commands import HERE, Write, unknown

INTERFACE = sysctl_commands.INTERFACE
#: How udev spells the interface of the event, then the variables that the daemons of the network set for their hooks.
_UDEV_INTERFACES = ("%k", "%E{INTERFACE}", "$kernel", "$name", "$env{INTERFACE}")
INTERFACES = _UDEV_INTERFACES + ("$INTERFACE", "$IFACE", "$DEVICE_IFACE", "$DEVICE_IP_IFACE", "$PPP_IFACE")

MAX_WRITES = 100  # of one text; beyond them any key may be written
MAX_WORDS = 64  # of a loop
MAX_DEPTH = 3  # of sh -c

_CONF = re.compile(r"/+proc/+sys/+net/+ipv4/+conf/+([^/]+)/+rp_filter\Z")
_ABOUT = re.compile(
    r"rp_filter|(?<![^\s;&|(/`'\"=])(?:systemd-)?sysctl(?![^\s'\";&|)])"
    r"|\b(?:re)?(?:start|load)\b[^;&|\n]{0,200}\b(?:systemd-sysctl|procps)\b"
    r"|\b(?:systemd-sysctl|procps)(?:\.service)?[ \t]+(?:force-)?re(?:start|load)"
)

#: A line that names the files of the loaders. What does not run for sure may change them, and in any order.
_NAMES_FILES = re.compile(r"^[ \t]*[^\s#].*\bsysctl\.(?:d|conf)\b", re.MULTILINE)
#: A list of the filter's files, of which a loop may write each.
_LISTED = re.compile(rf"\b(?:for[ \t]+{NAME}[ \t]+in|find|ls|read|select)\b[^;\n]*rp_filter")
#: systemd replaces a variable without braces only if it is a word of its own (systemd.service(5)).
_INNER = rf"\${NAME}(?=[;/\"])|(?<=[/\"])\${NAME}"
_LITERAL = re.compile(r"(?:[A-Za-z0-9_./:,@%+=-]+|\x01)\Z")
_SHELL = r"(?:sh|bash|dash|ash|ksh)"
_INTERPRETER = re.compile(r"(?:python|pypy|perl|ruby|node|php|lua|tclsh)[0-9.]*\Z")
_SHEBANG = re.compile(rf"#![ \t]*(?:/\S*/|/usr/bin/env[ \t]+){_SHELL}(?:[ \t]+(-[euvx]+))?[ \t]*\Z")
#: Commands that do not write what they name.
_READERS = (
    "cat", "grep", "egrep", "fgrep", "head", "tail", "less", "more", "ls", "stat", "logger", "wc", "diff", "cmp", "cut",
    "sort", "uniq", "tr", "readlink", "basename", "dirname", "mountpoint", "echo", "printf", "true", "false", ":", "[",
    "test", "date", "which", "type", "hash",
)  # fmt: skip
_CHANGE_FILES = ("cp", "mv", "ln", "rm", "touch", "tee")
#: Commands that return at once, and after which a script goes on as before.
_PASSING = _READERS + _CHANGE_FILES + (
    "sysctl", "systemd-sysctl", "modprobe", "mkdir", "chmod", "chown", "iptables", "ip6tables", "ethtool", "sync", "cd",
    "hostname",
)  # fmt: skip
_PASSING_IP = ("link", "addr", "address", "route", "rule", "neigh")
_COMPOSE = ("xargs", "parallel", "eval")  # they add words to those that stand here
_WAITING = ("less", "more", "tail")
_WRAPPERS = (
    "sudo", "doas", "env", "exec", "nice", "nohup", "command", "builtin", "setsid", "busybox", "ionice", "timeout", ".",
    "source",
)  # fmt: skip

# What a command does to the certainty of those that follow; one that may fail ends a script under "set -e".
_ENDS, _MAY_FAIL, _SUCCEEDS = 0, 1, 2


def writes(text, interface=INTERFACES, shell_text=True, variables=None):
    """The writes of a text, in order.

    :arg interface: the spellings of the event's own interface in this text, as ``$IFACE``, ``$1`` or ``%k``.
    :arg shell_text: False for a line that no shell reads (ExecStart=, RUN+=): only its quotes have a meaning.
    :arg variables: values of shell variables that are known, for example {"2": "up"}.
    """
    found = _read(text, interface, shell_text, variables).writes
    if _NAMES_FILES.search(text):
        found = [write if write.certain else write._replace(runs=None) for write in found]
    return found


def programs(text, interface=INTERFACES, shell_text=True, variables=None):
    """[path]: the programs and scripts that the text may run by an absolute path, and that are not known here."""
    return _read(text, interface, shell_text, variables).programs


def _read(text, interface, shell_text, variables):
    # Two of these characters stand for what is replaced here; a script that has any of them is not straight-line.
    plain = re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "?", text)
    if not shell_text:
        reading = _Reading({})
        reading.command_line(_replaced(plain, interface), plain == text)
        return reading
    known = dict(variables or {})
    for spelling in interface:
        variable = VARIABLE.match(spelling)
        if variable and variable.end() == len(spelling) and spelling not in _UDEV_INTERFACES:
            known[variable.group("braced") or variable.group("bare")] = HERE
    reading = _Reading({name: value for name, value in known.items() if not _times_set(name, plain)})
    reading.script(plain, plain == text)
    return reading


def _times_set(name, text):
    """How often a script may give a variable a value: where its name stands without a dollar sign."""
    if name.isdigit():
        return len(re.findall(r"\([ \t]*\)|\b(?:function|shift|eval)\b|\bset[ \t]+(?:--|(?![-+]))", text))
    return len(re.findall(rf"(?<![$\w])(?<!\$\{{){re.escape(name)}(?!\w)", text))


def _replaced(text, interface):
    """A line that no shell reads, with the interface, and whatever else systemd or udev replaces, marked."""
    spellings = "|".join(
        re.escape(each) + (r"(?![A-Za-z0-9_])" if each[-1].isalnum() else "")
        for each in sorted(interface, key=len, reverse=True)
    )
    expression = r"(%s)|\$\$|%%%%|(?P<inner>%s)|%s|%%.|\$" % (spellings or "(?!)", _INNER, VARIABLE.pattern)
    literal = {"$$": "$", "%%": "%"}

    def replaced(match):
        return HERE if match.group(1) else match.group("inner") or literal.get(match.group(), UNKNOWN)

    return re.sub(expression, replaced, text)


class _Reading:
    """What is found in one text; ``certain``: whether the next command is run whenever the text is."""

    def __init__(self, variables, depth=0, strict=False):
        self.variables = variables
        self.depth = depth
        self.strict = strict  # set -e, set -u
        self.certain = True
        self.files_changed = False
        self.loop = None
        self.listed = False  # whether a target that is not known may be one of the filter's files
        self.writes = []
        self.programs = []
        self.assigned = set()
        self.hidden = []  # lines on which a variable gets a value that is about rp_filter

    # ---- texts

    def command_line(self, text, straight):
        """A line that no shell reads. A word ';' separates commands for systemd, and is an argument for udev."""
        lexer = shlex.shlex(text, posix=True)
        lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
        self.certain = straight and "\\" not in text  # systemd replaces escapes, udev does not
        try:
            words = list(lexer)
        except ValueError:
            self.certain, self.listed = False, bool(_LISTED.search(text))
            self.row(text, 1)
            return
        while words:
            end = words.index(";") if ";" in words else len(words)
            command = [_literal(word) for word in [words[0].lstrip("-@:+!|")] + words[1:end]]
            self.command(command if end else [], [], 1, self.certain)
            self.certain = False
            words = words[end + 1 :]

    def script(self, text, straight=True):
        if "/" not in text and not _ABOUT.search(text):
            self.certain = False
            return
        shebang = _SHEBANG.match(text.split("\n", 1)[0])
        self.strict = self.strict or bool(shebang and shebang.group(1))
        here = 0
        # A part that is not known may be anything, an operator as well.
        if straight and UNKNOWN not in text and (shebang or not text.startswith("#!")):
            here = self.straight(text)
        if here < len(text):
            self.certain = False
            self.variables = {
                name: value
                for name, value in self.variables.items()
                if _times_set(name, text) <= (name in self.assigned)
            }
            for line in self.hidden:
                self.unknown(line)
            self.listed = bool(_LISTED.search(text))
            self.rows(text, here)

    def straight(self, text):
        """Read commands up to the first line that is not straight-line; the position of that line.

        A shell reads a script line by line, so those before it run whatever follows.
        """
        here, line = 0, 1
        while here < len(text) and self.certain:
            try:
                found, after, next_line = tokens(text, here, line, self.variables)
            except NotStraight:
                return here
            for part in split(found, ";"):
                self.list(part)
            here, line = after, next_line
        return here

    def rows(self, text, start):
        """The lines from there on, each for itself."""
        first, parts = text.count("\n", 0, start) + 1, []
        for number, row in enumerate(text[start:].split("\n"), first):
            first = first if parts else number
            if parts or not row.lstrip(" \t").startswith("#"):
                parts.append(row[:-1] + " " if row.endswith("\\") else row)
                if not row.endswith("\\"):
                    self.row("".join(parts), first)
                    parts = []
        self.row("".join(parts), first)

    def row(self, row, line):
        if self.loop is None and not self.listed and "/" not in row and not _ABOUT.search(row):
            return
        # A substitution gives its place something that is not known; what is in it is a command as well.
        row = re.sub(r"\$\(|`", "\x02(", row)
        for command in re.split(r";|&&|\|\||[()]|(?<![^\s;])[{}](?![^\s;])|(?<![>&])&(?![>&0-9])", row):
            piece = re.sub(r"\A\s*(?:(?:if|then|elif|else|do|while|until|!|time)\s+)+", "", command).strip()
            loop = re.match(rf"for\s+({NAME})\s+in\s+(.*)", piece)
            if loop and all(re.match(r"[A-Za-z0-9_./*?:@-]+\Z", word) for word in loop.group(2).split()):
                variable = re.compile(rf"\$(?:{loop.group(1)}(?!\w)|\{{{loop.group(1)}\}})")
                self.loop = (variable, loop.group(2).split()[:MAX_WORDS])
            elif self.loop and self.loop[0].search(piece):
                for word in self.loop[1]:
                    self.piece(self.loop[0].sub(word, piece), line)
            else:
                self.piece(piece, line)

    def piece(self, piece, line):
        """One command of a line of which nothing is certain."""
        about = _ABOUT.search(piece)
        if not about and "/" not in piece and not (self.listed and re.search(r">|\btee\b", piece)):
            return
        for text in (piece, re.sub("['\"]", "", piece)):  # a quote may begin or end in another piece
            try:
                found, after, _line = tokens(text, 0, line, self.variables)
            except NotStraight:
                continue
            if after == len(text):
                self.list(found)
                return
        if about:
            self.unknown(line)

    # ---- lists and pipelines

    def list(self, found):
        """Pipelines that && and || join: only the first is sure to run."""
        effects = []
        for number, part in enumerate(split(found, "&&", "||")):
            effects.append(self.pipeline(part, self.certain and not number))
        if [token.text for token in found[-2:]] in (["||", "true"], ["||", ":"]):
            effects = [effect and _SUCCEEDS for effect in effects]
        if _ENDS in effects or (self.strict and _MAY_FAIL in effects):
            self.certain = False

    def pipeline(self, found, certain):
        parts = split(found, "|")
        if len(parts) == 1:
            return self.simple(found, certain)
        count, effect, printed = len(self.writes), _MAY_FAIL, None
        for part in parts:
            effect = min(effect, self.simple(part, certain and printed is not None, printed))
            printed = _printed(part) if part is parts[0] and all(token.kind == "word" for token in part) else None
        heads = [os.path.basename(part[0].text) for part in parts]
        about = any(_ABOUT.search(token.text) for token in found)
        if len(self.writes) == count and about and any(head not in _PASSING for head in heads):
            self.unknown(found[0].line)  # what one prints may be what another runs
        return effect

    def simple(self, found, certain, piped=None):
        words, redirects, before = [], [], None
        for token in found:
            if token.kind == "word" and before and before.kind == "redirect":
                redirects.append((before.text, token))
            elif token.kind == "word":
                words.append(token)
            elif token.kind == "copy" and not re.match(r"[2-9]>", token.text):
                certain = False  # standard output goes elsewhere
            before = token
        return self.command(words, redirects, found[0].line, certain, piped)

    # ---- commands

    def command(self, words, redirects, line, certain, piped=None):
        """Note what one command writes; what it does to those that follow."""
        first = 1 if words and words[0].text == "export" else 0
        assigned = first
        while assigned < len(words) and re.match(NAME + "=", words[assigned].raw):
            assigned += 1
        if assigned > first and assigned == len(words) and not redirects:
            return self.assignments(words[first:], line)
        words = words[assigned:] if assigned > first == 0 else words
        wrapped = assigned > first  # a variable for this command alone
        while words and os.path.basename(words[0].text) in _WRAPPERS:
            words, wrapped = words[1:], True
            while words and re.match(rf"-|[0-9.]+[smhd]?\Z|{NAME}=", words[0].text):
                words = words[1:]
        unknown = any(UNKNOWN in word.text for word in words + [target for _operator, target in redirects])
        certain = certain and not wrapped and not unknown
        count = len(self.writes)
        outputs = self.redirects(words, redirects, line, certain)
        if not words:
            return _ENDS
        head, arguments = os.path.basename(words[0].text), words[1:]
        certain = certain and (not outputs or head in ("echo", "printf"))  # a redirection may fail
        self.files_changed = self.files_changed or head in _CHANGE_FILES
        effect = _MAY_FAIL
        if head == "sysctl":
            self.append(*sysctl_commands.sysctl(arguments, line, certain, self.files_changed))
        elif head == "systemd-sysctl":
            self.append(*sysctl_commands.systemd_sysctl(arguments, line, certain, self.files_changed))
        elif head == "tee":
            self.tee(arguments, piped, line, certain)
        elif re.match(_SHELL + r"\Z", head):
            effect = self.shell(arguments, line, certain)
        else:
            effect = self.other(head, words, line)
        if head in (":", "set", "export") and outputs:
            effect = _ENDS  # a special builtin whose redirection fails ends the script (POSIX)
        if effect == _ENDS or wrapped or unknown:
            return _MAY_FAIL if effect and not wrapped else _ENDS
        expected = outputs if head != "sysctl" else [word for word in arguments if not word.text.startswith("-")]
        good = [write for write in self.writes[count:] if write.certain and write.names in (["all"], ["default"])]
        sure = head in ("sysctl", "echo", "printf", "true", ":", "set") and len(good) == len(expected)
        return _SUCCEEDS if sure and (head != "sysctl" or not outputs) else _MAY_FAIL

    def assignments(self, words, line):
        effect = _SUCCEEDS
        for word in words:
            name, _equals, value = word.text.partition("=")
            self.variables[name] = value if self.certain and _LITERAL.match(value) else UNKNOWN
            self.assigned.add(name)
            if name in ("IFS", "ENV", "BASH_ENV", "POSIXLY_CORRECT"):
                return _ENDS
            if _ABOUT.search(value):
                self.hidden.append(line)
                if not self.certain:
                    self.unknown(line)
            effect = _MAY_FAIL if UNKNOWN in value else effect
        return effect

    def redirects(self, words, redirects, line, certain):
        """Note the writes by redirection; the files that are written."""
        outputs = [(operator, target) for operator, target in redirects if target.text != "/dev/null"]
        sure = certain and len(outputs) == 1 and all(
            each in outputs or operator[0] in "23456789" for each in redirects for operator in [each[0]]
        )  # fmt: skip
        for operator, target in outputs:
            if "rp_filter" in target.text:
                value = _printed(words) if operator[0] in "1>" else None
                # dash takes a glob here literally, bash refuses one with several matches.
                self.path(target, value, line, sure and not target.glob)
            elif self.listed and UNKNOWN in target.text:
                self.unknown(line)
            elif not target.text.startswith(("/var/log/", "/dev/", "/proc/", "/sys/")):
                self.files_changed = True
        return outputs

    def path(self, word, value, line, certain):
        match = _CONF.match(word.text)
        if match and match.group(1) not in (".", ".."):
            self.append(*sysctl_commands.assignment(match.group(1), value, line, certain))
        elif not word.text.startswith("/") or re.search(r"\A/proc|/\.|//", word.text):
            self.unknown(line)

    def tee(self, arguments, piped, line, certain):
        certain = certain and all(word.text in ("-a", "--append") or word.text[:1] != "-" for word in arguments)
        for word in arguments:
            if "rp_filter" in word.text:
                # Here a shell replaces a glob by the names of all interfaces, all and default.
                literal = not re.search(r"[*?\[\\]", word.text) or (word.glob and word.raw == word.text)
                self.path(word, piped, line, certain and literal)
            elif self.listed and UNKNOWN in word.text:
                self.unknown(line)

    def shell(self, arguments, line, certain):
        texts = [word.text for word in arguments]
        if len(texts) > 1 and re.match(r"-[euvx]*c[euvx]*\Z", texts[0]) and self.depth < MAX_DEPTH:
            # Only the environment is handed on; of the variables that are known, that of the event.
            known = {name: value for name, value in self.variables.items()
                     if value == HERE and not name.isdigit() and name not in self.assigned}  # fmt: skip
            known.update((str(number), text) for number, text in enumerate(texts[2:12]) if _LITERAL.match(text))
            known = {name: value for name, value in known.items() if not _times_set(name, texts[1])}
            inner = _Reading(known, self.depth + 1, bool(set(texts[0]) & set("eu")))
            inner.files_changed = self.files_changed
            inner.script(texts[1])
            self.files_changed = inner.files_changed
            self.programs += [path for path in inner.programs if path not in self.programs]
            for write in inner.writes:
                self.append(write._replace(certain=write.certain and certain, line=line + write.line - 1))
            return _MAY_FAIL if inner.certain else _ENDS
        self.program(next((text for text in texts if not text.startswith("-")), ""))
        if any(_ABOUT.search(text) for text in texts):
            self.unknown(line)
        return _ENDS

    def other(self, head, words, line):
        self.program(words[0].text)
        texts = [word.text for word in words]
        text = " ".join(texts)
        if _INTERPRETER.match(head):
            self.program(next((each for each in texts[1:] if not each.startswith("-")), ""))
        if head == "set":
            known = all(re.match(r"[-+][euvx]+\Z", each) for each in texts[1:])
            self.strict = self.strict or "e" in text[3:] or "u" in text[3:]
            return _SUCCEEDS if known and len(texts) > 1 else _ENDS
        if head in ("systemctl", "service", "invoke-rc.d", "procps") and _ABOUT.search(text):
            runs = None if self.files_changed else "unit"
            self.append(Write(None, None, None, False, runs, None, "systemd_sysctl", (), line))
        elif head == "sed":
            if "/proc/" in text and re.search(r" (?:-[A-Za-z]*i|--in-place)", text):
                self.unknown(line)
        # Another network namespace has values of its own.
        elif head not in _READERS and texts[:3] != ["ip", "netns", "exec"] and _ABOUT.search(text):
            self.handed_on(head, words, line)
        ours = re.match(r"(?:/usr)?/s?bin/[^/]+\Z|[^/]+\Z", words[0].text)
        if head == "ip":
            return _MAY_FAIL if texts[1:2] and texts[1] in _PASSING_IP and ours else _ENDS
        return _MAY_FAIL if head in _PASSING and head not in _WAITING and ours else _ENDS

    def handed_on(self, head, words, line):
        """A command of which nothing is known but that it is handed sysctl with its arguments, or names rp_filter."""
        at = [number for number, word in enumerate(words) if os.path.basename(word.text) == "sysctl"]
        count = len(self.writes)
        if at and head not in _COMPOSE:
            # As for chroot, the files may be others.
            self.append(*sysctl_commands.sysctl(words[at[0] + 1 :], line, False, True))
        if not at or head in _COMPOSE or len(self.writes) == count and "rp_filter" in " ".join(w.text for w in words):
            self.unknown(line)

    def program(self, path):
        known = os.path.basename(path) in _PASSING + ("systemctl", "service") or path in self.programs
        if not known and re.match(r"/(?!proc/|sys/|dev/)[A-Za-z0-9_./@+:-]+\Z", path):
            self.programs.append(path)

    # ---- results

    def unknown(self, line):
        if not self.writes or self.writes[-1] != unknown(line):
            self.append(unknown(line))

    def append(self, *writes):
        self.writes += writes
        if len(self.writes) > MAX_WRITES:
            self.writes[MAX_WRITES:] = [unknown(self.writes[MAX_WRITES].line)]


def _literal(text):
    return Token("word", text, 1, "'", False)


def _printed(words):
    """What a command prints, without the end of its line; None if not known."""
    texts = [word.text for word in words]
    head = os.path.basename(texts[0]) if texts else ""
    if any(word.glob or UNKNOWN in word.text or "\\" in word.text for word in words[1:]) and head != "printf":
        return None
    if head == "echo":
        texts = texts[2:] if texts[1:2] == ["-n"] else texts[1:]
        return None if texts and texts[0].startswith("-") and not texts[0][1:].isdigit() else " ".join(texts)
    if head == "printf" and len(texts) == 2 and re.match(r"[0-9 ]*(?:\\n)?\Z", texts[1]):
        return texts[1].replace("\\n", "")
    if head == "printf" and len(texts) == 3 and texts[1] in ("%s", "%s\\n", "%d", "%d\\n"):
        known = re.match(r"[0-9]\Z", texts[2]) or ("s" in texts[1] and not re.search(r"[\x02\\]", texts[2]))
        return texts[2] if known and not words[2].glob else None
    return None

# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command line or a shell script writes to rp_filter. Pure: the text is evaluated here, nothing is run.

A command that is not known here and has rp_filter among its words is one write that is not certain.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import fnmatch
import os
import re
import shlex
from collections import namedtuple

from ansible_collections.nodeward.cilium.plugins.module_utils import sysctl_d
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import shell

#: Stands in ``names`` for the interface of the event.
INTERFACE = "<interface>"
#: How udev, ifupdown, NetworkManager, networkd-dispatcher and pppd spell the interface of the event.
INTERFACES = (
    "%k",
    "%E{INTERFACE}",
    "$kernel",
    "$name",
    "$env{INTERFACE}",
    "$INTERFACE",
    "$IFACE",
    "$DEVICE_IFACE",
    "$DEVICE_IP_IFACE",
    "$PPP_IFACE",
)

#: names: as in a writer; None if any key may be meant. value: as written, None if not known; sets: the kernel's number.
#: certain: whether it is written whenever the text runs. runs: "procps" or "systemd_sysctl", which then reads all its
#: files; file: the one file that is read instead, by ``loader``. prefixes: systemd-sysctl's. line: within the text.
Write = namedtuple("Write", "names value sets certain runs file loader prefixes line")

MAX_STEPS = 2000
MAX_WORDS = 64
_HERE, _UNKNOWN = "\x01", "\x02"
_CONF = re.compile(r"/*proc/+sys/+net/+ipv4/+conf/+([^/]+)/+rp_filter/*\Z")
_MENTION = re.compile(r"rp_filter")
_CALL = re.compile(r"(?:^|[\s;&|(/`])(?:systemd-)?sysctl(?=\s|$)")
_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*|[0-9@*#?$!-])|\{([^}]*)\})")
_READERS = (
    "cat grep egrep fgrep rg head tail less more ls stat logger wc md5sum sha256sum diff cmp cut sort uniq tr "
    "readlink basename dirname mountpoint echo printf true : [ [[ test read export local declare readonly"
).split()
_SHELLS = ("sh", "bash", "dash", "ash", "ksh", "zsh")
_WRAPPERS = (
    "sudo",
    "doas",
    "env",
    "exec",
    "nice",
    "nohup",
    "command",
    "builtin",
    "time",
    "setsid",
    "busybox",
    "ionice",
)
_SYSCTL_UNITS = ("systemd-sysctl", "procps")
_RESTARTS = ("restart", "try-restart", "condrestart", "reload-or-restart", "try-reload-or-restart", "force-reload")


def writes(text, interface=INTERFACES, shell_text=True, variables=None):
    """The writes of a text, in order.

    :arg interface: the spellings of the event's own interface in this text, as ``$IFACE``, ``$1`` or ``%k``.
    :arg shell_text: False for a line that no shell reads (ExecStart=, RUN+=): only its quotes have a meaning.
    :arg variables: values of shell variables that are known, for example {"2": "up"}.
    """
    return _evaluate(text, interface, shell_text, variables)[0]


def programs(text, interface=INTERFACES, shell_text=True, variables=None):
    """[path]: the programs and scripts that the text runs by an absolute path, and that are not known here."""
    return _evaluate(text, interface, shell_text, variables)[1]


def _evaluate(text, interface, shell_text, variables):
    if not _MENTION.search(text) and not _CALL.search(text) and "/" not in text and "procps" not in text:
        return [], []
    seeds, spellings = dict(variables or {}), []
    for spelling in interface:
        variable = re.match(r"\$\{?([A-Z_][A-Z0-9_]*|\d)\}?\Z", spelling)
        if variable:
            seeds[variable.group(1)] = _HERE
        else:
            spellings.append(spelling)
    text = text.replace(_HERE, "?").replace(_UNKNOWN, "?")
    run = _Run()
    try:
        if shell_text and text.startswith("#!") and not re.match(r"#!.*sh\b", text.split("\n", 1)[0]):
            raise shell.ShellSyntaxError("not a shell script")
        if shell_text:
            run.script(_substituted(text, spellings, {}), _Scope(seeds))
        else:
            words = _split(_substituted(text, spellings, {"$$": "$", "%%": "%"}))
            for words in _commands_of(words):
                run.command([_expanded_plain(word, seeds) for word in words], [], 1, _Scope(seeds), True, None)
    except (shell.ShellSyntaxError, ValueError, RecursionError):
        mention = _first_mention(text)
        return ([_unknown(mention)] if mention else []), run.programs
    return run.writes, run.programs


def _substituted(text, spellings, others):
    alternatives = list(others) + sorted(spellings, key=len, reverse=True)
    if not alternatives:
        return text
    expression = "|".join(
        re.escape(each) + (r"(?!\w)" if re.match(r"\$\w+\Z", each) and each not in others else "")
        for each in alternatives
    )
    return re.sub(expression, lambda match: others.get(match.group(), _HERE), text)


def _split(text):
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    return list(lexer)


def _commands_of(words):
    """systemd.service(5): a word ';' separates commands."""
    found = [[]]
    for word in words:
        if word == ";":
            found.append([])
        else:
            found[-1].append(word)
    return [[words[0].lstrip("-@:+!|")] + words[1:] for words in found if words]


def _expanded_plain(word, seeds):
    """A word that no shell reads; systemd and udev put in only the variables that they know."""
    return _VARIABLE.sub(lambda match: seeds.get(match.group(1) or match.group(2), match.group()), word)


def _first_mention(text):
    rows = [(number, row) for number, row in enumerate(text.split("\n"), 1) if not row.lstrip().startswith("#")]
    return next((number for number, row in rows if _MENTION.search(row) or _CALL.search(row)), None)


def _unknown(line):
    return Write(None, None, None, False, None, None, None, (), line)


def _names(component):
    if component == _HERE:
        return [INTERFACE]
    if re.search(r"[\x01\x02{}$`]", component):
        return None
    return [component]


class _Scope(object):
    """Variables and functions; a subshell or a function's arguments get a copy."""

    def __init__(self, variables, functions=None):
        self.variables = variables
        self.functions = {} if functions is None else functions

    def copy(self, arguments=None):
        variables = dict(self.variables)
        if arguments is not None:
            variables = {name: value for name, value in variables.items() if not name.isdigit()}
            variables.update((str(number), value) for number, value in enumerate(arguments))
        return _Scope(variables, self.functions)


class _Exit(Exception):
    pass


class _Run(object):
    """One evaluation. ``certain`` of a step: True, or None if it may or may not run."""

    def __init__(self):
        self.writes = []
        self.programs = []
        self.steps = 0
        self.depth = 0
        self.called = set()
        self.maybe_ended = False

    def script(self, text, scope):
        try:
            self.list(shell.parse(text), scope, True)
        except _Exit:
            pass
        for name, body in list(scope.functions.items()):
            if name not in self.called:
                try:
                    self.list(body, scope.copy([]), None)
                except _Exit:
                    pass

    def list(self, commands, scope, certain):
        """Evaluate; returns whether the last command succeeds: True, False, None if not known."""
        self.depth += 1
        if self.depth > shell.MAX_DEPTH:
            raise shell.ShellSyntaxError("too deep")
        last, here = True, certain
        for connector, pipeline in commands:
            if connector == ";":
                here = certain
            elif last is None:
                here = None
            elif last != (connector == "&&"):
                continue
            result = self.pipeline(pipeline, scope, here)
            last = result if here else None if connector != ";" else result
        self.depth -= 1
        return last

    def pipeline(self, commands, scope, certain):
        before, result = None, True
        for command in commands:
            inner = scope if len(commands) == 1 else scope.copy()
            result = self.step(command, inner, certain, before)
            before = command
        return result

    def step(self, command, scope, certain, before):
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise shell.ShellSyntaxError("too many steps")
        if isinstance(command, shell.Simple):
            return self.simple(command, scope, certain, before)
        if isinstance(command, shell.Group):
            result = self.list(command.body, scope, certain)
            for operator, target in command.redirects:
                self.redirect(operator, self.text(target, scope, certain), None, certain, target.line)
            return result
        if isinstance(command, shell.Function):
            scope.functions[command.name] = command.body
            return True
        if isinstance(command, shell.If):
            return self.conditional(command, scope, certain)
        if isinstance(command, shell.For):
            return self.each(command, scope, certain)
        if isinstance(command, shell.Case):
            return self.case(command, scope, certain)
        self.forget(command.condition + command.body, scope)
        self.list(command.condition, scope, certain)
        self.list(command.body, scope, None)
        return None

    def conditional(self, command, scope, certain):
        for condition, body in command.branches:
            truth = self.list(condition, scope, certain)
            if truth:
                return self.list(body, scope, certain)
            if truth is None:
                self.list(body, scope, None)
                self.forget(body, scope)
                certain = None
        return self.list(command.otherwise, scope, certain) if certain else self._maybe(command.otherwise, scope)

    def _maybe(self, commands, scope):
        self.list(commands, scope, None)
        self.forget(commands, scope)

    def each(self, command, scope, certain):
        words = None
        if command.words is not None:
            words = [self.text(word, scope, certain) for word in command.words]
            # Words that are in one variable are separated by white space.
            words = [part for word in words for part in (word.split() or [""])]
        if words is None or len(words) > MAX_WORDS:
            words = [_UNKNOWN]
        for word in words:
            scope.variables[command.variable] = word
            self.list(command.body, scope, certain)
        return None

    def case(self, command, scope, certain):
        word = self.text(command.word, scope, certain)
        for patterns, body in command.branches:
            texts = [self.text(pattern, scope, certain) for pattern in patterns]
            if _UNKNOWN in word + "".join(texts) or (_HERE in word and texts != ["*"]):
                self._maybe(body, scope)
                certain = None
            elif any(fnmatch.fnmatchcase(word, text) for text in texts):
                return self.list(body, scope, certain)
        return None

    def forget(self, commands, scope):
        """Variables that were set in what may not have run."""
        for _connector, pipeline in commands:
            for command in pipeline:
                for word in command.words if isinstance(command, shell.Simple) else ():
                    name, equals, _value = shell.plain_text(word).partition("=")
                    if equals:
                        scope.variables.pop(name.rstrip("+"), None)

    # words

    def text(self, word, scope, certain):
        """A word with its variables replaced; what is not known is one character of its own."""
        found = []
        for mode, text in word.parts:
            if mode == shell.LITERAL:
                found.append(text)
            elif mode == shell.COMMAND:
                if text:
                    try:
                        self.list(shell.parse(text, word.line), scope.copy(), certain)
                    except _Exit:
                        pass
                found.append(_UNKNOWN)
            else:
                found.append(_VARIABLE.sub(lambda match: self.variable(match, scope), text))
        return "".join(found)

    @staticmethod
    def variable(match, scope):
        name = match.group(1) or match.group(2)
        default = re.match(r"(\w+):?-", name)
        return scope.variables.get(default.group(1) if default else name, _UNKNOWN)

    # commands

    def simple(self, command, scope, certain, before):
        words = []
        for number, word in enumerate(command.words):
            text = self.text(word, scope, certain)
            name, equals, value = text.partition("=")
            if not words and equals and re.match(r"[A-Za-z_]\w*\Z", name):
                if number + 1 == len(command.words):
                    if certain:
                        scope.variables[name] = value
                    else:
                        scope.variables[name] = _UNKNOWN
                continue
            words.append(text)
        redirects = [
            (operator, self.text(word, scope, certain), bool(re.search(r"[*?\[]", shell.plain_text(word))))
            for operator, word in command.redirects
        ]
        piped = None
        if before is not None:
            piped = None
            if isinstance(before, shell.Simple):
                piped = _printed([self.text(word, scope, None) for word in before.words])
        return self.command(words, redirects, command.line, scope, certain, piped)

    def command(self, words, redirects, line, scope, certain, piped):
        certain = certain if not self.maybe_ended else None
        printed = _printed(words)
        for operator, target, is_glob in redirects:
            # A shell replaces a glob after '>' only if it has exactly one match (bash), or never (dash).
            self.redirect(operator, target, printed, None if is_glob else certain, line)
        words = _unwrapped(words)
        if not words:
            return True
        head, arguments = os.path.basename(words[0]), words[1:]
        if head in ("exit", "return") or (head == "exec" and arguments):
            if certain:
                raise _Exit
            self.maybe_ended = True
            return None
        if words[0] in scope.functions:
            return self.call(words, scope, certain)
        if head in _SHELLS or head in ("eval", ".", "source"):
            return self.shell(head, arguments, line, scope, certain)
        if head == "sysctl":
            return self.sysctl(arguments, line, certain)
        if head == "systemd-sysctl":
            return self.systemd_sysctl(arguments, line, certain)
        if head in ("systemctl", "service", "invoke-rc.d") or words[0].startswith("/etc/init.d/"):
            return self.unit(words, line, certain)
        if head == "tee":
            for path in arguments:
                self.redirect(">", path, piped, certain, line)
            return True
        if head in ("[", "test", "[["):
            return _test(arguments)
        if head in ("export", "local", "readonly", "declare"):
            for argument in arguments:
                name, equals, value = argument.partition("=")
                if equals:
                    scope.variables[name] = value if certain else _UNKNOWN
            return True
        if head == "shift":
            for number in [name for name in scope.variables if name.isdigit()]:
                scope.variables.pop(number)
            return None
        if head in ("true", ":", "echo", "printf", "sleep"):
            return True
        if head == "false":
            return False
        self.other(words, line)
        return None

    def other(self, words, line):
        head = os.path.basename(words[0])
        if words[0].startswith("/") and words[0] not in self.programs and _UNKNOWN not in words[0]:
            self.programs.append(words[0])
        in_place = any(re.match(r"-[a-zA-Z]*i|--in-place", word) for word in words[1:])
        reads = head in _READERS or (head == "sed" and (not in_place or not any("/proc/" in word for word in words)))
        reads = reads or (head in ("awk", "gawk", "mawk") and not any(">" in word for word in words))
        elsewhere = words[:3] == ["ip", "netns", "exec"]  # another network namespace has values of its own
        if not reads and not elsewhere and any(_MENTION.search(word) or _CALL.search(word) for word in words):
            self.writes.append(_unknown(line))

    def call(self, words, scope, certain):
        self.called.add(words[0])
        body = scope.functions[words[0]]
        try:
            return self.list(body, scope.copy(words), certain)
        except _Exit:
            return None

    def shell(self, head, arguments, line, scope, certain):
        options = []
        while head in _SHELLS and arguments and re.match(r"[-+][A-Za-z]+\Z", arguments[0]):
            options.append(arguments[0])
            arguments = arguments[1:]
        if head == "eval" or any("c" in option for option in options):
            text = " ".join(arguments) if head == "eval" else arguments[0] if arguments else ""
            inner = scope if head == "eval" else scope.copy(arguments[1:])
            if _UNKNOWN in text and not re.search(r"rp_filter|sysctl", text):
                return None
            try:
                return self.list(shell.parse(text, line), inner, certain)
            except _Exit:
                return None
        if arguments and arguments[0].startswith("/") and _UNKNOWN not in arguments[0]:
            self.programs.append(arguments[0])
        elif head in _SHELLS and any(_MENTION.search(word) for word in arguments):
            self.writes.append(_unknown(line))
        return None

    def redirect(self, operator, path, printed, certain, line):
        if operator not in (">", ">>", ">|", "&>", "&>>", "<>") or not re.search("rp_filter", path):
            return
        match = _CONF.match(path)
        if match:
            self.add(_names(match.group(1)), printed, certain, line)
        elif not path.startswith("/") or path.startswith("/proc/") or _UNKNOWN in path:
            self.writes.append(_unknown(line))

    def add(self, names, value, certain, line):
        if value is not None and re.search(r"[\x01\x02$`]", value):
            value = None
        sets = None if value is None else sysctl_d.kernel_integer(value)
        if value is not None and sets is None:
            return  # the kernel refuses it
        self.writes.append(Write(names, value, sets, bool(certain) and names is not None, None, None, None, (), line))

    def sysctl(self, arguments, line, certain):
        """sysctl(8): options and their arguments as procps reads them."""
        load, everything, narrowed, rest, arguments = None, False, False, [], list(arguments)
        while arguments:
            word = arguments.pop(0)
            if word == "--":
                rest, arguments = rest + arguments, []
            elif word == "--system":
                everything = True
            elif word in ("--help", "--version", "--dry-run"):
                return True
            elif word.split("=")[0] in ("--pattern", "-r"):
                narrowed = True
                if "=" not in word and arguments:
                    arguments.pop(0)
            elif word.startswith("--load"):
                load = [word.partition("=")[2]] if "=" in word else []
            elif re.match(r"-[a-zA-Z]", word) and not word.startswith("--"):
                options = re.match(r"-([a-oq-zA-Z]*)([p])?(.*)", word)
                if options.group(2) or "f" in options.group(1):
                    load = [options.group(3)] if options.group(3) and options.group(2) else []
                elif re.search(r"[hVdaAX]", options.group(1)):
                    return True
            elif not word.startswith("--"):
                rest.append(word)
        certain = bool(certain) and not narrowed
        if everything:
            self.writes.append(Write(None, None, None, certain, "procps", None, "procps", (), line))
        elif load is not None:
            for path in load + rest or ["/etc/sysctl.conf"]:
                self.load(path, "procps", (), certain, line)
        else:
            for word in rest:
                self.key(word, certain, line)
        return True

    def load(self, path, loader, prefixes, certain, line):
        if path.startswith("/") and not re.search(r"[\x01\x02]", path) and not path.startswith("/dev/"):
            self.writes.append(Write(None, None, None, bool(certain), None, path, loader, prefixes, line))
        elif path not in ("/dev/null", ""):
            self.writes.append(_unknown(line))

    def key(self, word, certain, line):
        key, equals, value = word.partition("=")
        if not equals:
            if word == _UNKNOWN or ("rp_filter" in word and _UNKNOWN in word):
                self.writes.append(_unknown(line))  # the whole assignment is in the variable, or a part of it
            return
        parts = sysctl_d.normalise(key.strip()).split("/")
        if len(parts) == 5 and parts[:3] == ["net", "ipv4", "conf"] and parts[4] == "rp_filter":
            # No sysctl expands a glob on its command line (procps 3.3 and 4, measured).
            if not re.search(r"[*?\[]", parts[3]):
                self.add(_names(parts[3]), value.strip(), certain, line)
        elif _UNKNOWN in key:
            expression = ".*".join(re.escape(part) for part in "/".join(parts).split(_UNKNOWN))
            if re.match(expression + r"\Z", "net/ipv4/conf/all/rp_filter"):
                self.writes.append(_unknown(line))

    def systemd_sysctl(self, arguments, line, certain):
        prefixes, files, arguments = [], [], list(arguments)
        while arguments:
            word = arguments.pop(0)
            if word in ("--help", "-h", "--version", "--cat-config", "--tldr"):
                return True
            if word.startswith("--prefix="):
                prefixes.append(word.partition("=")[2])
            elif word == "--prefix":
                prefixes.append(arguments.pop(0) if arguments else "")
            elif not word.startswith("-"):
                files.append(word)
        paths = [_prefix(prefix) for prefix in prefixes]
        meant = [path for path in paths if _in_prefix(path)]
        if prefixes and not meant:
            return True
        names = None
        components = [path.split("/")[3] for path in meant if path.count("/") >= 3]
        if len(components) == len(meant):
            names = [name for component in components for name in (_names(component) or [None])]
            names = None if None in names else names or None
        for path in files:
            self.load(path, "systemd_sysctl", tuple(prefixes), certain, line)
        if not files:
            shown = tuple(prefix.replace(_HERE, INTERFACE) for prefix in prefixes)
            self.writes.append(
                Write(names, None, None, bool(certain), "systemd_sysctl", None, "systemd_sysctl", shown, line)
            )
        return True

    def unit(self, words, line, certain):
        head, arguments = os.path.basename(words[0]), [word for word in words[1:] if not word.startswith("-")]
        if words[0].startswith("/etc/init.d/"):
            action, units = arguments[:1], [head]
        elif head == "systemctl":
            action, units = arguments[:1], arguments[1:]
        else:
            action, units = arguments[1:2], arguments[:1]
        units = [re.sub(r"\.service\Z", "", unit) for unit in units]
        if action and action[0] in _RESTARTS and any(unit in _SYSCTL_UNITS for unit in units):
            self.writes.append(
                Write(None, None, None, bool(certain), "systemd_sysctl", None, "systemd_sysctl", (), line)
            )
        return None


def _prefix(prefix):
    """As systemd-sysctl takes it: with or without /proc/sys, dots or slashes."""
    path = prefix[len("/proc/sys") :] if prefix.startswith("/proc/sys/") else prefix
    return sysctl_d.normalise(path).strip("/")


def _in_prefix(path):
    parts, wanted = path.split("/"), ["net", "ipv4", "conf", None, "rp_filter"]
    return not path or all(
        part == expected or expected is None or _UNKNOWN in part for part, expected in zip(parts, wanted)
    )


def _unwrapped(words):
    while words and os.path.basename(words[0]) in _WRAPPERS and len(words) > 1:
        words = words[1:]
        while words and (words[0].startswith("-") or re.match(r"[A-Za-z_]\w*=", words[0])):
            words = words[1:]
    if words and os.path.basename(words[0]) == "timeout":
        words = words[1:]
        while words and (words[0].startswith("-") or re.match(r"[\d.]+[smhd]?\Z", words[0])):
            words = words[1:]
    return words


def _printed(words):
    """What a command prints; None if not known."""
    words = _unwrapped(words)
    head = os.path.basename(words[0]) if words else ""
    if head == "echo":
        words = words[1:]
        while words and re.match(r"-[neE]+\Z", words[0]):
            words = words[1:]
        return " ".join(words).replace("\\n", " ").strip()
    if head == "printf" and len(words) > 1:
        text = words[1].replace("%%", "%")
        for argument in words[2:]:
            text = re.sub(r"%[sdi]", lambda _match, argument=argument: argument, text, count=1)
        return None if re.search(r"%[a-z]", text) else text.replace("\\n", " ").strip()
    return None


def _test(words):
    """The result of a test whose words are known: True, False, or None."""
    words = [word for word in words if word not in ("]", "]]")]
    if words[:1] == ["!"]:
        result = _test(words[1:])
        return None if result is None else not result
    if len(words) == 2 and words[0] in ("-e", "-f", "-w", "-r", "-d"):
        path = words[1].replace(_HERE, "interface")
        known = re.match(r"/proc/sys/net/ipv4/conf(/|\Z)", path) and _UNKNOWN not in path
        return True if known else None
    if any(_UNKNOWN in word or _HERE in word for word in words):
        return True if len(words) == 2 and words[0] == "-n" and _HERE in words[1] else None
    if len(words) == 3 and words[1] in ("=", "==", "!="):
        return fnmatch.fnmatchcase(words[0], words[2]) == (words[1] != "!=")
    if len(words) == 2 and words[0] in ("-z", "-n"):
        return (words[1] == "") == (words[0] == "-z")
    return None

# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the sysctl.d tree under one root and resolves a key as each loader would. Pure: no process, no /proc.

Two loaders read these files, and they do not agree:

* systemd-sysctl collects all assignments in one ordered table, then applies the table;
* procps ``sysctl --system`` applies line after line, and /etc/sysctl.conf last.

Version rules carry their source: "systemd N" is ``src/sysctl/sysctl.c``, ``src/basic/sysctl-util.c`` or
``src/basic/conf-files.c`` of that release, "procps N" is ``sysctl.c`` of that release, "glibc" is glob(3) and
fnmatch(3) in the C locale, "measured" was seen with the binary.

Not modelled, because no file under the root shows it: other devices. If no alternative of a brace glob matches any
device, glibc takes the braces for themselves, so a device that is really named ``{a,b}`` may be set.
"""

import errno
import itertools
import os
import re
import stat
from collections import OrderedDict, namedtuple

from ansible_collections.nodeward.cilium.plugins.module_utils.text import visible

# procps 3.3.17 NEWS: "Match systemd directory order"; before, /run went first (procps 3.3.12 to 3.3.16, measured).
FOLDERS = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")
FOLDERS_RUN_FIRST = ("/run/sysctl.d", "/etc/sysctl.d") + FOLDERS[2:]
MAIN_FILE = "/etc/sysctl.conf"

SYSTEMD_DASH_SINCE = 243  # systemd 243 NEWS: a "-" before the key means that failures are ignored
SYSTEMD_GLOBS_SINCE = 245  # systemd 245: globs, and "-key" without a value excludes the key from globs
SYSTEMD_PREFIX_FNMATCH_SINCE = 252  # systemd 252, path_glob_can_match(): --prefix is matched without braces
SYSTEMD_CREDENTIAL_SINCE = 252  # systemd 252 NEWS: the credential sysctl.extra (252, 257 measured)
SYSTEMD_NO_SPLIT_USR_SINCE = 255  # systemd 255 NEWS: no more support for an unmerged /usr, so no /lib/sysctl.d
SYSTEMD_SEMICOLON_UNTIL = 258  # systemd 259 parses by conf_file_read(), which knows '#' only (262 measured)
PROCPS_DASH_SINCE = (3, 3, 16)  # procps 3.3.16: ignore_failure; before, the dash was part of the key
PROCPS_GLOBS_SINCE = (4, 0, 0)  # procps 4.0.0 NEWS: "Add support for systemd glob patterns" (4.0.2 measured)
PROCPS_GLOB_EXCLUDES_SINCE = (4, 0, 5)  # procps 4.0.5, settinglist_findpath(): "-glob" excludes what it matches

MAX_BYTES = 1 << 20  # a sysctl.d file has a few kB; whatever is larger was not meant for a loader
MAX_LINKS = 40  # as the kernel (MAXSYMLINKS)
MAX_ALTERNATIVES = 256  # of one brace glob
MAX_GLOB = 255  # characters in one component: no name is longer (NAME_MAX), and a pattern of brackets takes time
MAX_REPORTED_LINES = 5  # malformed lines of one file: a file of garbage has thousands

Assignment = namedtuple("Assignment", "key value path line")
# kind: 'set' or 'exclude' ("-key" without a value). key: as written, without the leading '-'.
Line = namedtuple("Line", "kind key value path line ignore_failure")
# path: in its folder. target: where links lead to inside the root, None if nowhere. text: '' if there is none to read.
File = namedtuple("File", "path target text")
Folder = namedtuple("Folder", "target files")

_GLOB = re.compile(r"[*?\[]")  # GLOB_CHARS of systemd and procps: a brace alone makes no glob
_SPECIAL = re.compile(r"[*?\[{\\]")
_ODD_SEPARATORS = re.compile(r"//|/\./|/\.?$|^/|^\./")
_ESCAPED_SLASH = re.compile(r"(?<!\\)((?:\\\\)*)\\/")
_CONF_KEY = re.compile(r"net/ipv4/conf/")
_INTEGER = re.compile(r"\s*(-?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)(?:[ \t\n]|$)")
_SPACE = " \t\n\v\f\r"  # isspace(3)


# ---- keys ----------------------------------------------------------------------------------------------------------


def conf_key(device, name="rp_filter"):
    """The key of a device, a pattern, ``all`` or ``default``, in slash form."""
    return f"net/ipv4/conf/{device}/{name}"


def spell(key):
    """How a key in slash form is written in a file: dotted, or with slashes where a component has a dot."""
    return key if "." in key else key.replace("/", ".")


def swap_separators(key):
    """Slash form of a key as written: if its first separator is a dot, dots and slashes swap (both loaders)."""
    first = re.search(r"[/.]", key)
    if first and first.group() == ".":
        return key.translate({ord("."): "/", ord("/"): "."})
    return key


def normalise(key):
    """Slash form of a key as written, without empty components and without a leading slash (systemd 245)."""
    return _simplify(swap_separators(key))


def _simplify(path):
    if not _ODD_SEPARATORS.search(path):
        return path
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def canonical_glob(pattern):
    """The pattern with one-character brackets folded (``[l]xc*`` → ``lxc*``), so that spellings can be compared."""
    # Only characters that mean nothing else outside of brackets, and no dot, which would become a separator.
    return re.sub(r"\[([A-Za-z0-9_-])\]", r"\1", pattern)


def kernel_integer(value):
    """The number that proc_dointvec() reads from a value, or None where it refuses the value."""
    # It takes one number in C's notation and ignores what follows white space: '1 # strict' sets 1, '"1"' fails.
    match = _INTEGER.match(value)
    if not match or len(match.group(2)) > 20:  # proc_get_long() has room for 20 digits
        return None
    digits = match.group(2)
    number = int(digits, 16 if digits[:2] in ("0x", "0X") else 8 if digits[0] == "0" else 10)
    limit = 0x80000000 if match.group(1) else 0x7FFFFFFF
    if number > limit:
        return None
    return -number if match.group(1) else number


def _kernel_refuses(key, value):
    # Of all sysctls only net.ipv4.conf is known here to hold nothing but plain integers.
    return bool(_CONF_KEY.match(key)) and kernel_integer(value) is None


# ---- globs ---------------------------------------------------------------------------------------------------------

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


def _matcher(glob, period=True):
    """A compiled expression for one component of a glob, for the bytes of a name, as glibc matches it.

    period: a leading dot of the name needs a dot in the pattern, as in glob(3).
    """
    known = _compiled.get((glob, period))
    if known is None:
        if len(_compiled) > 10000:
            _compiled.clear()
        pattern = _translate(_to_bytes(glob)) if len(glob) <= MAX_GLOB else _NEVER
        if period and glob[:1] in ("*", "?", "["):
            pattern = b"(?!\\.)" + pattern
        known = _compiled[(glob, period)] = re.compile(b"(?:" + pattern + b")\\Z", re.DOTALL)
    return known


def glob_matches(glob, name):
    """Whether a glob of one component matches a name."""
    return bool(_matcher(glob).match(_to_bytes(name)))


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


def _components(glob):
    """What glob(3) looks for in each folder: (component, period)."""
    # "foo\\/bar" is "foo/bar" to it.
    return [(part, True) for part in _ESCAPED_SLASH.sub(r"\1/", glob).split("/")]


def _literal(text):
    """A glob that matches this text only."""
    return text.replace("\\", "\\\\")


def _expand_braces(glob):
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


def _to_bytes(text):
    return text.encode("utf-8", "surrogateescape")


# ---- lines ---------------------------------------------------------------------------------------------------------


def parse(text, path):
    """The lines of a file as today's systemd-sysctl reads them: (list of Line, list of problems)."""
    return _parse_systemd(text, path, SYSTEMD_SEMICOLON_UNTIL)


def _parse_systemd(text, path, version):
    comments = "#;" if version <= SYSTEMD_SEMICOLON_UNTIL else "#"
    # read_line() ends a line at NUL and, from 240, at CR too; an editor does not, and its numbers are reported.
    ends = re.compile("[\r\0]") if version >= 240 else re.compile("\0")
    lines, problems = [], []
    for number, row in enumerate(text.split("\n"), 1):
        for part in [piece.strip(" \t\r") for piece in ends.split(row)]:
            if not part or part[0] in comments:
                continue
            key, separator, value = part.partition("=")
            dash = version >= SYSTEMD_DASH_SINCE and part[0] == "-"
            if not separator and not (dash and version >= SYSTEMD_GLOBS_SINCE):
                problems.append(_malformed(path, number, part))
                continue
            key = (key[1:] if dash else key).strip(" \t\r")
            lines.append(
                Line(
                    "set" if separator else "exclude",
                    key,
                    value.strip(" \t\r") if separator else None,
                    path,
                    number,
                    dash,
                )
            )
    return lines, problems


def _parse_procps(text, path, version):
    lines, problems = [], []
    for number, row in enumerate(text.split("\n"), 1):
        text = row.partition("\0")[0]  # a C string ends there
        parsed = _procps_line(text) if version >= PROCPS_GLOBS_SINCE else _procps3_line(text, version)
        if parsed is None:
            continue
        kind, key, value, dash = parsed
        if kind is None:
            problems.append(_malformed(path, number, row))
        else:
            lines.append(Line(kind, key, value, path, number, dash))
    return lines, problems


def _procps_line(row):
    row = row.lstrip(_SPACE)
    if not row or row[0] in "#;":
        return None
    key, separator, value = row.partition("=")
    dash = key[:1] == "-"
    if not separator and not dash:
        return None, None, None, None
    # Unlike systemd, no space is stripped behind the dash.
    key = (key[1:] if dash else key).rstrip(_SPACE)
    if separator:
        return "set", key, value.strip(_SPACE), dash
    return "exclude", key, None, dash


def _procps3_line(row, version):
    row = row.rstrip(" \t\r").lstrip(" \t")
    if len(row) < 2 or row[0] in "#;":
        return None
    key, _separator, value = row.lstrip("=").partition("=")  # strtok(3) skips leading separators
    value = value.lstrip("\r").partition("\r")[0].lstrip(" \t")
    if not value:
        return None, None, None, None
    dash = version >= PROCPS_DASH_SINCE and key[:1] == "-"
    return "set", (key[1:] if dash else key).rstrip(" \t\r"), value, dash


def _malformed(path, number, text):
    return _problem(path, number, f"'{_excerpt(text)}' is no assignment; expected 'key = value'")


def _problem(path, number, text):
    return {"path": path, "line": number, "problem": text}


def _excerpt(text):
    text = text.strip()
    text = text if len(text) <= 60 else text[:60] + "..."
    return visible(text)


# ---- the tree ------------------------------------------------------------------------------------------------------


def read_tree(root="/", overlay=None):
    """Read all sysctl.d folders and /etc/sysctl.conf under ``root`` once.

    overlay: {path inside the root: text or None}, as if that file had this text, or did not exist.
    """
    reader = _Reader(root)
    folders = {path: reader.folder(path) for path in FOLDERS}
    tree = Tree(folders, reader.main_file(), reader.problems)
    return tree.with_overlay(overlay) if overlay else tree


class Tree:
    """Every candidate file of every folder: which of them count is each loader's own rule."""

    def __init__(self, folders, main, read_problems):
        self.folders = folders
        self.main = main
        self._read_problems = read_problems
        self._problems = None

    def files(self):
        """Every candidate file, in order of folders and names."""
        found = [entry for path in FOLDERS for _name, entry in sorted(self.folders[path].files.items())]
        return found + ([self.main] if self.main else [])

    def paths(self):
        return [entry.path for entry in self.files()]

    def target(self, path):
        """Where the file at a reported path really is, e.g. /etc/sysctl.conf for /etc/sysctl.d/99-sysctl.conf."""
        return next((entry.target for entry in self.files() if entry.path == path), None)

    @property
    def problems(self):
        """What could not be read, and lines that no loader can use: list of {path, line, problem}.

        Those with ``hides`` keep lines from us which a loader may see.
        """
        if self._problems is None:
            self._problems = list(self._read_problems)
            seen = set()
            for entry in self.files():
                if entry.text and entry.target not in seen:  # the link 99-sysctl.conf shows /etc/sysctl.conf twice
                    seen.add(entry.target)
                    self._problems.extend(_line_problems(entry))
        return self._problems

    def with_overlay(self, overlay):
        """The tree as it would be if the files had these texts, without reading it again."""
        folders = {path: Folder(folder.target, dict(folder.files)) for path, folder in self.folders.items()}
        main = self.main
        for given, text in overlay.items():
            parent, name = os.path.split(given)
            if parent in folders:  # /lib/sysctl.d may be /usr/lib/sysctl.d
                parent = folders[parent].target or parent
            path = os.path.join(parent, name)
            # What a link leads to changes with it.
            for folder in folders.values():
                for link, entry in folder.files.items():
                    if entry.target == path:
                        folder.files[link] = entry._replace(text=text or "", target=None if text is None else path)
            if main and (main.target == path or main.path == path):
                main = main._replace(text=text or "")
            if path == MAIN_FILE:
                main = None if text is None else File(path, path, text)
            for where, folder in folders.items():
                if parent == (folder.target or where) and name.endswith(".conf"):
                    if text is None:
                        folder.files.pop(name, None)
                    else:
                        folder.files[name] = File(where + "/" + name, path, text)
        problems = [problem for problem in self._read_problems if problem["path"] not in overlay]
        return Tree(folders, main, problems)


def _line_problems(entry):
    lines, problems = parse(entry.text, entry.path)
    for line in lines:
        key = normalise(line.key)
        if line.kind == "set" and _kernel_refuses(key, line.value):
            problems.append(
                _problem(
                    entry.path,
                    line.line,
                    f"the kernel refuses the value '{_excerpt(line.value)}' of '{_excerpt(line.key)}'; expected a "
                    "number",
                )
            )
        elif _CONF_KEY.match(key) and key.count("/") > 4 and "{" not in key:
            problems.append(
                _problem(
                    entry.path,
                    line.line,
                    f"'{_excerpt(line.key)}' is no key of a device; write a device whose name "
                    "has a dot with slashes, net/ipv4/conf/eth0.100/...",
                )
            )
    problems.sort(key=lambda problem: problem["line"])
    rest = len(problems) - MAX_REPORTED_LINES
    if rest > 0:
        problems = problems[:MAX_REPORTED_LINES] + [_problem(entry.path, None, f"{rest} more lines like these")]
    return problems


class _Reader:
    """Reads files under one root. Links stay inside: an absolute link begins again at the root, as in a chroot."""

    def __init__(self, root):
        self.root = os.path.abspath(root).rstrip("/")
        self.problems = []
        self.texts = {}

    def folder(self, path):
        try:
            target, info = self.resolve(path)
            if not stat.S_ISDIR(info.st_mode):
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            names = os.listdir(self.root + target)
        except OSError as error:
            if error.errno != errno.ENOENT:
                self.hidden(path, error.strerror, error)
            return Folder(None, {})
        return Folder(target, {name: self.file(path + "/" + name) for name in sorted(names) if name.endswith(".conf")})

    def main_file(self):
        try:
            _target, info = self.resolve(MAIN_FILE)
        except OSError as error:
            if error.errno != errno.ENOENT:
                self.hidden(MAIN_FILE, error.strerror, error)
            return None
        return self.file(MAIN_FILE) if stat.S_ISREG(info.st_mode) else None  # procps, PreloadSystem()

    def file(self, path):
        try:
            target, info = self.resolve(path)
        except OSError as error:
            if error.errno != errno.ENOENT:  # a link that leads nowhere is a way to mask a file
                self.hidden(path, error.strerror, error)
            return File(path, None, "")
        if stat.S_ISREG(info.st_mode):
            if target not in self.texts:
                self.texts[target] = self.read(path, target)
            return File(path, target, self.texts[target])
        if target != "/dev/null":  # the other way to mask
            kind = next((word for test, word in _KINDS if test(info.st_mode)), "special file")
            text = f"is a {kind}; expected a file, or a link to /dev/null to mask others of that name"
            self.problems.append(_problem(path, None, text))
        return File(path, target, "")

    def read(self, path, target):
        try:
            # It was a regular file a moment ago; should it be a FIFO by now, then this must not wait for a writer.
            handle = os.open(self.root + target, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            with os.fdopen(handle, "rb") as stream:
                size = os.fstat(handle).st_size
                data = stream.read(MAX_BYTES + 1)
        except OSError as error:
            self.hidden(path, error.strerror, error)
            return ""
        if data is None:
            self.hidden(path, "is no file any more")
            return ""
        if len(data) > MAX_BYTES:
            data = data[: data.rfind(b"\n", 0, MAX_BYTES) + 1]
            self.hidden(path, f"has {size} bytes; only the first {len(data)} were read")
        return data.decode("utf-8", "surrogateescape")

    def resolve(self, path):
        """(path without links, stat) of what ``path`` inside the root leads to; raises OSError."""
        pending, done, links = path.split("/")[::-1], [], 0
        info = os.lstat(self.root + "/")
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                del done[-1:]
                continue
            here = "/".join([self.root] + done + [name])
            info = os.lstat(here)
            if not stat.S_ISLNK(info.st_mode):
                done.append(name)
                continue
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            where = os.readlink(here)
            if where.startswith("/"):
                done = []
            pending.extend(where.split("/")[::-1])
        if stat.S_ISLNK(info.st_mode) or not done:  # it ended in '..' or at the root
            info = os.stat("/".join([self.root] + done) or "/")
        return "/" + "/".join(done), info

    def hidden(self, path, text, error=None):
        """A problem that hides lines from us which a loader may see; ``denied`` if permissions are the reason."""
        denied = {"denied": True} if error and error.errno in (errno.EACCES, errno.EPERM) else {}
        self.problems.append(dict(_problem(path, None, text), hides=True, **denied))


_KINDS = (
    (stat.S_ISDIR, "folder"),
    (stat.S_ISFIFO, "FIFO"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)


# ---- the loaders ---------------------------------------------------------------------------------------------------

# target: the key that is written, in slash form, None if none. name: the text that keeps globs off that key.
# lead: what stands before a key in the name that a glob makes of it.
_Option = namedtuple("_Option", "line target name is_glob lead")
_Glob = namedtuple("_Glob", "position matcher lead line")


class _Loader:
    """What both loaders share: explicit keys against globs, globs against globs."""

    def __init__(self, tree, version, options):
        self.tree = tree
        self.version = version
        self._applied = []
        self._explicit = {}
        self._named = {option.name for option in options}
        self._globs = []
        self._candidates = {}
        for position, option in enumerate(options):
            if option.line.kind == "exclude" or not option.target or _kernel_refuses(option.target, option.line.value):
                continue  # a glob over folders, net.*.conf.…, may be refused for one key and not for the next
            self._applied.append(option.line)
            if option.is_glob:
                self._globs.append((position, option))
            else:
                self._explicit[option.target] = (position, option.line)

    def winner(self, key, prefix_run=False):
        """The assignment that decides ``key`` (slash form), or None where no line does."""
        position, line = self._explicit.get(key, (-1, None))
        parts = [""] + key.split("/")
        around = (tuple(parts[:-2]), parts[-1], prefix_run)
        candidates = self._candidates.get(around)
        if candidates is None:
            candidates = self._candidates[around] = self._find(*around)
        name = _to_bytes(parts[-2])
        for glob in candidates:
            if glob.position < position:
                break
            if glob.matcher.match(name) and not (
                self._spared(glob.lead + key) or _kernel_refuses(key, glob.line.value)
            ):
                line = glob.line
                break
        return None if line is None else _assignment(line)

    def assignments(self):
        """Every assignment that is applied, in order of application; globs as written."""
        return [_assignment(line) for line in self._applied]

    def _spared(self, name):
        """Whether a key is named anywhere, be it to set it or to exclude it: then no glob touches it."""
        return name in self._named

    def _alternatives(self, glob, prefix_run):
        """What a glob stands for: lists of (component, period), one for each alternative of its braces."""
        return [_components(glob)]

    def _find(self, head, leaf, prefix_run):
        """The globs that can match head/<any>/leaf, newest first, each with the matcher for <any>."""
        around = list(head) + [None, leaf]
        found = []
        for position, option in self._globs:
            for alternative in self._alternatives(option.target, prefix_run):
                parts = [("", True)] + alternative
                if len(parts) == len(around) and all(
                    name is None or _matcher(part, period).match(_to_bytes(name))
                    for (part, period), name in zip(parts, around)
                ):
                    found.append(_Glob(position, _matcher(*parts[-2]), option.lead, option.line))
        return found[::-1]


class SystemdSysctl(_Loader):
    """What systemd-sysctl of a version would set. ``prefix_run``: as udev runs it, --prefix= one new device.

    named: the files of its command line; then it reads neither the tree nor the credential. credential: the File of
    ``sysctl.extra``, which comes after all files. prefixes: its ``--prefix=`` options, None if there is none.
    """

    def __init__(self, tree, version=257, named=None, credential=None, prefixes=None):
        self.files = self._files(tree, version) if named is None else list(named)
        if named is None and credential and version >= SYSTEMD_CREDENTIAL_SINCE:
            self.files.append(credential)
        # One in /proc/sys/… matches no key at all (252, 257 measured).
        self.prefixes = [normalise(prefix) for prefix in prefixes] if prefixes else None
        #: Lines that count for nothing, each with the identical earlier one that holds its place.
        self.repeated = []
        #: Lines that make it end with an error, after it has applied all others: {path, line, problem}.
        self.failures = []
        table = OrderedDict()
        for entry in self.files:
            lines, problems = _parse_systemd(entry.text, entry.path, version)
            self.failures.extend(problems)
            for line in lines:
                # Before 245 keys were not simplified.
                key = normalise(line.key) if version >= SYSTEMD_GLOBS_SINCE else swap_separators(line.key)
                standing = table.get(key)
                # An identical repeat leaves the first where it was; another value moves the key to the end.
                if standing is None or standing.value != line.value:
                    table.pop(key, None)
                    table[key] = line
                elif line.kind == "set":
                    self.repeated.append((_assignment(line), _assignment(standing)))
        options = []
        for key, line in table.items():
            is_glob = version >= SYSTEMD_GLOBS_SINCE and bool(_GLOB.search(key))
            options.append(_Option(line, _simplify(key), key, is_glob, ""))
            if line.kind == "set" and not line.ignore_failure and _kernel_refuses(key, line.value):
                self.failures.append(_problem(line.path, line.line, "the kernel refuses the value"))
        super().__init__(tree, version, options)

    def globs_without_dash(self):
        """The globs that would fail the unit of systemd 245 where they match nothing."""
        return [_assignment(option.line) for _position, option in self._globs if not option.line.ignore_failure]

    @staticmethod
    def _files(tree, version):
        folders = FOLDERS if version < SYSTEMD_NO_SPLIT_USR_SINCE else FOLDERS[:-1]
        # FOREACH_DIRENT leaves hidden files out; procps does not.
        return [entry for entry in _chosen(tree, folders) if not os.path.basename(entry.path).startswith(".")]

    def winner(self, key, prefix_run=False):
        # udev's rule (99-systemd.rules) runs for devices, and has KERNEL!="lo".
        if prefix_run and key.split("/")[-2:-1] in (["all"], ["default"], ["lo"]):
            return None
        if self.prefixes is None:
            return super().winner(key, prefix_run)
        depths = {prefix.count("/") + 1 for prefix in self.prefixes if (key + "/").startswith(prefix + "/")}
        found = [super(SystemdSysctl, self).winner(key, depth) for depth in sorted(depths)]
        found = [assignment for assignment in found if assignment]
        order = [(line.path, line.line) for line in self._applied]
        return max(found, key=lambda each: order.index((each.path, each.line))) if found else None

    def _alternatives(self, glob, prefix_run):
        """prefix_run: False, the number of components of the prefix, or True for all but the last of the glob."""
        if not prefix_run or self.version < SYSTEMD_PREFIX_FNMATCH_SINCE:
            return [_components(alternative) for alternative in _expand_braces(glob)]
        # fnmatch(3) with the components of the prefix; what is left goes to glob(3), if it still is a glob.
        parts = glob.split("/")
        depth = len(parts) - 1 if prefix_run is True else prefix_run
        known = [(part if _GLOB.search(part) else _literal(part), False) for part in parts[:depth]]
        rest = "/".join(parts[depth:])
        if not rest:
            return [known]
        return [
            known + _components(alternative)
            for alternative in (_expand_braces(rest) if _GLOB.search(rest) else [_literal(rest)])
        ]


class Procps(_Loader):
    """What ``sysctl --system`` of a version of procps would set; with ``named`` files, ``sysctl -p FILE``."""

    def __init__(self, tree, version=(4, 0, 4), named=None):
        version = tuple(version)
        globs = version >= PROCPS_GLOBS_SINCE
        self.files = self._files(tree, version) if named is None else list(named)
        self._exclude_globs = []
        options = []
        for entry in self.files:
            for line in _parse_procps(entry.text, entry.path, version)[0]:
                # setting_new() takes a second dash off.
                key = line.key[1:] if globs and line.key[:1] == "-" else line.key
                written = swap_separators(key)
                lead = written[: len(written) - len(written.lstrip("/"))]
                is_glob = globs and bool(_GLOB.search(written))
                target = os.path.normpath(written).lstrip("/")
                # A folder, say stat(2) and glob(3), unless glob(3) has only to put what it found before the last name.
                if written.endswith(("/", "/.")) and not (is_glob and not _GLOB.search(target.rpartition("/")[2])):
                    target = None
                if is_glob and line.kind == "exclude" and version >= PROCPS_GLOB_EXCLUDES_SINCE:
                    self._exclude_globs.append(_matcher(written, period=False))
                options.append(_Option(line, target, written, is_glob, lead))
        super().__init__(tree, version, options)

    @staticmethod
    def _files(tree, version):
        folders = FOLDERS if version >= (3, 3, 17) else FOLDERS_RUN_FIRST
        chosen = []
        for entry in _chosen(tree, folders):
            # Preload() hands even the name of a file to glob(3), with braces.
            parent, name = os.path.split(entry.path)
            siblings = tree.folders[parent].files
            matched = (
                [
                    siblings[sibling]
                    for alternative in _expand_braces(name)
                    for sibling in sorted(siblings, key=os.fsencode)
                    if _matcher(alternative).match(_to_bytes(sibling))
                ]
                if _SPECIAL.search(name)
                else []
            )
            # It returns at the first that it cannot open.
            chosen.extend(itertools.takewhile(lambda file: file.target is not None, matched or [entry]))
        return chosen + ([tree.main] if tree.main else [])

    def _spared(self, name):
        return name in self._named or any(matcher.match(_to_bytes(name)) for matcher in self._exclude_globs)


def _chosen(tree, folders):
    """The files that count, in order: of a name the one in the foremost folder, sorted bytewise by name."""
    chosen = {}
    for path in folders:
        for name, entry in tree.folders[path].files.items():
            chosen.setdefault(name, entry)
    return [chosen[name] for name in sorted(chosen, key=os.fsencode)]


def _assignment(line):
    return Assignment(line.key, line.value, line.path, line.line)

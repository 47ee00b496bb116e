# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folders and files under one root, with their links."""

import errno
import os
import stat
from collections import namedtuple

from ansible_collections.nodeward.cilium.plugins.module_utils.sysctl_d.keys import CONF_KEY, kernel_refuses, normalise
from ansible_collections.nodeward.cilium.plugins.module_utils.sysctl_d.lines import excerpt, parse, problem_at

# procps 3.3.17 NEWS: "Match systemd directory order"; before, /run went first (procps 3.3.12 to 3.3.16, measured).
FOLDERS = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")
FOLDERS_RUN_FIRST = ("/run/sysctl.d", "/etc/sysctl.d") + FOLDERS[2:]
MAIN_FILE = "/etc/sysctl.conf"

MAX_BYTES = 1 << 20  # a sysctl.d file has a few kB; whatever is larger was not meant for a loader
MAX_LINKS = 40  # as the kernel (MAXSYMLINKS)
MAX_REPORTED_LINES = 5  # malformed lines of one file: a file of garbage has thousands

# path: in its folder. target: where links lead to inside the root, None if nowhere. text: '' if there is none to read.
File = namedtuple("File", "path target text")
Folder = namedtuple("Folder", "target files")


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
        if line.kind == "set" and kernel_refuses(key, line.value):
            problems.append(
                problem_at(
                    entry.path,
                    line.line,
                    f"the kernel refuses the value '{excerpt(line.value)}' of '{excerpt(line.key)}'; expected a number",
                )
            )
        elif CONF_KEY.match(key) and key.count("/") > 4 and "{" not in key:
            problems.append(
                problem_at(
                    entry.path,
                    line.line,
                    f"'{excerpt(line.key)}' is no key of a device; write a device whose name "
                    "has a dot with slashes, net/ipv4/conf/eth0.100/...",
                )
            )
    problems.sort(key=lambda problem: problem["line"])
    rest = len(problems) - MAX_REPORTED_LINES
    if rest > 0:
        problems = problems[:MAX_REPORTED_LINES] + [problem_at(entry.path, None, f"{rest} more lines like these")]
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
            self.problems.append(problem_at(path, None, text))
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
        self.problems.append(dict(problem_at(path, None, text), hides=True, **denied))


_KINDS = (
    (stat.S_ISDIR, "folder"),
    (stat.S_ISFIFO, "FIFO"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)

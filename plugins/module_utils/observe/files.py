# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small text files and folders under one root, read safely: bounded, and never anything but a regular file."""

import errno
import os
import stat

MAX_BYTES = 1 << 20


def root_helps(error):
    """Whether an OSError says that root is needed, and this is not root."""
    return error.errno in (errno.EACCES, errno.EPERM) and os.geteuid() != 0


class Reader:
    """Reads each file once. What exists and cannot be read is noted in ``unread``.

    Links are followed inside the root: an absolute link begins again at the root, as in a chroot.
    """

    def __init__(self, root="/"):
        self.root = root.rstrip("/")
        self.unread = []
        self._texts = {}

    def names(self, folder):
        """The names in a folder, sorted bytewise; none if there is no such folder."""
        try:
            return sorted(os.listdir(self.root + self.target(folder)), key=os.fsencode)
        except OSError as error:
            self._note(folder, error)
            return []

    def exists(self, path):
        return os.path.exists(self.root + self.target(path))

    def is_masked(self, path):
        """Whether there is an empty file or a link to /dev/null: how systemd and udev mask a file of that name."""
        if self.target(path) == "/dev/null":
            return True
        try:
            info = os.stat(self.root + self.target(path))
        except OSError:
            return False
        return stat.S_ISREG(info.st_mode) and not info.st_size

    def is_executable(self, path):
        try:
            return bool(os.stat(self.root + self.target(path)).st_mode & 0o111)
        except OSError:
            return False

    def target(self, path):
        """Where the path leads to inside the root, links resolved; a link that leads nowhere is not an error."""
        for _unused in range(40):
            parts = path.split("/")
            for depth in range(2, len(parts) + 1):
                here = "/".join(parts[:depth])
                if os.path.islink(self.root + here):
                    where = os.readlink(self.root + here)
                    rest = "/".join(parts[depth:])
                    joined = os.path.join(os.path.dirname(here), where)
                    path = os.path.normpath("/" + joined.lstrip("/") + ("/" + rest if rest else ""))
                    break
            else:
                return path
        return path

    def text(self, path):
        """The text of a regular file; None if there is none."""
        if path not in self._texts:
            self._texts[path] = self._read(path)
        return self._texts[path]

    def lines(self, path):
        """(number, line) of every line; none if there is no such file."""
        # Not splitlines(): it also ends a line at characters that no editor counts as one.
        return list(enumerate((self.text(path) or "").rstrip("\n").split("\n"), 1)) if self.text(path) else []

    def _read(self, path):
        try:
            handle = os.open(self.root + self.target(path), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            with os.fdopen(handle, "rb") as stream:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    return None
                return stream.read(MAX_BYTES).decode("utf-8", "surrogateescape")
        except OSError as error:
            self._note(path, error)
            return None

    def _note(self, path, error):
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            entry = {"what": path, "why": error.strerror, "needs_root": root_helps(error)}
            if entry not in self.unread:
                self.unread.append(entry)

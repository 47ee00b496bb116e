# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a transaction: read to the byte, put in place at once or not at all, kept before they are changed."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections import namedtuple

from ansible_collections.nodeward.cilium.plugins.module_utils import sysctl_d
from ansible_collections.nodeward.cilium.plugins.module_utils.write import conflicts

#: A file of the transaction: its text before and after, None where there is none.
Change = namedtuple("Change", "path before after")
#: Where a file is kept as it was before a line in it was first disabled.
BACKUPS = "/var/backups/nodeward.cilium"


class TransactionError(Exception):
    """Nothing was changed, or what was changed was reverted; the message says which."""

    def __init__(self, message, **details):
        super().__init__(message)
        self.details = details


def backup_of(path):
    return os.path.join(BACKUPS, path.strip("/").replace("/", "%") + ".orig")


def read_text(path):
    """A file's text to the byte, None where there is none."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return stream.read()
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise TransactionError(f"'{path}' cannot be read: {error.strerror}") from error


def install(path, text):
    """Put a file in place at once or not at all; None takes it away.

    Not AnsibleModule.atomic_move: on failure that ends the module or raises a bare Exception, and nothing is undone.
    """
    folder, name = os.path.split(path)
    if text is None:
        if os.path.lexists(path):
            os.unlink(path)
        if folder == BACKUPS:
            with contextlib.suppress(OSError):  # another file is still kept there
                os.rmdir(folder)
        return
    if not os.path.isdir(folder):
        # A backup may be of a file that not everybody may read.
        os.makedirs(folder, 0o700 if folder == BACKUPS else 0o755)
    # Whatever stops us, no loader reads a hidden file without the ending.
    handle, temporary = tempfile.mkstemp(prefix=f".{name[:200]}.", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(handle)
        if os.path.lexists(path):
            there = os.stat(path)
            shutil.copystat(path, temporary)  # the mode, and what SELinux calls it
            os.chown(temporary, there.st_uid, there.st_gid)
            os.utime(temporary)
        else:
            os.chmod(temporary, 0o644)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def restored(tree):
    """The files in which a line was disabled, with the line back in force."""
    targets = sorted({entry.target for entry in tree.files() if entry.text and conflicts.MARK in entry.text})
    texts = [(target, read_text(target)) for target in targets]
    return [Change(target, text, conflicts.restore(text)) for target, text in texts]


def obsolete_backups(dropin_path):
    """The backups of files in which no line is disabled any more, to be removed."""
    targets = sorted({entry.target for entry in sysctl_d.read_tree("/").files() if entry.text})
    backups = [backup_of(target) for target in targets if target != dropin_path]
    texts = [(backup, read_text(backup)) for backup in backups]
    return [Change(backup, text, None) for backup, text in texts if text is not None]

# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the audit does with files and processes, so that a fleet never stands in memory at once."""

import hashlib
import json
import multiprocessing
import multiprocessing.connection
import os
import shutil
import tempfile

from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.terms import TIME, AuditError


class Nodes:
    """The nodes in a file, one a line: each pass over them reads it anew."""

    def __init__(self, path, count):
        self._path = path
        self._count = count

    def __len__(self):
        return self._count

    def __iter__(self):
        with open(self._path, encoding="ascii") as lines:
            for line in lines:
                yield json.loads(line)


def write_lines(nodes, path):
    with open(path, "w", encoding="ascii") as lines:
        for node in nodes:
            lines.write(json.dumps(node, separators=(",", ":"), allow_nan=False) + "\n")


def write_pieces(pieces, path):
    with open(path, "w", encoding="utf-8", errors="replace", newline="") as file:
        file.writelines(pieces)


def in_processes(jobs, at_once=0):
    """Run each job in a process of its own, whose memory goes with it; as many at once as there are processors."""
    at_once = at_once or len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("fork")
    waiting = list(enumerate(jobs))[::-1]
    running = {}
    with tempfile.TemporaryDirectory(prefix="nodeward-audit-") as folder:
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    number, job = waiting.pop()
                    told = os.path.join(folder, str(number))
                    process = context.Process(target=_run, args=(job, told))
                    process.start()
                    running[process.sentinel] = process, told
                for sentinel in multiprocessing.connection.wait(list(running)):
                    process, told = running.pop(sentinel)
                    process.join()
                    if process.exitcode != 0:
                        raise AuditError(_read(told) or f"a process of the audit ended with {process.exitcode}")
        finally:
            for process, _told in running.values():
                process.terminate()
                process.join()


def _run(job, told):
    try:
        job()
    # Whatever it is, the process that waits is to tell of it.
    except BaseException as error:
        with open(told, "w", encoding="utf-8", errors="replace") as file:
            file.write(str(error) if isinstance(error, AuditError) else f"{type(error).__name__}: {error}")
        os._exit(1)
    # Not as a child of Ansible's worker would end, which flushes what it has in common with it.
    os._exit(0)


def _read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def digest(path):
    """Of all that a document says beside its times; None where there is no such file."""
    found = hashlib.sha256()
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                found.update(TIME.sub("", line).encode("utf-8", "replace"))
    except FileNotFoundError:
        return None
    return found.digest()


def put(source, path):
    """Put a file in place in one step: whoever reads sees the old one or the new one, whole."""
    folder, name = os.path.split(path)
    # No reader of such folders takes a name that begins with a dot.
    handle, fresh = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    os.close(handle)
    try:
        shutil.copyfile(source, fresh)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(fresh, 0o666 & ~mask)
        os.replace(fresh, path)
    except BaseException:
        os.unlink(fresh)
        raise

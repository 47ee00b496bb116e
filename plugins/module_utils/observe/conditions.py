# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the conditions and assertions of a unit hold, as far as files and the kernel's command line show it."""

import os
import re
import shlex

#: Files there come and go: what one says now is not what it says at boot.
VOLATILE = ("/run/", "/var/run/", "/tmp/", "/var/tmp/", "/dev/", "/proc/", "/sys/")
#: The vendor's own condition of systemd-sysctl.service; the loader could write nothing if it failed.
ALWAYS = ("/proc/sys", "/proc/sys/net")


def evaluate(unit, reader, cmdline=""):
    """(True, False or None if not known, the deciding setting) of all Condition…= and Assert…= of a unit.

    systemd.unit(5): all must hold, of those with "|" at least one; an empty value resets all of a kind.
    """
    unknown = None
    for kind in ("Condition", "Assert"):
        standing = []
        for setting in unit.settings:
            if setting.section == "Unit" and setting.key.startswith(kind):
                standing = standing + [setting] if setting.value else []
        triggers = [setting for setting in standing if setting.value.startswith("|")]
        results = [(_holds(setting, kind, reader, cmdline), setting) for setting in standing]
        failed = [setting for result, setting in results if result is False and setting not in triggers]
        any_of = [(result, setting) for result, setting in results if setting in triggers]
        if any_of and all(result is False for result, _setting in any_of):
            failed.append(any_of[-1][1])
        if failed:
            return False, failed[0]
        open_ones = [setting for result, setting in results if result is None and setting not in triggers]
        if any_of and not any(result for result, _setting in any_of):
            open_ones += [setting for result, setting in any_of if result is None]
        unknown = unknown or (open_ones[0] if open_ones else None)
    return (None, unknown) if unknown else (True, None)


def _holds(setting, kind, reader, cmdline):
    value = setting.value
    if value.startswith("|"):
        value = value[1:].lstrip()
    negated = value.startswith("!")
    if negated:
        value = value[1:].lstrip()
    result = _test(setting.key[len(kind) :], value, reader, cmdline)
    return result if result is None else result != negated


def _test(what, value, reader, cmdline):
    if what == "KernelCommandLine":
        return _on_command_line(value, cmdline)
    if not value.startswith("/") or "%" in value:
        return None
    path = os.path.normpath(value)
    if what == "PathIsReadWrite" and path in ALWAYS:
        return True
    if (path + "/").startswith(VOLATILE):
        return None
    if what == "PathExists":
        return reader.exists(path)
    if what == "PathIsReadWrite":
        # At boot / may be read-only still: a file that exists is not known to be writable then.
        return None if reader.exists(path) else False
    if what == "FileNotEmpty":
        text = reader.text(path)
        return None if text is None and reader.exists(path) else bool(text)
    if what == "DirectoryNotEmpty":
        return bool([name for name in reader.names(path) if not name.startswith(".")])
    return None


def _on_command_line(value, cmdline):
    """A word, with or without a value; with "=" the whole word (systemd.unit(5))."""
    try:
        words = shlex.split(cmdline)
    except ValueError:
        words = cmdline.split()
    if "=" in value:
        return value in words
    return any(re.split("=", word, maxsplit=1)[0] == value for word in words)

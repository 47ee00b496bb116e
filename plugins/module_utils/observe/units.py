# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd's units write to rp_filter: systemd-sysctl.service with its drop-ins, and every other service."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import re

from ansible_collections.nodeward.cilium.plugins.module_utils import sysctl_d
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import commands, conditions
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.unit_files import VENDOR_FOLDERS, UnitFiles

SYSCTL_UNIT = "systemd-sysctl.service"
CREDENTIAL = "sysctl.extra"
# systemd.exec(5): what the service manager itself received, then the stores.
CREDENTIAL_FOLDERS = ("/run/credentials/@system", "/etc/credstore", "/run/credstore", "/usr/lib/credstore")
ENCRYPTED_FOLDERS = (
    "/run/credentials/@encrypted",
    "/etc/credstore.encrypted",
    "/run/credstore.encrypted",
    "/usr/lib/credstore.encrypted",
)
EXEC_BEFORE, EXEC, EXEC_AFTER = "ExecStartPre", "ExecStart", "ExecStartPost"
EXEC_ORDER = (EXEC_BEFORE, EXEC, EXEC_AFTER)
#: systemd.exec(5): with these a unit sees another /proc/sys, or may not write it.
CONFINING = (
    "RootDirectory",
    "RootImage",
    "PrivateNetwork",
    "NetworkNamespacePath",
    "ProtectKernelTunables",
    "User",
    "DynamicUser",
    "ReadOnlyPaths",
    "InaccessiblePaths",
    "BindPaths",
    "BindReadOnlyPaths",
    "TemporaryFileSystem",
    "PrivateUsers",
    "CapabilityBoundingSet",
    "ProtectProc",
    "ProcSubset",
    "SystemCallFilter",
    "MountAPIVFS",
    "ReadOnlyDirectories",
    "InaccessibleDirectories",
    "EnvironmentFile",
)
HARMLESS = (
    "true",
    "false",
    "echo",
    "printf",
    "test",
    "sleep",
    "logger",
    "mkdir",
    "rmdir",
    "touch",
    "chmod",
    "chown",
    "cat",
    "ls",
    "rm",
    "cp",
    "mv",
    "ln",
    "modprobe",
    "udevadm",
    "systemd-tmpfiles",
    "systemd-notify",
    "install",
)
#: Units whose program and its configuration other rooms read; their own Exec lines are read here all the same.
READ_ELSEWHERE = (
    "NetworkManager-dispatcher.service",
    "NetworkManager.service",
    "cron.service",
    "crond.service",
    "networkd-dispatcher.service",
    "networking.service",
    "rc-local.service",
    "rc.local.service",
    "tuned.service",
    "ufw.service",
    "wicked.service",
    "wickedd.service",
)
# systemd.timer(5).
_PERIODIC = ("OnCalendar", "OnUnitActiveSec", "OnUnitInactiveSec")
_AFTER_BOOT = ("OnBootSec", "OnStartupSec", "OnActiveSec")
_CONF_KEY = re.compile(r"net/ipv4/conf/([^/]+)/rp_filter\Z")
_SPECIFIER = re.compile(r"%(.)")


class Units(object):
    """The units under the root of a Reader. ``release``: of the running kernel, for the specifier %v."""

    def __init__(self, reader, release=None):
        self.reader = reader
        self.release = os.uname()[2] if release is None else release
        self.files = UnitFiles(reader)

    def active(self, name):
        """Whether a unit will run, as its files say: not masked, and pulled in at boot or started by what is."""
        return self.files.active(name)

    # ---- systemd-sysctl.service ------------------------------------------------------------------------------------

    def sysctl_unit(self, cmdline=""):
        """Whether systemd-sysctl.service runs, and what it runs: {state, path, line, text, steps, credential}.

        A step is {"optional", "path", "line", "text"} with one of: {"loader": "systemd_sysctl" or "procps", "files",
        "prefixes"}; {"names", "value"}, a direct write; {"unknown": True}. A ``disabled`` unit runs if it is restarted.
        """
        unit = self.files.load(SYSCTL_UNIT)
        if unit is None:
            return _described("masked", None, [], None)
        if unit.masked:
            return _described("masked", _mask(unit.path, self.reader), [], None)
        steps = self._steps(unit)
        credential = self._credential(unit)
        state, place = self._state(unit, cmdline)
        return _described(state, place, steps, credential)

    def _state(self, unit, cmdline):
        holds, setting = conditions.evaluate(unit, self.reader, cmdline)
        if holds is False:
            return "skipped", _place(setting)
        if not unit.all("Service", EXEC):
            emptied = [each for each in unit.settings if each.key == EXEC]
            return "skipped", _place(emptied[-1]) if emptied else {"path": unit.path, "line": None, "text": None}
        confining = [each for each in unit.all("Service", *CONFINING) if each.value.lower() not in ("no", "false", "0")]
        confining += unit.all("Service", "ExecCondition")
        if holds is None or confining:
            return "unknown", _place(setting or confining[0])
        if not self.files.pulled_in(SYSCTL_UNIT):
            masked = self.files.masked_links.get(SYSCTL_UNIT)
            return "disabled", _mask(masked[0], self.reader) if masked else None
        changed = [
            each for each in unit.all("Service", *EXEC_ORDER) if os.path.dirname(each.path) not in VENDOR_FOLDERS
        ]
        return "runs", _place(changed[0]) if changed else None

    def _steps(self, unit):
        steps = []
        for key in EXEC_ORDER:
            for setting in unit.all("Service", key):
                for text, optional in self._commands(setting, unit):
                    place = dict(_place(setting), optional=optional)
                    steps.extend(dict(step, **place) for step in self._effects(text))
        return steps

    def _effects(self, text):
        """The steps of one command, without their place."""
        steps = []
        for write in commands.writes(text, shell_text=False):
            # An interface of which the unit cannot know is a variable that is not replaced.
            if not write.certain or commands.INTERFACE in (write.names or ()):
                steps.append({"unknown": True})
            elif write.loader:
                files = None if write.file is None else [write.file]
                if steps and files and steps[-1].get("files") and steps[-1]["loader"] == write.loader:
                    steps[-1]["files"] += files  # one command: all its files make one table
                else:
                    steps.append({"loader": write.loader, "files": files, "prefixes": list(write.prefixes)})
            else:
                steps.append({"names": write.names, "value": write.value})
        if not steps and any(self._may_write(path) for path in commands.programs(text, shell_text=False)):
            steps.append({"unknown": True})
        return steps

    def _may_write(self, path):
        """Whether a program may write rp_filter: a script with a line that does, or a program that cannot be read."""
        if os.path.basename(path) in HARMLESS:
            return False
        text = self.reader.text(path)
        if text is None:
            return self.reader.exists(path)
        return "\0" in text[:1024] or bool(commands.writes(text))

    def _commands(self, setting, unit):
        """(text without its prefixes, optional) of each command of an Exec line."""
        for command in re.split(r"\s;(?=\s|$)", self._specified(setting.value, unit)):
            prefixes, text = re.match(r"\s*([-@:+!|]*)(.*)", command, re.DOTALL).groups()
            if "@" in prefixes:  # the second word is only the name that the program is shown under
                text = re.sub(r"\A(\S+)\s+\S+", r"\1", text)
            if text.strip():
                yield text.strip(), "-" in prefixes

    def _specified(self, value, unit):
        """A value with systemd's specifiers replaced, as far as they are known (systemd.unit(5), "Specifiers")."""
        stem = unit.name.rpartition(".")[0]
        prefix, _at, instance = stem.partition("@")
        known = {"v": self.release, "n": unit.name, "N": stem, "p": prefix, "i": instance, "I": instance, "%": "%%"}
        if "@" in stem and not instance:
            known = {key: text for key, text in known.items() if key not in "inN"}
        return _SPECIFIER.sub(lambda match: known.get(match.group(1), match.group()), value)

    def _credential(self, unit):
        """The credential sysctl.extra: {"path", "line", "text", "unknown"}; None if the unit gets none."""
        found = self._loaded_credential(unit) or self._imported_credential(unit)
        if found:
            return found
        for setting in reversed(unit.all("Service", "SetCredentialEncrypted", "SetCredential")):
            name, _colon, text = setting.value.partition(":")
            if name.strip() == CREDENTIAL:
                unknown = setting.key != "SetCredential" or bool(re.search(r"%[^%]", text))
                return _credential(setting.path, setting.line, None if unknown else _unescaped(text))
        return None


# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd's units write to rp_filter: systemd-sysctl.service with its drop-ins, and every other service."""

import os
import re

from ansible_collections.nodeward.cilium.plugins.module_utils import sysctl_d, values
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import commands, conditions, scripts
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.unit_files import VENDOR_FOLDERS, UnitFiles

SYSCTL_UNIT = "systemd-sysctl.service"
TRANSIENT_FOLDER = "/run/systemd/transient"
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
_SPECIFIER = re.compile(r"%(.)")
_PIECE = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|(?P<end>\s;(?=\s|\Z))|.", re.DOTALL)


class Units:
    """The units under the root of a Reader. ``release``: of the running kernel, for the specifier %v."""

    def __init__(self, reader, release=None):
        self.reader = reader
        self.release = os.uname()[2] if release is None else release
        self.files = UnitFiles(reader)
        self._node = scripts.Node(reader)

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
        load = _load_setting(unit)
        if load and self._lacks_credential(load, unit):
            return "skipped", _place(load)
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
        for command in _apart(self._specified(setting.value, unit)):
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

    def _loaded_credential(self, unit):
        """LoadCredential= comes before ImportCredential=, and that before SetCredential= (257, measured)."""
        setting = _load_setting(unit)
        if setting is None:
            return None
        path = self._specified(setting.value.partition(":")[2].strip() or CREDENTIAL, unit)
        encrypted = setting.key != "LoadCredential"
        if "%" in path:
            return _credential(setting.path, setting.line, None)
        if path.startswith("/"):
            return self._credential_file(path, encrypted)
        for folder in CREDENTIAL_FOLDERS:
            found = self._credential_file(f"{folder}/{path}", encrypted)
            if found:
                return found
        return self._encrypted(path) if encrypted else None

    def _lacks_credential(self, load, unit):
        """Whether the unit fails because the file of LoadCredential= is missing (252, 257 measured)."""
        path = self._specified(load.value.partition(":")[2].strip(), unit)
        if not path.startswith("/") or "%" in path or self._hidden(path):
            return False
        settings = unit.all("Service", "SetCredential", "SetCredentialEncrypted")
        return not any(each.value.partition(":")[0].strip() == CREDENTIAL for each in settings)

    def _imported_credential(self, unit):
        for setting in unit.all("Service", "ImportCredential"):
            pattern = setting.value.partition(":")[0]
            # ImportCredential=GLOB:NEWNAME, from systemd 257, gives it another name.
            if ":" in setting.value or not sysctl_d.glob_matches(pattern, CREDENTIAL):
                continue
            for folder in CREDENTIAL_FOLDERS:
                found = self._credential_file(f"{folder}/{CREDENTIAL}")
                if found:
                    return found
            return self._encrypted(CREDENTIAL)
        return None

    def _encrypted(self, name):
        paths = [f"{folder}/{name}" for folder in ENCRYPTED_FOLDERS]
        return next((_credential(path, None, None) for path in paths if self.reader.exists(path)), None)

    def _credential_file(self, path, encrypted=False):
        text = self.reader.text(path)
        if text is None and not self._hidden(path):
            return None
        return _credential(path, None, None if encrypted else text)

    def _hidden(self, path):
        """Whether a file exists that cannot be read, or may exist in a folder that cannot be read."""
        return self.reader.exists(path) or any(entry["what"] == path for entry in self.reader.unread)

    # ---- every other service ---------------------------------------------------------------------------------------

    def writers(self, cmdline=""):
        """The services that write rp_filter or run a loader, in the order in which they start at boot."""
        found = []
        for name in self.files.services():
            unit = self.files.load(name)
            if name == SYSCTL_UNIT or unit is None or unit.masked or _generated(unit):
                continue
            if os.path.dirname(unit.path) == TRANSIENT_FOLDER and not self.files.triggers(name):
                continue  # systemd-run(1): it is gone at the next boot, and no timer starts it again
            writes = [write for key in EXEC_ORDER for write in self._unit_writes(unit, key)]
            if writes:
                runs = self._runs(unit, cmdline)
                found.append((unit, [_writer(write, runs) for write in writes]))
        return [write for _unit, writes in _in_start_order(found) for write in writes]

    def _unit_writes(self, unit, key):
        for setting in unit.all("Service", key):
            for text, _optional in self._commands(setting, unit):
                for write in commands.writes(text, interface=("%i", "%I", "%n"), shell_text=False):
                    yield from self._writes(write, _place(setting))
                if unit.name in READ_ELSEWHERE:
                    continue
                for path in commands.programs(text, shell_text=False):
                    yield from self._script_writes(path, text)

    def _script_writes(self, path, text, calls=scripts.MAX_CALLS):
        """The writes of a script, and of those that it calls. None is certain: a script decides which lines run."""
        script = self._node.script(path)
        if not script:
            return
        rows = script.split("\n")
        for write in commands.writes(script):
            number = write.line or 1
            row = rows[number - 1] if number <= len(rows) else text
            place = {"path": path, "line": number, "text": row.strip()[:200]}
            yield from self._writes(write._replace(certain=False), place)
        if calls > 1:
            for program in commands.programs(script):
                if program != path:
                    yield from self._script_writes(program, text, calls - 1)

    def _writes(self, write, place):
        names = write.names
        if names and commands.INTERFACE in names:
            names = None  # a template that no link gives an instance
        base = dict(place, names=names, value=write.value, sets=write.sets, certain=write.certain, runs=write.runs)
        if write.certain and write.file is not None:
            for each in self._file_writes(write):
                yield dict(place, certain=write.certain, runs=None, **each)
            return
        if write.prefixes:
            base.update(names=names if write.certain else None, runs=None, certain=False)
        yield base

    def _file_writes(self, write):
        """The lines for rp_filter of a file that a command names."""
        entry = sysctl_d.File(write.file, write.file, self.reader.text(write.file) or "")
        for line in sysctl_d.parse(entry.text, entry.path)[0]:
            name = values.name_of(line.key)
            if name is not None and line.kind == "set":
                text = f"{line.key} = {line.value}"
                place = {"path": line.path, "line": line.line, "text": text[:200]}
                sets = sysctl_d.kernel_integer(line.value)
                yield dict(place, names=[name], value=line.value, sets=sets)

    def _runs(self, unit, cmdline):
        """The unit's part of a writer: by, unit, when, active, before_loader."""
        holds, _setting = conditions.evaluate(unit, self.reader, cmdline)
        active = self.files.active(unit.name)
        if active and holds is not True:
            active = holds
        links = self.files.links.get(unit.name, [])
        devices = [link for link in links if ".device." in link]
        when = set()
        if self.files.pulled_in(unit.name) and len(devices) < max(len(links), 1):
            when.add("boot")
        if devices or unit.name.endswith("@.service"):
            when.add("interface")
        timers = [self.files.load(each) for each in self.files.triggers(unit.name)]
        late = bool(timers) and "boot" not in when
        for timer in timers:
            if timer.name.endswith(".timer") and not timer.all("Timer", *_PERIODIC):
                when.add("boot")
            else:
                when.add("periodic")
                if timer.all("Timer", *_AFTER_BOOT):
                    when.add("boot")
        when = when or {"boot"}
        if _restarts_with_loader(unit):
            when.add("restart")
        if unit.name.endswith("@.service"):
            active = None  # a rule, a script or a person may start an instance
        dependencies = unit.last("Unit", "DefaultDependencies")
        own_order = bool(dependencies) and dependencies.value.lower() in ("no", "false", "0", "off")
        found = {
            "by": "timer" if "periodic" in when and any(each.name.endswith(".timer") for each in timers) else "unit",
            "unit": unit.name,
            "when": sorted(when),
            "active": active,
            "before_loader": own_order and SYSCTL_UNIT in unit.words("Unit", "Before"),
        }
        return dict(found, late=True) if late else found


def _apart(text):
    """The commands of an Exec line: a word ";" ends one, and in quotes it is a part of a word (systemd.service(5))."""
    found = [[]]
    for piece in _PIECE.finditer(text):
        if piece.group("end"):
            found.append([])
        else:
            found[-1].append(piece.group())
    return ["".join(parts) for parts in found]


def _restarts_with_loader(unit):
    """Whether a restart of systemd-sysctl.service restarts it as well, after it (systemd.unit(5); 257, measured)."""
    kind, remains = unit.last("Service", "Type"), unit.last("Service", "RemainAfterExit")
    stays = not kind or kind.value != "oneshot" or remains and remains.value.lower() in ("yes", "true", "1", "on")
    bound = SYSCTL_UNIT in unit.words("Unit", "PartOf", "Requires", "BindsTo", "Requisite")
    return bool(stays and bound and SYSCTL_UNIT not in unit.words("Unit", "Before"))


def _described(state, place, steps, credential):
    place = place or {"path": None, "line": None, "text": None}
    return dict(place, state=state, steps=steps, credential=credential)


def _place(setting):
    return {"path": setting.path, "line": setting.line, "text": setting.text}


def _mask(path, reader):
    text = "-> /dev/null" if reader.target(path) == "/dev/null" else "an empty file"
    return {"path": path, "line": None, "text": text}


def _credential(path, line, text):
    return {"path": path, "line": line, "text": text, "unknown": text is None}


def _load_setting(unit):
    """The LoadCredential= of the credential sysctl.extra; None if there is none. The last stands (252, measured)."""
    settings = unit.all("Service", "LoadCredential", "LoadCredentialEncrypted")
    named = [setting for setting in settings if setting.value.partition(":")[0].strip() == CREDENTIAL]
    return named[-1] if named else None


def _unescaped(text):
    """SetCredential= takes C escapes (systemd.exec(5))."""
    text = text.replace("%%", "%")
    plain = {"n": "\n", "t": "\t", "r": "\r", "s": " ", "\\": "\\", '"': '"', "'": "'"}

    def character(match):
        code = match.group(1)
        if code[0] == "x":
            return chr(int(code[1:], 16))
        return chr(int(code, 8)) if code.isdigit() else plain.get(code, match.group())

    return re.sub(r"\\(x[0-9a-fA-F]{2}|[0-7]{3}|.)", character, text)


def _writer(write, runs):
    members = dict(write, **runs)
    place = [members.pop(member) for member in ("by", "path", "line", "text")]
    return scripts.writer(*place, **members)


def _generated(unit):
    """Whether systemd-sysv-generator made it of an init script, which is read as such."""
    return any(each.key == "SourcePath" and "init.d/" in each.value for each in unit.settings)


def _in_start_order(found):
    """Sorted by After= and Before= among themselves; those before the loader first, otherwise by name."""
    waiting = sorted(found, key=lambda each: (not each[1][0]["before_loader"], each[0].name))
    after = {unit.name: set(unit.words("Unit", "After")) for unit, _writes in waiting}
    for unit, _writes in waiting:
        for other in unit.words("Unit", "Before"):
            after.setdefault(other, set()).add(unit.name)
    ordered = []
    while waiting:
        names = {unit.name for unit, _writes in waiting}
        ready = next((each for each in waiting if not (after[each[0].name] - {each[0].name}) & names), waiting[0])
        waiting.remove(ready)
        ordered.append(ready)
    return ordered

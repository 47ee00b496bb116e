# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What sets rp_filter at boot or from time to time: ufw, tuned, tmpfiles.d, init scripts, rc.local, cron and others."""

import fnmatch
import os
import re
from collections import OrderedDict

from ansible_collections.nodeward.cilium.plugins.module_utils import devices, horizons, sysctl_d, values
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import scripts

#: tuned's consts.py: the strongest folder first; without "profiles" up to 2.23.
TUNED_FOLDERS = ("/etc/tuned/profiles", "/etc/tuned", "/usr/lib/tuned/profiles", "/usr/lib/tuned")
CRON_UNITS = ("cron.service", "crond.service", "cronie.service", "fcron.service", "bcron.service", "anacron.service",
              "anacron.timer")  # fmt: skip
ANACRONTAB = "/etc/anacrontab"
CRON_SPOOLS = ("/var/spool/cron/crontabs", "/var/spool/cron", "/var/spool/cron/tabs")
CRON_FOLDERS = tuple("/etc/cron." + period for period in ("hourly", "daily", "weekly", "monthly", "yearly"))
RC_LOCAL = ("/etc/rc.local", "/etc/rc.d/rc.local")
GENERATORS = ("/usr/lib/systemd/system-generators/", "/lib/systemd/system-generators/")
UNIT_FOLDERS = ("/etc/systemd/system/", "/run/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/")

#: tmpfiles.d(5): strongest first; the same name in a weaker folder is masked.
TMPFILES_FOLDERS = ("/etc/tmpfiles.d", "/run/tmpfiles.d", "/usr/local/lib/tmpfiles.d", "/usr/lib/tmpfiles.d")
CLOUD_INIT_FOLDER = "/var/lib/cloud/scripts/per-boot"
#: cloud-init's own files, then what a cloud handed to this instance.
CLOUD_CONFIG_FOLDER = "/etc/cloud/cloud.cfg.d"
CLOUD_CONFIGS = ("/etc/cloud/cloud.cfg", "/var/lib/cloud/instance/cloud-config.txt")
CLOUD_CONFIGS += ("/var/lib/cloud/instance/vendor-cloud-config.txt",)
#: Its stage that runs bootcmd; it has another name from 24.3.
CLOUD_INIT_UNITS = ("cloud-init.service", "cloud-init-network.service")

_TMPFILES_WRITE = re.compile(
    r"\s*[\"']?w[-+!=~^]*[\"']?\s+[\"']?/+proc/+sys/+net/+ipv4/+conf/+(?P<name>[^/\s]+)/+rp_filter[\"']?"
    r"(?:\s+\S+){4}\s+(?P<value>\S.*)"
)
# anacrontab(5): period, delay, name, command.
_ANACRON_LINE = re.compile(r"\s*(?:@\w+|\d+)\s+\d+\s+\S+\s+(?P<rest>\S.*)")
_RUN_PARTS_OF = re.compile(r"\brun-parts\b(?:\s+-\S+)*\s+(/[^\s;&|)]+)")
_CRON_LINE = re.compile(r"\s*(?:(?P<nick>@\w+)|(?:\S+\s+){4}\S+)\s+(?P<rest>\S.*)")
_RUN_PARTS = re.compile(r"[A-Za-z0-9_-]+\Z")
_PROFILE = re.compile(r"[A-Za-z0-9_.-]+\Z")


def kernel(node):
    """Kernel parameters ``sysctl.KEY=VALUE``, which the kernel (5.8 and later) applies before it starts systemd."""
    found = []
    for number, line in node.reader.lines("/proc/cmdline"):
        for word in line.split():
            key, _equals, value = word.partition("=")
            name = scripts.name_of(key[len("sysctl.") :]) if re.match(r"sysctl[./]", key) else None
            if name is None:
                continue
            known = {"names": [name], "value": value, "sets": sysctl_d.kernel_integer(value), "when": ["boot"]}
            # An interface may not be there yet.
            known.update(certain=name in devices.RESERVED, active=True, before_loader=True)
            found.append(scripts.writer("kernel", "/proc/cmdline", number, word, **known))
    return found


def tmpfiles(node):
    """tmpfiles.d(5): its lines of type ``w`` write to a file that exists.

    systemd-tmpfiles-setup.service and systemd-sysctl.service have no order between them, so none of it is certain.
    """
    chosen = {}
    for folder in TMPFILES_FOLDERS:
        for name in node.reader.names(folder):
            if name.endswith(".conf"):
                chosen.setdefault(name, f"{folder}/{name}")
    found = []
    for name in sorted(chosen):
        for number, line in node.reader.lines(chosen[name]):
            match = _TMPFILES_WRITE.match(line)
            if match:
                value = match.group("value").strip().strip("\"'")
                sets = sysctl_d.kernel_integer(value)
                known = {"names": [match.group("name")], "value": value, "sets": sets, "when": ["boot"], "active": True}
                found.append(scripts.writer("tmpfiles", chosen[name], number, line, certain=False, **known))
    return found


def wireguard(node):
    """wg-quick(8) runs the PreUp and PostUp lines of an interface, where %i is its name."""
    found = []
    for name in node.reader.names("/etc/wireguard"):
        interface, dot, ending = name.rpartition(".")
        unit = f"wg-quick@{interface}.service"
        for number, line in node.reader.lines("/etc/wireguard/" + name) if dot and ending == "conf" else ():
            run = re.match(r"\s*(?:PreUp|PostUp)\s*=\s*(\S.*)", line, re.IGNORECASE)
            if run:
                known = {"unit": unit, "when": ["boot"], "active": node.active(unit)}
                command = run.group(1).replace("%i", interface)
                found += node.commands("wg-quick", "/etc/wireguard/" + name, command, number, **known)
    return found


def cloud_init(node):
    """cloud-init runs these scripts at each boot, late."""
    found = []
    for name in node.reader.names(CLOUD_INIT_FOLDER):
        path = f"{CLOUD_INIT_FOLDER}/{name}"
        active = node.active("cloud-final.service") if node.reader.is_executable(path) else False
        found += node.file("cloud-init", path, unit="cloud-final.service", when=["boot"], active=active)
    return found + _bootcmd(node)


def _bootcmd(node):
    """The commands below ``bootcmd:``, which run at each boot. Which of several lists holds is not followed."""
    names = [name for name in node.reader.names(CLOUD_CONFIG_FOLDER) if name.endswith(".cfg")]
    disabled = node.reader.exists("/etc/cloud/cloud-init.disabled")
    known = {"unit": CLOUD_INIT_UNITS[0], "when": ["boot"]}
    known["active"] = False if disabled else node.active(*CLOUD_INIT_UNITS)
    found = []
    for path in CLOUD_CONFIGS[:1] + tuple(f"{CLOUD_CONFIG_FOLDER}/{name}" for name in names) + CLOUD_CONFIGS[1:]:
        inside = False
        for number, line in node.reader.lines(path):
            if re.match(r"[^\s#-]", line):  # a key of its own
                inside = re.match(r"bootcmd\s*:", line)
            if inside and not line.lstrip().startswith("#"):
                command = re.sub(r"\A(?:bootcmd\s*:)?\s*(?:-\s+)*|[\[\],]", " ", line).strip()
                writes = node.commands("cloud-init", path, command, number, **known)
                found += [dict(each, certain=False) for each in writes]
    return found


def ufw(node):
    """ufw(8) applies a file of its own when it starts (IPT_SYSCTL in /etc/default/ufw)."""
    enabled = True
    for _number, line in node.reader.lines("/etc/ufw/ufw.conf"):
        named = re.match(r"\s*ENABLED\s*=\s*[\"']?(\w+)", line)
        if named:
            enabled = named.group(1).lower() == "yes"
    settings = node.reader.lines("/etc/default/ufw")
    path = "" if settings else "/etc/ufw/sysctl.conf"  # without IPT_SYSCTL it applies no file
    for _number, line in settings:
        named = re.match(r"\s*IPT_SYSCTL\s*=\s*[\"']?([^\"'\s]+)", line)
        if named:
            path = named.group(1)
    active = node.active("ufw.service") if enabled else False
    found = []
    for number, line in node.reader.lines(path) if path else ():
        assigned = _assignment(line)
        if assigned:
            known = {"unit": "ufw.service", "when": ["boot"], "active": active}
            found.append(scripts.writer("ufw", path, number, line, **dict(assigned, **known)))
    return found


def _assignment(line):
    key, equals, value = line.partition("=")
    name = scripts.name_of(key) if equals and not line.lstrip().startswith(("#", ";")) else None
    words = re.split(r"[\s#;]", value.strip(), maxsplit=1)
    if name is None or not words[0]:
        return None
    return {"names": [name], "value": words[0], "sets": sysctl_d.kernel_integer(words[0])}


def tuned(node):
    """The active profile of tuned(8) with those that it includes: the [sysctl] lines that hold, then the scripts.

    ``reapplied`` on a writer: tuned applies /run/sysctl.d, /etc/sysctl.d and /etc/sysctl.conf after its own lines
    (plugin_sysctl.py, tuned-main.conf(5): reapply_sysctl), so a line of these files for the same key wins. These lines
    follow those of the profile and are marked as well.
    """
    main = _tuned_main(node)
    folders = TUNED_FOLDERS
    if main.get("profile_dirs"):
        folders = tuple(reversed([each.strip() for each in main["profile_dirs"].split(",") if each.strip()]))
    profiles, seen = [], []
    for _number, line in node.reader.lines("/etc/tuned/active_profile"):
        for name in line.split():
            _load_profile(node, name, folders, profiles, seen)
    lines, called = OrderedDict(), []
    sets_any = [_merge_profile(node, path, lines, called) for path in profiles]
    reapplies = main.get("reapply_sysctl", "1").lower() in ("1", "yes", "true", "on", "y", "t")
    excluded = [each.strip() for each in main.get("reapply_sysctl_exclude", "").split(",") if each.strip()]
    known = {"unit": "tuned.service", "when": ["boot"], "active": node.active("tuned.service")}
    found = []
    for key, (path, number, line, value, certain) in lines.items():
        name = scripts.name_of(re.sub(r"\$\{[^}]*\}", "$", key))
        members = dict(known, certain=certain and "$" not in value and value[:1] not in ("<", ">"))
        # A variable in the key may be any interface; ">1" sets 1 only if the running value is smaller.
        members.update(names=None if "$" in name else [name], value=value, sets=sysctl_d.kernel_integer(value))
        members["certain"] = members["certain"] and members["names"] is not None
        if reapplies and not _is_excluded(key, excluded):
            members["reapplied"] = True
        found.append(scripts.writer("tuned", path, number, line, **members))
    if reapplies and any(sets_any):
        found += _reapplied(node, excluded, known)
    for path in called:
        active = known["active"] if node.reader.is_executable(path) else False
        found += node.file("tuned", path, **dict(known, active=active))
    return found


def _reapplied(node, excluded, known):
    """The lines of sysctl.d that tuned applies again, in its order (plugin_sysctl.py), whatever the profile sets.

    It takes a key literally: a glob, or a key that begins with "-", is not applied.
    """
    chosen = {}
    for folder in horizons.REAPPLIED_FOLDERS:
        for name in node.reader.names(folder):
            if name.endswith(".conf"):
                chosen.setdefault(name, folder + name)
    found = []
    for path in [chosen[name] for name in sorted(chosen)] + [sysctl_d.MAIN_FILE]:
        for number, line in node.reader.lines(path):
            key, _equals, value = [part.strip() for part in line.partition("=")]
            name, sets = values.name_of(key), sysctl_d.kernel_integer(value)
            is_set = name is not None and sets is not None and not set(key) & set("*?[{")
            if key.startswith(("#", ";")) or not is_set or _is_excluded(key, excluded):
                continue
            # A file below /run is gone after a boot, unless whoever wrote it writes it again.
            members = dict(known, names=[name], value=value, sets=sets, certain=not path.startswith("/run/"))
            found.append(scripts.writer("tuned", path, number, line, reapplied=True, **members))
    return found


def _is_excluded(key, excluded):
    return any(fnmatch.fnmatchcase(key, each) for each in excluded)


def _tuned_main(node):
    found = {}
    for _number, line in node.reader.lines("/etc/tuned/tuned-main.conf"):
        key, equals, value = [part.strip() for part in line.partition("=")]
        if equals and not key.startswith("#"):
            found[key] = value.partition(" #")[0].strip()
    return found


def _load_profile(node, name, folders, profiles, seen):
    """Adds the file of a profile after those that it includes (tuned's loader.py)."""
    name = name.lstrip("-")
    if name in seen or not _PROFILE.match(name) or name in (".", ".."):
        return
    seen.append(name)
    path = next(
        (each for each in (f"{folder}/{name}/tuned.conf" for folder in folders) if node.reader.lines(each)), None
    )
    if path is None:
        return
    for section, _number, line in scripts.sections(node.reader, path):
        included = re.match(r"\s*include\s*=\s*(.+)", line)
        if included and section == "main":
            for other in re.split(r"[,;\s]+", included.group(1).strip()):
                _load_profile(node, other, folders, profiles, seen)
    profiles.append(path)


def _merge_profile(node, path, lines, called):
    """An option of a later profile replaces the same option of an earlier one; scripts add up (tuned's merger.py).

    Returns whether the profile has a [sysctl] section that is enabled, whatever it sets.
    """
    units, sets_any = OrderedDict(), False
    for section, number, line in scripts.sections(node.reader, path):
        key, equals, value = [part.strip() for part in line.partition("=")]
        if equals:
            value = re.split(r"\s#", value, maxsplit=1)[0].strip().strip("\"'")
            units.setdefault(section, OrderedDict())[key] = (path, number, line, value)
    for section, options in units.items():
        settings = {key: row[3] for key, row in options.items()}
        kind = settings.get("type", section)
        if settings.get("enabled", "1").lower() in ("0", "false", "no"):
            continue
        certain = not any(key in settings for key in ("cpuinfo_regex", "uname_regex"))
        if kind == "sysctl":
            sets_any = True
            if settings.get("replace", "0").lower() in ("1", "true", "yes"):
                lines.clear()
            for key, row in options.items():
                if scripts.name_of(re.sub(r"\$\{[^}]*\}", "$", key)) is not None:
                    lines[key] = row + (certain,)
        elif kind == "script" and settings.get("script"):
            folder = os.path.dirname(path)
            called.append(os.path.normpath(
                os.path.join(folder, settings["script"].replace("${i:PROFILE_DIR}", folder))
            ))  # fmt: skip
    return sets_any


def rc_local(node):
    """systemd-rc-local-generator(8) starts it at boot if it is executable."""
    found = []
    for path in RC_LOCAL:
        if node.reader.target(path) in [node.reader.target(each) for each in RC_LOCAL[: RC_LOCAL.index(path)]]:
            continue
        active = _generated(node, "systemd-rc-local-generator", "rc-local.service")
        active = active if node.reader.is_executable(path) else False
        found += node.file("rc.local", path, unit="rc-local.service", when=["boot"], active=active)
    return found


def _generated(node, generator, unit):
    """Whether a unit that a generator makes will run."""
    if any(node.reader.is_masked(folder + unit) for folder in UNIT_FOLDERS[:2]):
        return False
    return True if any(node.reader.exists(folder + generator) for folder in GENERATORS) else node.active(unit)


def init_d(node):
    """systemd-sysv-generator(8): scripts with a start link in a runlevel, if no unit of systemd has their name."""
    started = set()
    for folder in [f"{parent}/rc{level}.d" for parent in ("/etc", "/etc/rc.d") for level in "S2345"]:
        for name in node.reader.names(folder):
            if re.match(r"S\d\d", name):
                started.add(os.path.basename(node.reader.target(f"{folder}/{name}")))
    found, seen = [], set()
    for folder in ("/etc/init.d", "/etc/rc.d/init.d"):
        for name in node.reader.names(folder):
            path = f"{folder}/{name}"
            if node.reader.target(path) in seen or name == "rc.local":
                continue
            seen.add(node.reader.target(path))
            unit = name[: -len(".sh")] + ".service" if name.endswith(".sh") else name + ".service"
            if any(node.reader.exists(each + unit) or node.reader.is_masked(each + unit) for each in UNIT_FOLDERS):
                continue  # systemd runs that unit instead, as on Debian for procps
            active = False
            if name in started and node.reader.is_executable(path):
                active = _generated(node, "systemd-sysv-generator", unit)
            found += node.file("init.d", path, unit=unit, when=["boot"], active=active)
    return found


def cron(node):
    """crontab(5), anacrontab(5), the folders of run-parts(8), and the crontabs of the users."""
    active = node.active(*CRON_UNITS)
    found = []
    found += _crontab(node, "/etc/crontab", active, user_field=True)
    tables = ["/etc/crontab", ANACRONTAB]
    for name in node.reader.names("/etc/cron.d"):
        tables.append("/etc/cron.d/" + name)
        found += _crontab(node, tables[-1], _taken(node, name, active), user_field=True)
    for number, line in node.reader.lines(ANACRONTAB):
        match = _ANACRON_LINE.match(line)
        if match:
            found += node.commands("cron", ANACRONTAB, match.group("rest"), number, when=["periodic"], active=active)
    for folder in CRON_SPOOLS:
        for name in node.reader.names(folder):
            found += _crontab(node, f"{folder}/{name}", active, user=name)
    named = [folder for table in tables for folder in _folders_of(node, table)]
    for folder in CRON_FOLDERS + tuple(sorted(set(named) - set(CRON_FOLDERS))):
        for name in node.reader.names(folder):
            path = f"{folder}/{name}"
            runs = _taken(node, name, active) if node.reader.is_executable(path) else False
            found += node.file("cron", path, when=["periodic"], active=runs)
    return found


def _folders_of(node, table):
    """The folders whose scripts a table runs by run-parts(8)."""
    rows = [line for _number, line in node.reader.lines(table) if not line.lstrip().startswith("#")]
    return [folder.rstrip("/") for row in rows for folder in _RUN_PARTS_OF.findall(row)]


def _taken(node, name, active):
    """Debian passes over names with other characters; elsewhere only some endings are passed over."""
    if _RUN_PARTS.match(name):
        return active
    if node.reader.exists("/etc/debian_version") or name.startswith(".") or name.endswith(("~", ",")):
        return False
    return active and None


def _crontab(node, path, active, user_field=False, user="root"):
    found = []
    for number, line in node.reader.lines(path):
        match = _CRON_LINE.match(line)
        if line.lstrip().startswith("#") or not match or re.match(r"\s*[A-Za-z_]\w*\s*=", line):
            continue
        command, who = match.group("rest"), user
        if user_field:
            who, _space, command = command.partition(" ") if " " in command else command.partition("\t")
        command = re.split(r"(?<!\\)%", command.strip(), maxsplit=1)[0]  # what follows is its standard input
        when = ["boot"] if match.group("nick") == "@reboot" else ["periodic"]
        # Another user than root can write it only by a program that changes the user.
        runs = active if who == "root" or not active else None
        found += node.commands("cron", path, command, number, when=when, active=runs)
    return found

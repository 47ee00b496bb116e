# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What reads the drop-in on this node and what overrides it: both loaders, the unit, udev's rule, all other writers."""

from ansible_collections.nodeward.cilium.plugins.module_utils import dropin, sysctl_d, values
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import files as node_files
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import filter as observe_filter
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import scripts, udev, units
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import writers as other_writers
from ansible_collections.nodeward.cilium.plugins.module_utils.text import printable
from ansible_collections.nodeward.cilium.plugins.module_utils.unit_run import UnitRun, is_plain
from ansible_collections.nodeward.cilium.plugins.module_utils.write import conflicts, files
from ansible_collections.nodeward.cilium.plugins.module_utils.write.files import Change, TransactionError

#: Behind 99-systemd.rules, whose RUN it takes back.
UDEV_RULE = udev.UDEV_RULE


class Environment:
    """The loaders and the other writers of one node, as the request's options make them."""

    def __init__(self, request, run_command, find_writers=None):
        self.request = request
        self.run_command = run_command
        self.find_writers = find_writers or other_writers.find
        self.warnings = []
        self._check_loaders()
        self.reader = node_files.Reader("/")
        self.services = units.Units(self.reader)
        self.unit = self.services.sysctl_unit(observe_filter.kernel_command_line(self.reader))

    def _check_loaders(self):
        loader = observe_filter.systemd_loader(self.run_command)
        procps = observe_filter.procps_loader(self.run_command)
        self.procps_version = procps.version if procps else None
        self.version = loader.version if loader and loader.version else sysctl_d.SYSTEMD_GLOBS_SINCE
        if self.request.apply != "never" and self.request.state == "present":
            if loader is None:
                raise TransactionError(
                    f"systemd-sysctl is not installed (looked for {', '.join(observe_filter.SYSTEMD_SYSCTL)}), so "
                    "nothing would read the drop-in at boot or for a new device. Install systemd, or say apply=never "
                    "to write the file alone"
                )
            if self.version < sysctl_d.SYSTEMD_GLOBS_SINCE and self.request.udev == "never":
                raise TransactionError(
                    f"systemd-sysctl {self.version} knows no globs (they came with systemd "
                    f"{sysctl_d.SYSTEMD_GLOBS_SINCE}), so it would ignore the lines for Cilium's devices. Update "
                    "systemd, let a rule of udev do it (udev=auto), or say apply=never to write the file alone"
                )
            if self.procps_version and self.procps_version < sysctl_d.PROCPS_GLOBS_SINCE:
                self.warnings.append(
                    f"procps {'.'.join(str(part) for part in self.procps_version)} knows no globs: 'sysctl --system' "
                    "skips the lines for Cilium's devices, and those of others that would filter them"
                )

    def loaders(self, tree):
        """Name → resolver of a tree, for each that reads it on this node."""
        loaders = {conflicts.SYSTEMD: sysctl_d.SystemdSysctl(tree, self.version)}
        if self.procps_version:
            loaders[conflicts.PROCPS] = sysctl_d.Procps(tree, self.procps_version)
        if self.unit["state"] not in ("masked", "disabled", "skipped") and not is_plain(self.unit):
            loaders[conflicts.UNIT] = UnitRun(self.unit, tree, self.version, self.reader, self.procps_version)
        return loaders

    def given_all(self, tree):
        """Loader → the value that it sets `all` to."""
        lines = {name: loader.winner(sysctl_d.conf_key("all")) for name, loader in self.loaders(tree).items()}
        numbers = {name: sysctl_d.kernel_integer(line.value) for name, line in lines.items() if line}
        return {name: values.normal(number) for name, number in numbers.items() if number is not None}

    def writers(self, unit_run, applying):
        """(every other writer of rp_filter, as the fact ``other_writers`` holds them; warnings)."""
        warnings = []
        running = observe_filter.running_units(self.run_command) if applying else frozenset()
        # As udev's rules will be: the collection's own one takes programs of other rules away.
        rules = udev.Rules(self.reader, {change.path: change.after for change in self.udev_files()})
        found = list(self.find_writers(self.reader, self.services, self.version, running, rules=rules)[0])
        found += [_unpredicted(place) for place in (unit_run.unknown if unit_run else ())]
        for problem in self.reader.unread:
            warnings.append(
                f"{printable(problem['what'])} cannot be read ({problem['why']}); a writer that overrides the drop-in "
                "could stand there unseen"
            )
        if self.unit["state"] in ("masked", "disabled", "skipped") and self.request.state == "present":
            place = self.unit["path"] or conflicts.UNIT
            warnings.append(
                f"{conflicts.UNIT} is {self.unit['state']} ({printable(place)}), so at boot nothing reads the drop-in "
                "but udev's run for each new interface"
            )
        return found, warnings

    def _wants_udev_rule(self):
        without_globs = self.version < sysctl_d.SYSTEMD_GLOBS_SINCE
        return self.request.udev == "always" or (self.request.udev == "auto" and without_globs)

    def udev_files(self):
        """The rule that keeps udev from running systemd-sysctl for Cilium's devices, or its removal."""
        standing = files.read_text(UDEV_RULE)
        version = None if standing is None else dropin.format_of(standing)
        if version is not None and version > dropin.FORMAT:
            raise TransactionError(
                f"'{UDEV_RULE}' has format {version}, and this version of the collection knows formats up to "
                f"{dropin.FORMAT}. Nothing was changed. Update the collection on the controller"
            )
        if self.request.state == "present" and self._wants_udev_rule():
            return [Change(UDEV_RULE, standing, udev_rule(self.request.options.exempt))]
        if version is not None:
            return [Change(UDEV_RULE, standing, None)]
        return []


def udev_rule(exempt):
    """The text of the rule. A bridge is none of Cilium's devices, whatever its name."""
    # := clears the list, and no later rule can add to it (udev(7)). RUN:="" does too, but `udevadm verify` calls an
    # empty value invalid; a builtin starts no process, and path_id says nothing about a virtual device (seen with
    # systemd 247, 252 and 257).
    return """%s
# udev runs systemd-sysctl for every new interface (99-systemd.rules), which sets again what Cilium switched off. This
# clears the programs that udev would run for Cilium's interfaces, also those of later rules; Cilium's values stand.
ACTION=="add", SUBSYSTEM=="net", ENV{DEVTYPE}!="bridge", KERNEL=="%s", RUN{builtin}:="path_id"
""" % (dropin.HEADER, "|".join(exempt))


def _unpredicted(place):
    """A command of systemd-sysctl.service whose writes are not known, as a writer."""
    known = {"unit": conflicts.UNIT, "when": ["boot"], "certain": False, "active": True}
    return scripts.writer("unit", place["path"], place["line"], place["text"] or "a credential", **known)

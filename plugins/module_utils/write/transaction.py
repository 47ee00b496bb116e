# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only writer on a node: the drop-in and the running values, as one transaction.

observe → plan → (check mode stops here) → write the drop-in → observe again → apply → observe; newcomers get another
round. Running values are written directly, never by a loader: a loader writes everybody's keys, and where a glob
stands it puts the filter on a healthy device for a moment before it takes it off again.
"""

import contextlib
import errno
import fnmatch
import os
import re
import shutil
import tempfile
from collections import namedtuple

from ansible_collections.nodeward.cilium.plugins.module_utils import devices, dropin, sysctl_d, values
from ansible_collections.nodeward.cilium.plugins.module_utils.endpoints import name_of
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import agent, files, scripts, udev, units, writers
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import filter as observe_filter
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import routes as observe_routes
from ansible_collections.nodeward.cilium.plugins.module_utils.runner import CommandError
from ansible_collections.nodeward.cilium.plugins.module_utils.text import printable, printable_tree
from ansible_collections.nodeward.cilium.plugins.module_utils.unit_run import UnitRun, is_plain
from ansible_collections.nodeward.cilium.plugins.module_utils.write import conflicts, lockout, plan
from ansible_collections.nodeward.cilium.plugins.module_utils.write.lockout import LockoutError

CONF = "/proc/sys/net/ipv4/conf"
#: sysctl.d(5); /lib is the same as /usr/lib where they are merged.
SYSCTL_FOLDERS = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")
ROUNDS = 3

#: What is asked for. ``breaks_pods`` and ``allow_lockout`` are the consents; ``apply`` is auto, always or never;
#: ``conflicts`` fail, disable or report; ``udev`` auto, always or never; ``edited`` fail, restore or adopt.
Request = namedtuple(
    "Request", "state path options apply header breaks_pods allow_lockout ssh_connection conflicts udev edited"
)
Request.__new__.__defaults__ = (plan.EDITED_FAIL,)
#: A file of the transaction: its text before and after, None where there is none.
Change = namedtuple("Change", "path before after")

#: Behind 99-systemd.rules, whose RUN it takes back.
UDEV_RULE = udev.UDEV_RULE
#: Where a file is kept as it was before a line in it was first disabled.
BACKUPS = "/var/backups/nodeward.cilium"


class TransactionError(Exception):
    """Nothing was changed, or what was changed was reverted; the message says which."""

    def __init__(self, message, **details):
        super().__init__(message)
        self.details = details


class Node:
    """The running kernel's values: read and written here, one file a key."""

    def read(self, name):
        with open(os.path.join(CONF, name, "rp_filter")) as value:
            return values.normal(value.read())

    def write(self, name, value):
        with open(os.path.join(CONF, name, "rp_filter"), "w") as running:
            running.write(f"{value}\n")


class Transaction:
    """One run of the writer."""

    def __init__(self, request, iproute, run_command, node=None, find_writers=None):
        self.request = request
        self.find_writers = find_writers or writers.find
        self.iproute = iproute
        self.run_command = run_command
        self.node = node or Node()
        self.installed = []  # changes of files, in the order of installing
        self.done = []  # (name, value before), in the order of writing
        self.gone = set()
        self.warnings = []
        self.changed_values = []  # (name, before, to)
        self.healed = []  # endpoints that were dropped before and are accepted after
        self.addresses = {}
        self.loosened_by = None
        self.has_endpoint_routes = None
        self.disabled_lines = {}  # name, or * for any interface to come → the DecidingLine that this run disables

    def run(self, check_mode):
        """Observe, plan and, outside check mode, act. Returns the module's result."""
        request = self.request
        plan.check_options(request.options)
        check_path(request.path)
        dropin.check_comments(request.header)
        self._look_at_loaders()
        self._look_at_units()
        not_applied = why_not_applied(request.apply)
        self.applying = not_applied is None
        before_text = read_text(request.path)
        check_owner(request.path, before_text)
        self.standing = dropin.parse(before_text, request.path)
        self.exists = before_text is not None and self.standing.ours
        self._look_at_edits()
        # What shall stand at our path once the drop-in is gone: what stood there before us, or what is not ours.
        self.left_behind = None
        if request.state == "absent":
            self.left_behind = read_text(_backup_of(request.path)) if self.standing.ours else before_text
            if before_text is not None and not self.standing.ours:
                self.warnings.append(f"'{request.path}' is somebody else's file and was left alone")
        self.restored = self._restored(sysctl_d.read_tree("/")) if request.state == "absent" else []
        endpoints = self._endpoints() if self.applying else []

        seen = self._observe()
        would_break, overriding = [], []
        if request.state == "absent":
            planned = self._plan(seen)
            would_break = self._would_break(planned, seen, endpoints)
            text = self.left_behind if self.exists else before_text
            changes = [Change(request.path, before_text, text)]
            if self.exists and self.left_behind is not None:
                changes.append(Change(_backup_of(request.path), self.left_behind, None))
            changes += self._udev_files() + self.restored + self._obsolete_backups()
            self.warnings += planned.warnings
        else:
            if request.conflicts != "disable":  # no line goes away, so the plan is known before conflicts are judged
                self._check_lockout(self._plan(seen), seen)
            planned, overriding, disabled = self._plan_past_conflicts(seen)
            if request.conflicts == "disable":
                self._check_lockout(planned, seen)
            text = dropin.compose(planned, request.header)
            changes = disabled + self._udev_files() + [Change(request.path, before_text, text)]
        changes = [change for change in changes if change.before != change.after]
        self.changed_values = plan.changes(planned, seen.running)
        unhealed = [endpoint for endpoint in endpoints if endpoint["verdict"] == "dropped"]
        if not check_mode:
            unhealed = self._act(changes, text, endpoints)
        elif self.changed_values:
            unhealed = []  # nobody knows before it is done
        return {
            "changed": bool(changes or self.changed_values),
            "plan": [plan.as_dict(item) for item in planned.items],
            "header": dropin.header(planned) if request.state == "present" else [],
            "records": {values.key(printable(name)): value for name, value in planned.records.items()},
            # A text may hold bytes that are no UTF-8, which no result can carry.
            "dropin": {"before": before_text and printable(before_text), "after": text and printable(text)},
            "applied": self.applying,
            "not_applied": not_applied,
            "healed": printable_tree(self.healed),
            "unhealed": printable_tree(unhealed),
            "would_break": printable_tree(would_break),
            "conflicts": [conflicts.as_dict(conflict) for conflict in overriding],
            "diff": self._diff(changes),
        }

    # observe

    def _look_at_edits(self):
        """Refuse a drop-in that was edited by hand, or plan on its lines as the request says."""
        if self.request.state == "absent":
            if self.standing.edits is not None:
                self.warnings.append(
                    f"the drop-in '{printable(self.request.path)}' was edited by hand; the edited lines are removed "
                    "with it"
                )
            return
        self.standing, warnings = plan.settle(self.standing, self.request.edited, self.request.options.exempt)
        self.warnings += warnings

    def _look_at_loaders(self):
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

    def _look_at_units(self):
        self.reader = files.Reader("/")
        self.services = units.Units(self.reader)
        self.unit = self.services.sysctl_unit(observe_filter.kernel_command_line(self.reader))

    def _observe(self):
        """The observation that a plan is made from."""
        # A line that an earlier run disabled counts as it did then.
        tree = sysctl_d.read_tree("/")
        overlay = {change.path: change.after for change in self._restored(tree)}
        # What a file that is replaced there gives is among the lines that this run takes away.
        overlay[self.request.path] = self.left_behind
        after = tree.with_overlay(overlay)
        cilium_files = {
            path: None for path in after.paths() if fnmatch.fnmatch(os.path.basename(path), devices.CILIUM_FILES)
        }
        given = _decider(sysctl_d.SystemdSysctl(after.with_overlay(cilium_files), self.version))
        running, kinds = {}, {}
        if self.applying:
            seen = observe_filter.see_devices(
                self.iproute, self.request.options.exempt, self.request.options.uplink_devices
            )
            running, kinds, self.addresses = seen.running, seen.kinds, seen.addresses
        return plan.Observed(
            running,
            kinds,
            given,
            _decider(sysctl_d.SystemdSysctl(after, self.version)),
            self.standing,
            self.loosened_by,
            self.disabled_lines.get,
            not self.exists,
            agent.presence(self.reader, ask=False)["seen"],
        )

    def _endpoints(self):
        state = observe_routes.observe(self.iproute)
        self.loosened_by = state.get("loosens_uplinks")
        self.has_endpoint_routes = state["endpoint_routes"]["in_effect"]
        unknown = [endpoint for endpoint in state["endpoints"] if endpoint["verdict"] == "unknown"]
        if unknown:
            warning = (
                f"what the kernel does with the replies of {len(unknown)} endpoints is not known, {_names(unknown)}: "
                f"{printable(unknown[0]['reason'])}"
            )
            if warning not in self.warnings:
                self.warnings.append(warning)
        return state["endpoints"]

    # judge

    def _plan(self, seen):
        if self.request.state == "absent":
            return plan.absent(seen, self.exists)
        return plan.present(self.request.options, seen)

    def _plan_past_conflicts(self, seen):
        """(plan, conflicts, changes of files), planned again until it makes up for each line that this run disables."""
        warned = list(self.warnings)
        while True:
            planned = self._plan(seen)
            self.warnings = warned + planned.warnings
            text = dropin.compose(planned, self.request.header)
            overriding, changes = self._conflicts(planned, text, seen)
            lost = self._lost(changes, planned, seen)
            if lost == self.disabled_lines:
                return planned, overriding, changes
            self.disabled_lines = lost
            seen = seen._replace(disabled=lost.get)

    def _lost(self, changes, planned, seen):
        """name → the strongest DecidingLine that this run takes away; for ``*`` that of interfaces to come."""
        tree = sysctl_d.read_tree("/")
        loaders = list(self._loaders(tree).values())
        places = {
            (entry.path, number)
            for change in changes
            for entry in tree.files()
            if entry.target == change.path
            for number in conflicts.disabled_lines(change.before, change.after)
        }
        if not self.standing.ours:  # what the file at our path holds is replaced
            assignments = [assignment for loader in loaders for assignment in loader.assignments()]
            places |= {(line.path, line.line) for line in assignments if line.path == self.request.path}
        names = set(seen.running) | set(self.standing.pins) | {item.name for item in planned.items}
        names = {name for name in names - set(devices.RESERVED) if seen.kinds.get(name) != devices.CILIUM}
        lost = conflicts.lost(places, loaders, names, self.request.options.exempt)
        for name, line in self.disabled_lines.items():
            if name not in lost or values.is_stronger(line.value, lost[name].value):
                lost[name] = line
        return lost

    def _would_break(self, planned, seen, endpoints):
        """Endpoints whose reply would be dropped once the drop-in is gone. Refuses unless that was consented to."""
        after = dict(seen.running)
        after.update(planned.writes)
        broken = [
            endpoint
            for endpoint in endpoints
            if endpoint["verdict"] != "dropped"
            and endpoint["device"] in after
            and values.effective(after["all"], after[endpoint["device"]]) in (endpoint["dropped_at"] or ())
        ]
        hosts = self._filtered_hosts(seen.running, after)
        if hosts and not self.request.breaks_pods:
            raise TransactionError(
                "without the drop-in packets of pods on other nodes would be dropped: with endpoint routes they "
                f"arrive on {printable(', '.join(hosts))}, whose filter would go on. Nothing was changed. Set "
                "absent_breaks_pods=true to go on anyway",
                would_break=printable_tree(broken),
            )
        if broken and not self.request.breaks_pods:
            raise TransactionError(
                f"without the drop-in the replies of {len(broken)} endpoints would be dropped: {_names(broken)}. "
                "Nothing was changed. Give Cilium endpoint routes first, or say absent_breaks_pods=true",
                would_break=printable_tree(broken),
            )
        return broken

    def _filtered_hosts(self, before, after):
        """Cilium's host interfaces whose filter goes on although packets of other nodes' pods arrive there."""
        if not self.has_endpoint_routes:
            return []
        return [
            name
            for name in sorted(after)
            if devices.matches(name, [devices.HOST_DEVICES])
            and values.effective(before["all"], before[name]) == values.OFF
            and values.effective(after["all"], after[name]) != values.OFF
        ]

    def _check_lockout(self, planned, seen):
        after = dict(seen.running)
        after.update(planned.writes)
        becoming_strict = {
            device
            for device, kind in seen.kinds.items()
            if kind != devices.CILIUM
            and after[device] == values.STRICT
            and values.effective(seen.running["all"], seen.running[device]) != values.STRICT
        }
        if becoming_strict and not self.request.allow_lockout:
            guard = lockout.Guard(self.iproute, self.addresses, seen.kinds)
            try:
                self.warnings += guard.check(becoming_strict, self.request.ssh_connection)
            except LockoutError as error:
                raise TransactionError(str(error)) from error

    def _conflicts(self, planned, text, seen):
        """What overrides the drop-in, and the files in which that is disabled. Refuses if neither was asked for."""
        path = self.request.path
        tree = sysctl_d.read_tree("/", {path: text})
        self._warn_of_a_glob_that_weakens(planned, tree, seen)
        for problem in tree.problems:
            if problem["line"] is None:
                self.warnings.append(
                    f"{printable(problem['path'])}: {printable(problem['problem'])}; a line that overrides the "
                    "drop-in could stand there unseen"
                )
        loaders = self._loaders(tree)
        others = self._writers(loaders.get(conflicts.UNIT))
        about = (seen.kinds, others, self._given_all(tree.with_overlay({path: None})))
        given, notes = conflicts.find(planned, path, tree, loaders, *about)
        self.warnings += notes
        self._warn_of_a_value_of_no_line(tree, seen, others)
        if not given:
            return [], []
        lines = [conflict for conflict in given if conflict.by is None]
        others = [conflict for conflict in given if conflict.by is not None]
        described = "; ".join(conflicts.describe(conflict) for conflict in given)
        details = {"conflicts": [conflicts.as_dict(conflict) for conflict in given]}
        if self.request.conflicts == "report":
            self.warnings.append(f"the drop-in will not last: {described}")
            return given, []
        if self.request.conflicts == "fail" or others:
            raise TransactionError(
                f"the drop-in would not last: {described}. Nothing was changed. {self._remediation(lines, others)}",
                **details,
            )
        edited, left = {}, given
        while left:  # below a line that goes there can be another
            before = dict(edited)
            for target in {conflict.target for conflict in left}:
                standing = edited[target] if target in edited else read_text(target)
                numbers = [conflict.line for conflict in left if conflict.target == target]
                edited[target] = conflicts.disable(standing, numbers)
            if edited == before:  # behind a carriage return in a comment, which to a loader ends the line
                raise TransactionError(
                    "a line overrides the drop-in and cannot be disabled, since it is only a part of what an editor "
                    f"shows as one: {conflicts.describe(left[0])}. Nothing was changed. Remove it by hand"
                )
            tree = tree.with_overlay(edited)
            left, _notes = conflicts.find(planned, path, tree, self._loaders(tree), *about)
            left = [conflict for conflict in left if conflict.by is None]
            given = given + left
        return given, [Change(target, read_text(target), after) for target, after in sorted(edited.items())]

    def _remediation(self, lines, others):
        """What to do about conflicts, as sentences."""
        said = []
        if lines and self.request.conflicts == "fail":
            said.append(
                "Remove these lines, or set conflicts=disable to comment them out. The role or program that writes "
                "them will write them again on its next run: set its own variables (such as dev-sec's "
                "sysctl_overwrite)"
            )
        if others:
            if self.request.conflicts == "disable":
                said.append("conflicts=disable comments out lines of sysctl.d only")
            found = []
            for conflict in others:
                if conflicts.remediation(conflict) not in found:
                    found.append(conflicts.remediation(conflict))
            said.append(f"What to change: {'; '.join(found)}")
        return f"{'. '.join(said)}. Set conflicts=report to continue all the same"

    def _warn_of_a_glob_that_weakens(self, planned, tree, seen):
        """A glob decides a new interface's own value; only `all` can protect it then."""
        default = next(item.to for item in planned.items if item.part == dropin.DEFAULT)
        winner = sysctl_d.SystemdSysctl(tree, self.version).winner(
            sysctl_d.conf_key(devices.to_come("*")), prefix_run=True
        )
        by_all = seen.given("all")
        protected = seen.running.get("all", values.OFF) != values.OFF or (
            by_all is not None and by_all.value != values.OFF
        )
        if winner is None or default == values.OFF or not protected:
            return
        if values.normal(sysctl_d.kernel_integer(winner.value)) == values.OFF:
            self.warnings.append(
                f"later interfaces that are not Cilium's will be unprotected: {printable(winner.path)}:{winner.line} "
                f"'{printable(winner.key)} = {winner.value}' overrides default = {default} for each of them, and all, "
                "which protected them, goes off"
            )

    def _warn_of_a_value_of_no_line(self, tree, seen, others):
        """A running value of `all` that agrees with no line and no known writer may come again."""
        running = seen.running.get("all", values.OFF)
        if running == values.OFF:
            return
        key = sysctl_d.conf_key("all")
        lines = [line for entry in tree.files() for line in sysctl_d.parse(entry.text, entry.path)[0]]
        known = [
            sysctl_d.kernel_integer(line.value)
            for line in lines
            if line.value is not None and sysctl_d.normalise(line.key) in (key, sysctl_d.conf_key("*"))
        ]
        known += [writer["sets"] for writer in others if writer["names"] is None or "all" in writer["names"]]
        by_unit = self._loaders(tree.with_overlay({self.request.path: None})).get(conflicts.UNIT)
        given = by_unit.winner(key) if by_unit else None
        known += [sysctl_d.kernel_integer(given.value)] if given else []
        if any(value is None or values.normal(value) == running for value in known):
            return
        self.warnings.append(
            f"all runs {values.in_words(running)}, but no line in sysctl.d and no known writer sets it: whatever "
            "wrote it may write it again"
        )

    def _writers(self, unit_run):
        """Every writer of rp_filter besides the loaders' own files, as the fact ``other_writers`` holds them."""
        running = observe_filter.running_units(self.run_command) if self.applying else frozenset()
        # As udev's rules will be: the collection's own one takes programs of other rules away.
        rules = udev.Rules(self.reader, {change.path: change.after for change in self._udev_files()})
        found = list(self.find_writers(self.reader, self.services, self.version, running, rules=rules)[0])
        found += [_unpredicted(place) for place in (unit_run.unknown if unit_run else ())]
        for problem in self.reader.unread:
            self.warnings.append(
                f"{printable(problem['what'])} cannot be read ({problem['why']}); a writer that overrides the drop-in "
                "could stand there unseen"
            )
        if self.unit["state"] in ("masked", "disabled", "skipped") and self.request.state == "present":
            place = self.unit["path"] or conflicts.UNIT
            self.warnings.append(
                f"{conflicts.UNIT} is {self.unit['state']} ({printable(place)}), so at boot nothing reads the drop-in "
                "but udev's run for each new interface"
            )
        return found

    def _loaders(self, tree):
        loaders = {conflicts.SYSTEMD: sysctl_d.SystemdSysctl(tree, self.version)}
        if self.procps_version:
            loaders[conflicts.PROCPS] = sysctl_d.Procps(tree, self.procps_version)
        if self.unit["state"] not in ("masked", "disabled", "skipped") and not is_plain(self.unit):
            loaders[conflicts.UNIT] = UnitRun(self.unit, tree, self.version, self.reader, self.procps_version)
        return loaders

    def _given_all(self, tree):
        """Loader → the value that it sets `all` to."""
        lines = {name: loader.winner(sysctl_d.conf_key("all")) for name, loader in self._loaders(tree).items()}
        numbers = {name: sysctl_d.kernel_integer(line.value) for name, line in lines.items() if line}
        return {name: values.normal(number) for name, number in numbers.items() if number is not None}

    def _restored(self, tree):
        """The files in which we disabled a line, with the line back in force."""
        targets = sorted({entry.target for entry in tree.files() if entry.text and conflicts.MARK in entry.text})
        texts = [(target, read_text(target)) for target in targets]
        return [Change(target, text, conflicts.restore(text)) for target, text in texts]

    def _obsolete_backups(self):
        """The backups of files in which no line is disabled any more, to be removed."""
        targets = sorted({entry.target for entry in sysctl_d.read_tree("/").files() if entry.text})
        backups = [_backup_of(target) for target in targets if target != self.request.path]
        texts = [(backup, read_text(backup)) for backup in backups]
        return [Change(backup, text, None) for backup, text in texts if text is not None]

    def _wants_udev_rule(self):
        without_globs = self.version < sysctl_d.SYSTEMD_GLOBS_SINCE
        return self.request.udev == "always" or (self.request.udev == "auto" and without_globs)

    def _udev_files(self):
        """The rule that keeps udev from running systemd-sysctl for Cilium's devices, or its removal."""
        standing = read_text(UDEV_RULE)
        if self.request.state == "present" and self._wants_udev_rule():
            return [Change(UDEV_RULE, standing, udev_rule(self.request.options.exempt))]
        if standing is not None and dropin.format_of(standing) is not None:
            return [Change(UDEV_RULE, standing, None)]
        return []

    # act

    def _act(self, files, text, endpoints):
        """Do what was planned; returns the endpoints that are dropped still. Where it fails, everything is undone."""
        try:
            self._install(files)
            self.changed_values = []  # from here on what was done, and not what was planned
            if not self.applying:
                return []
            self._apply(text)
            return self._compare(endpoints)
        except (OSError, ValueError, CommandError, dropin.DropinError, TransactionError) as error:
            raise TransactionError(
                f"{str(error).rstrip('.')}. {self._undo()}", **getattr(error, "details", {})
            ) from error

    def _install(self, files):
        for change in files:
            taken_over = change.path == self.request.path and not self.standing.ours
            if (
                change.before is not None
                and change.after is not None
                and (taken_over or conflicts.MARK in change.after)
            ):
                self._back_up(change)
            self.installed.append(change)
            try:
                install(change.path, change.after)
            except OSError as error:
                raise TransactionError("writing '%s' failed: %s" % (change.path, error.strerror or error)) from error
        self._tell_udev()

    def _tell_udev(self):
        if self.applying and any(change.path == UDEV_RULE for change in self.installed):
            self.run_command(["udevadm", "control", "--reload"])

    def _back_up(self, change):
        """Keep somebody else's file as it was before its first line was disabled, or it was taken over; once."""
        backup = _backup_of(change.path)
        if read_text(backup) is None and conflicts.MARK not in change.before:
            self.installed.append(Change(backup, None, change.before))
            install(backup, change.before)

    def _apply(self, text):
        """Write the plan to the running kernel, and again for devices that came meanwhile."""
        for _unused in range(ROUNDS):
            # The drop-in stands now, so what udev does to a newcomer is decided by it.
            if self.request.state == "present":
                self.standing = dropin.parse(text, self.request.path)
            seen = self._observe()
            planned = self._plan(seen)
            if not planned.writes:
                break
            self._write(planned.writes, seen.running)
            self._note(plan.changes(planned, seen.running))
            if self.request.state == "absent":
                break  # nobody waits for a newcomer's value here
        else:
            self._check_newcomers()

    def _write(self, writes, running):
        self.gone = set()
        for name, value in writes:
            try:
                self.node.write(name, value)
                self.done.append((name, running[name]))
                found = self.node.read(name)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENODEV) and name not in devices.RESERVED:
                    self.gone.add(name)  # a device that vanished is no error
                    continue
                raise TransactionError(
                    "setting %s to %d failed: %s" % (values.key(printable(name)), value, error.strerror or error)
                ) from error
            if found != value:
                raise TransactionError(f"{values.key(printable(name))} was set to {value} and read back as {found}")

    def _undo(self):
        """Put back what was written, last first, and the files; returns a sentence on how that went."""
        left = []
        for name, value in reversed(self.done):
            try:
                self.node.write(name, value)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENODEV) or name in devices.RESERVED:
                    left.append("%s = %d (%s)" % (values.key(printable(name)), value, error.strerror or error))
        for change in reversed(self.installed):
            try:
                if read_text(change.path) != change.before:
                    install(change.path, change.before)
            except (OSError, TransactionError) as error:
                left.append("%s (%s)" % (change.path, getattr(error, "strerror", None) or error))
        try:
            self._tell_udev()
        except CommandError as error:
            left.append(f"udev's rules ({error})")
        if left:
            return f"Not everything could be put back; see to these by hand: {', '.join(left)}"
        return "Everything was put back as it was"

    def _check_newcomers(self):
        seen = self._observe()
        left = plan.changes(self._plan(seen), seen.running)
        if left:
            self.warnings.append(
                f"{len(left)} devices came or changed while the values were written and are not as planned yet: "
                f"{', '.join(printable(name) for name, _b, _t in left[:5])}. Run again"
            )

    def _note(self, changes):
        """Remember what changed, each name once: its first value and its last. A vanished device did not change."""
        first = {name: before for name, before, _to in self.changed_values}
        last = {name: to for name, _before, to in self.changed_values}
        for name, before, to in changes:
            if name not in self.gone:
                first.setdefault(name, before)
                last[name] = to
        self.changed_values = [(name, first[name], last[name]) for name in first]

    def _compare(self, before):
        """Endpoints that are dropped still; undoes everything where one was accepted before."""
        if not self.done:
            return [endpoint for endpoint in before if endpoint["verdict"] == "dropped"]
        after = self._endpoints()
        was = {(endpoint["address"], endpoint["device"]): endpoint["verdict"] for endpoint in before}
        self.healed = [
            endpoint
            for endpoint in after
            if endpoint["verdict"] == "accepted" and was.get((endpoint["address"], endpoint["device"])) == "dropped"
        ]
        dropped = [endpoint for endpoint in after if endpoint["verdict"] == "dropped"]
        if self.request.state == "absent":
            return dropped
        harmed = [
            endpoint
            for endpoint in dropped
            if was.get((endpoint["address"], endpoint["device"])) == "accepted" and self._filters(endpoint["device"])
        ]
        if harmed:
            raise TransactionError(
                f"the replies of {len(harmed)} endpoints were accepted before and dropped after: {_names(harmed)}",
                harmed=printable_tree(harmed),
            )
        return dropped

    def _filters(self, device):
        """Whether the filter is on for the device; where it is off, another check of the kernel dropped the packet."""
        try:
            return values.effective(self.node.read("all"), self.node.read(device)) != values.OFF
        except OSError:
            return False  # it is gone

    # show

    def _diff(self, files):
        diff = [
            {
                "before_header": change.path if change.before is not None else "/dev/null",
                "after_header": change.path if change.after is not None else "/dev/null",
                "before": printable(change.before or ""),
                "after": printable(change.after or ""),
            }
            for change in files
        ]
        if self.changed_values:
            rows = [(values.key(printable(name)), before, to) for name, before, to in self.changed_values]
            diff.append(
                {
                    "before_header": "running values",
                    "after_header": "running values",
                    "before": "".join(f"{name} = {before}\n" for name, before, _to in rows),
                    "after": "".join(f"{name} = {to}\n" for name, _before, to in rows),
                }
            )
        return diff


def _backup_of(path):
    return os.path.join(BACKUPS, path.strip("/").replace("/", "%") + ".orig")


def check_path(path):
    """Refuse a drop-in that no loader would read, or that is no plain file."""
    folder, name = os.path.split(path)
    if folder not in SYSCTL_FOLDERS or ".." in path:
        raise TransactionError(
            f"path: '{path}' is outside the folders that the loaders read; expected a file in one of "
            f"{', '.join(SYSCTL_FOLDERS)}"
        )
    if not re.match(r"[^.\x00-\x1f\x7f][^\x00-\x1f\x7f]*\.conf\Z", name) or len(name) > 255:
        raise TransactionError(
            f"path: '{printable(path)}' does not end in '.conf', is hidden, too long or has control characters, so it "
            "is no file that every loader reads; expected a name such as 99-override_cilium_rp_filter.conf"
        )
    if os.path.islink(path):
        raise TransactionError(
            f"path: '{path}' is a link to '{os.readlink(path)}'; expected a plain file or nothing. Take the link "
            "away, or name another file"
        )
    if os.path.lexists(path) and not os.path.isfile(path):
        raise TransactionError(
            f"path: '{path}' is a folder or a special file; expected a plain file or nothing. Take it "
            "away, or name another file"
        )


def check_owner(path, text):
    """Refuse to take over, or take away, a file of somebody else's that sets anything but the filter."""
    if text is None or dropin.parse(text).ours:
        return
    for line in sysctl_d.parse(text, path)[0]:
        if values.name_of(line.key) is None:
            raise TransactionError(
                f"path: '{path}' is somebody else's file: line {line.line} sets '{printable(line.key)}', which would "
                "be lost. Expected a drop-in of this module, a file for rp_filter alone, or nothing. Name another "
                "file"
            )


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


def why_not_applied(apply):
    """Why running values are neither read nor written; None where they are. The facts are gathered by the same rule."""
    return "apply is never" if apply == "never" else observe_filter.why_not_observed(apply)


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


def _unpredicted(place):
    """A command of systemd-sysctl.service whose writes are not known, as a writer."""
    known = {"unit": conflicts.UNIT, "when": ["boot"], "certain": False, "active": True}
    return scripts.writer("unit", place["path"], place["line"], place["text"] or "a credential", **known)


def _decider(resolver):
    """name → the DecidingLine by which a loader sets it, None if no line decides."""

    def decide(name):
        assignment = resolver.winner(sysctl_d.conf_key(name))
        if assignment is None:
            return None
        # A line whose text the kernel refuses decides nothing; the resolver never calls it the winner.
        value = values.normal(sysctl_d.kernel_integer(assignment.value))
        return plan.DecidingLine(value, assignment.path, assignment.line)

    return decide


def _names(endpoints):
    named = [f"{printable(name_of(endpoint))} ({printable(endpoint['device'])})" for endpoint in endpoints]
    return ", ".join(named[:10]) + (f" and {len(named) - 10} more" if len(named) > 10 else "")

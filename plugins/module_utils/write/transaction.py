# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only writer on a node: the drop-in and the running values, as one transaction.

observe → plan → (check mode stops here) → write the drop-in → observe again → apply → observe; newcomers get another
round. Running values are written directly, never by a loader: a loader writes everybody's keys, and where a glob
stands it puts the filter on a healthy device for a moment before it takes it off again.
"""

import errno
import fnmatch
import os
from collections import namedtuple

from ansible_collections.nodeward.cilium.plugins.module_utils import devices, dropin, sysctl_d, values
from ansible_collections.nodeward.cilium.plugins.module_utils.endpoints import name_of
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import agent
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import filter as observe_filter
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import routes as observe_routes
from ansible_collections.nodeward.cilium.plugins.module_utils.runner import CommandError
from ansible_collections.nodeward.cilium.plugins.module_utils.text import printable, printable_tree
from ansible_collections.nodeward.cilium.plugins.module_utils.write import (
    conflicts,
    environment,
    files,
    lockout,
    overrides,
    plan,
    preflight,
)
from ansible_collections.nodeward.cilium.plugins.module_utils.write.files import Change, TransactionError
from ansible_collections.nodeward.cilium.plugins.module_utils.write.lockout import LockoutError

CONF = "/proc/sys/net/ipv4/conf"
ROUNDS = 3

#: What is asked for. ``breaks_pods`` and ``allow_lockout`` are the consents; ``apply`` is auto, always or never;
#: ``conflicts`` fail, disable or report; ``udev`` auto, always or never; ``edited`` fail, restore or adopt.
Request = namedtuple(
    "Request", "state path options apply header breaks_pods allow_lockout ssh_connection conflicts udev edited"
)
Request.__new__.__defaults__ = (plan.EDITED_FAIL,)


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
        self.find_writers = find_writers
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
        preflight.check_path(request.path)
        dropin.check_comments(request.header)
        self.environment = environment.Environment(request, self.run_command, self.find_writers)
        self.warnings += self.environment.warnings
        not_applied = preflight.why_not_applied(request.apply)
        self.applying = not_applied is None
        before_text = files.read_text(request.path)
        preflight.check_owner(request.path, before_text)
        self.standing = dropin.parse(before_text, request.path)
        self.exists = before_text is not None and self.standing.ours
        self._look_at_edits()
        # What shall stand at our path once the drop-in is gone: what stood there before us, or what is not ours.
        self.left_behind = None
        if request.state == "absent":
            self.left_behind = files.read_text(files.backup_of(request.path)) if self.standing.ours else before_text
            if before_text is not None and not self.standing.ours:
                self.warnings.append(f"'{request.path}' is somebody else's file and was left alone")
        self.restored = files.restored(sysctl_d.read_tree("/")) if request.state == "absent" else []
        endpoints = self._endpoints() if self.applying else []

        seen = self._observe()
        would_break, overriding = [], []
        if request.state == "absent":
            planned = self._plan(seen)
            would_break = self._would_break(planned, seen, endpoints)
            text = self.left_behind if self.exists else before_text
            changes = [Change(request.path, before_text, text)]
            if self.exists and self.left_behind is not None:
                changes.append(Change(files.backup_of(request.path), self.left_behind, None))
            changes += self.environment.udev_files() + self.restored + files.obsolete_backups(request.path)
            self.warnings += planned.warnings
        else:
            if request.conflicts != "disable":  # no line goes away, so the plan is known before conflicts are judged
                self._check_lockout(self._plan(seen), seen)
            planned, overriding, disabled = self._settle(seen)
            if request.conflicts == "disable":
                self._check_lockout(planned, seen)
            text = dropin.compose(planned, request.header)
            changes = disabled + self.environment.udev_files() + [Change(request.path, before_text, text)]
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

    def _observe(self):
        """The observation that a plan is made from."""
        # A line that an earlier run disabled counts as it did then.
        tree = sysctl_d.read_tree("/")
        overlay = {change.path: change.after for change in files.restored(tree)}
        # What a file that is replaced there gives is among the lines that this run takes away.
        overlay[self.request.path] = self.left_behind
        after = tree.with_overlay(overlay)
        cilium_files = {
            path: None for path in after.paths() if fnmatch.fnmatch(os.path.basename(path), devices.CILIUM_FILES)
        }
        given = _decider(sysctl_d.SystemdSysctl(after.with_overlay(cilium_files), self.environment.version))
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
            _decider(sysctl_d.SystemdSysctl(after, self.environment.version)),
            self.standing,
            self.loosened_by,
            self.disabled_lines.get,
            not self.exists,
            agent.presence(self.environment.reader, ask=False)["seen"],
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

    def _settle(self, seen):
        found = overrides.Overrides(self.request, self.environment, self.standing, self.applying)
        try:
            return found.settle(self._plan, seen)
        finally:
            self.disabled_lines = found.disabled_lines
            self.warnings += found.warnings

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

    # act

    def _act(self, changes, text, endpoints):
        """Do what was planned; returns the endpoints that are dropped still. Where it fails, everything is undone."""
        try:
            self._install(changes)
            self.changed_values = []  # from here on what was done, and not what was planned
            if not self.applying:
                return []
            self._apply(text)
            return self._compare(endpoints)
        except (OSError, ValueError, CommandError, dropin.DropinError, TransactionError) as error:
            raise TransactionError(
                f"{str(error).rstrip('.')}. {self._undo()}", **getattr(error, "details", {})
            ) from error

    def _install(self, changes):
        for change in changes:
            taken_over = change.path == self.request.path and not self.standing.ours
            if (
                change.before is not None
                and change.after is not None
                and (taken_over or conflicts.MARK in change.after)
            ):
                self._back_up(change)
            self.installed.append(change)
            try:
                files.install(change.path, change.after)
            except OSError as error:
                raise TransactionError("writing '%s' failed: %s" % (change.path, error.strerror or error)) from error
        self._tell_udev()

    def _tell_udev(self):
        if self.applying and any(change.path == environment.UDEV_RULE for change in self.installed):
            self.run_command(["udevadm", "control", "--reload"])

    def _back_up(self, change):
        """Keep somebody else's file as it was before its first line was disabled, or it was taken over; once."""
        backup = files.backup_of(change.path)
        if files.read_text(backup) is None and conflicts.MARK not in change.before:
            self.installed.append(Change(backup, None, change.before))
            files.install(backup, change.before)

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
                if files.read_text(change.path) != change.before:
                    files.install(change.path, change.before)
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

    def _diff(self, changes):
        diff = [
            {
                "before_header": change.path if change.before is not None else "/dev/null",
                "after_header": change.path if change.after is not None else "/dev/null",
                "before": printable(change.before or ""),
                "after": printable(change.after or ""),
            }
            for change in changes
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

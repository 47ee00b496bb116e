# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What overrides the drop-in, before anything is written: refused, reported, or disabled and made up for."""

from ansible_collections.nodeward.cilium.plugins.module_utils import devices, dropin, sysctl_d, values
from ansible_collections.nodeward.cilium.plugins.module_utils.text import printable
from ansible_collections.nodeward.cilium.plugins.module_utils.write import conflicts, files, pins
from ansible_collections.nodeward.cilium.plugins.module_utils.write.files import Change, TransactionError


class Overrides:
    """The conflicts of one run. ``warnings`` are those of the plan and of what overrides it.

    ``disabled_lines``: name, or ``*`` for any interface to come → the DecidingLine that this run disables.
    """

    def __init__(self, request, environment, standing, applying):
        self.request = request
        self.environment = environment
        self.standing = standing
        self.applying = applying
        self.warnings = []
        self.disabled_lines = {}

    def settle(self, plan_of, seen):
        """(plan, conflicts, changes of files), planned again until it makes up for each line that this run disables.

        :arg plan_of: makes the plan of an observation.
        """
        while True:
            planned = plan_of(seen)
            self.warnings = list(planned.warnings)
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
        loaders = list(self.environment.loaders(tree).values())
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

    def _conflicts(self, planned, text, seen):
        """What overrides the drop-in, and the files in which that is disabled. Refuses if neither was asked for."""
        path = self.request.path
        tree = sysctl_d.read_tree("/", {path: text})
        self._warn_of_globs_that_weaken(planned, tree, seen)
        for problem in tree.problems:
            if problem["line"] is None:
                self.warnings.append(
                    f"{printable(problem['path'])}: {printable(problem['problem'])}; a line that overrides the "
                    "drop-in could stand there unseen"
                )
        loaders = self.environment.loaders(tree)
        others, warnings = self.environment.writers(loaders.get(conflicts.UNIT), self.applying)
        self.warnings += warnings
        about = (seen.kinds, others, self.environment.given_all(tree.with_overlay({path: None})))
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
                standing = edited[target] if target in edited else files.read_text(target)
                numbers = [conflict.line for conflict in left if conflict.target == target]
                edited[target] = conflicts.disable(standing, numbers)
            if edited == before:  # behind a carriage return in a comment, which to a loader ends the line
                raise TransactionError(
                    "a line overrides the drop-in and cannot be disabled, since it is only a part of what an editor "
                    f"shows as one: {conflicts.describe(left[0])}. Nothing was changed. Remove it by hand"
                )
            tree = tree.with_overlay(edited)
            left, _notes = conflicts.find(planned, path, tree, self.environment.loaders(tree), *about)
            left = [conflict for conflict in left if conflict.by is None]
            given = given + left
        return given, [Change(target, files.read_text(target), after) for target, after in sorted(edited.items())]

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

    def _warn_of_globs_that_weaken(self, planned, tree, seen):
        """A glob decides a later interface's own value; only `all`, which the drop-in turns off, protects it then."""
        default = next(item.to for item in planned.items if item.part == dropin.DEFAULT)
        runs = seen.running.get("all", values.OFF) != values.OFF
        by_all = seen.given("all")
        if default == values.OFF or not runs and (by_all is None or by_all.value == values.OFF):
            return
        goes = "all, which protected them, goes off" if runs else f"all, which {pins.place(by_all)} turns on, stays off"
        resolver = sysctl_d.SystemdSysctl(tree, self.environment.version)
        for line in resolver.assignments():
            name = values.name_of(line.key)
            if name is None or not conflicts.reaches_later(line, self.request.options.exempt):
                continue
            winner = resolver.winner(sysctl_d.conf_key(devices.to_come(name)), prefix_run=True)
            if winner == line and values.normal(sysctl_d.kernel_integer(line.value)) == values.OFF:
                which = "that are not Cilium's" if name == "*" else f"named {printable(name)}"
                self.warnings.append(
                    f"later interfaces {which} will be unprotected: {printable(line.path)}:{line.line} "
                    f"'{printable(line.key)} = {line.value}' overrides default = {default} for each of them, and {goes}"
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
        by_unit = self.environment.loaders(tree.with_overlay({self.request.path: None})).get(conflicts.UNIT)
        given = by_unit.winner(key) if by_unit else None
        known += [sysctl_d.kernel_integer(given.value)] if given else []
        if any(value is None or values.normal(value) == running for value in known):
            return
        self.warnings.append(
            f"all runs {values.in_words(running)}, but no line in sysctl.d and no known writer sets it: whatever "
            "wrote it may write it again"
        )

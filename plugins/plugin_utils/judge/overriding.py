# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What overrides the drop-in on a node, and the options without which harden refuses there. Pure."""

import json
import os
import re
import shlex

from ansible_collections.nodeward.cilium.plugins.module_utils import devices, dropin, horizons, values
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import scripts
from ansible_collections.nodeward.cilium.plugins.module_utils.write import conflicts, plan

# Ansible would evaluate it among the variables.
_TEMPLATE = re.compile(r"\{[{%#]")


def harden_options(rp_filter):
    """variable → value: what harden has to be given on this node; without it, it refuses."""
    options = {}
    if later_lines(rp_filter):
        options["rp_filter_conflicts"] = "disable"
    if is_edited(rp_filter):
        options["rp_filter_edited"] = "restore"
    if writers(rp_filter) and not is_overridden(rp_filter):
        options["rp_filter_udev"] = "always"
    uplinks = _stricter_uplinks(rp_filter)
    if uplinks:
        options.update(rp_filter_conflicts="disable", rp_filter_uplinks=uplinks)
    return options


def as_arguments(options, flag):
    """The options as arguments of ansible-playbook."""
    return [
        f"{flag} {name}={value}"
        if isinstance(value, str)
        else f"{flag} {shlex.quote(json.dumps({name: value}, sort_keys=True))}"
        for name, value in sorted(options.items())
    ]


def has_no_loader(rp_filter):
    """Whether nothing on the node would read the drop-in: harden refuses."""
    loaders = rp_filter.get("loaders") or {}
    return loaders.get("systemd_sysctl", loaders) is None


def is_overridden(rp_filter):
    """Whether a writer overrides the drop-in, and no option of harden ends that."""
    return not all(conflicts.ends_by_our_rule(conflict) for conflict in writers(rp_filter))


def _stricter_uplinks(rp_filter):
    """uplink → mode, of pinned uplinks that a later line makes stricter; harden disables no such line unasked."""
    found = {}
    assigned = (rp_filter.get("dropin") or {}).get("assignments", ())
    pinned = {each["name"]: values.normal(each["value"]) for each in assigned}
    for name, device in sorted(rp_filter["devices"].items()):
        if device["kind"] != devices.UPLINK or name not in pinned or _TEMPLATE.search(name):
            continue
        for loader in ("systemd_sysctl", "procps"):
            line = device["configured"][loader]
            if not line or not _overrides(line, "all", loader, path(rp_filter)):
                continue
            value = values.normal(line["value"])
            if values.is_stronger(value, values.stronger(pinned[name], values.normal(device["effective"] or 0))):
                found[name] = values.WORDS[value]
    return found


def is_edited(rp_filter):
    """Whether the drop-in was edited by hand; a file that is not ours has no digest."""
    standing = rp_filter.get("dropin") or {}
    return bool(standing.get("present") and standing.get("format") is not None and standing.get("intact") is False)


def writers(rp_filter):
    """The conflicts of other writers with what harden would write for Cilium's interfaces and `all`."""
    items = [plan.Item(pattern, None, values.OFF, "", dropin.EXEMPT, True) for pattern in rp_filter["patterns"]]
    items.append(plan.Item("all", rp_filter["all"]["running"], values.OFF, "", dropin.ALL, True))
    kinds = {name: device["kind"] for name, device in rp_filter["devices"].items()}
    others = [_complete(writer) for writer in rp_filter["other_writers"]] + _unpredicted(rp_filter)
    found = _of_the_unit(rp_filter) + conflicts.of_writers(items, path(rp_filter), kinds, others)[0]
    # harden disables these lines, so that a program that loads the file ("sysctl -p") writes none of them.
    said = [(line["path"], line["line"]) for line in later_lines(rp_filter)]
    return [conflict for conflict in found if (conflict.path, conflict.line) not in said]


def _of_the_unit(rp_filter):
    """What systemd-sysctl.service itself sets after the files of sysctl.d: a credential, a command of a drop-in."""
    found = {}
    for name, configured in _configured(rp_filter):
        line = configured.get("unit")
        if line and line.get("overrides") and values.normal(line["value"]) != values.OFF:
            found.setdefault((line["path"], line["line"], line["key"], line["value"]), []).append(values.key(name))
    return [
        conflicts.Conflict(
            where,
            where,
            line,
            key,
            values.normal(value),
            [],
            sorted(keys),
            values.OFF,
            "unit",
            conflicts.UNIT,
            f"{key} = {value}",
        )
        for (where, line, key, value), keys in sorted(found.items())
    ]


def _unpredicted(rp_filter):
    """A command of systemd-sysctl.service, or a credential, whose writes are not known."""
    unit = ((rp_filter.get("loaders") or {}).get("systemd_sysctl") or {}).get("unit_file") or {}
    if unit.get("state") != "unknown" or "unit" not in rp_filter["all"]["configured"]:
        return []
    known = {"unit": conflicts.UNIT, "when": ["boot"], "certain": False, "active": True}
    return [scripts.writer("unit", unit["path"] or "", unit["line"], unit["text"] or "a credential", **known)]


def _complete(writer):
    """A writer with the members that facts of an older version do not have."""
    known = {"unit": None, "runs": None, "active": None, "certain": True, "text": "", "narrowed": False, "not_on": []}
    return dict(known, **dict(writer, when=horizons.events(writer)))


def path(rp_filter):
    return (rp_filter.get("dropin") or {}).get("path") or dropin.PATH


def later_lines(rp_filter):
    """Lines that override the drop-in: of a later file, or an explicit key of one of Cilium's interfaces."""
    found = []
    for name, configured in _configured(rp_filter):
        for loader in ("systemd_sysctl", "procps"):
            line = configured[loader]
            if line and line["value"] and _overrides(line, name, loader, path(rp_filter)) and line not in found:
                found.append(line)
    return found


def _configured(rp_filter):
    yield "all", rp_filter["all"]["configured"]
    for name, state in sorted(rp_filter["patterns"].items()):
        yield name, state["configured"]
    for name, device in sorted(rp_filter["devices"].items()):
        if device["kind"] == devices.CILIUM:
            yield name, device["configured"]


def _overrides(line, name, loader, dropin_path):
    if line["path"] == dropin_path:
        return False
    if loader == "procps" and line["path"] == "/etc/sysctl.conf":
        return True  # it reads that last
    if loader == "systemd_sysctl" and name not in devices.RESERVED and values.name_of(line["key"]) == name:
        return True  # an explicit key decides against any glob
    return os.fsencode(os.path.basename(line["path"])) > os.fsencode(os.path.basename(dropin_path))

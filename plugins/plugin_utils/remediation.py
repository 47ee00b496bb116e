# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends the fault on a node, for good: what overrides the drop-in first, then harden, or endpoint routes. Pure."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import fnmatch
import os

from ansible_collections.nodeward.cilium.plugins.module_utils import conflicts, devices, dropin, horizons, plan, values
from ansible_collections.nodeward.cilium.plugins.module_utils.iproute import printable
from ansible_collections.nodeward.cilium.plugins.plugin_utils import attribution, commands
from ansible_collections.nodeward.cilium.plugins.plugin_utils.horizons import place

#: Where the drop-in is written if the facts do not say.
_DROPIN = "/etc/sysctl.d/99-override_cilium_rp_filter.conf"
#: Roles that write a file and the kernel, by the file's name, and the variable that decides what they write.
_ROLES = (
    (
        "*dev-sec*",
        "in sysctl_overwrite, the variable of the role os_hardening of dev-sec, set %(key)s to 0; the role wrote "
        "%(place)s and the kernel, and writes both again on its next run",
    ),
    (
        "*",
        "remove %(place)s (%(key)s = %(value)s), or set it to 0, in the program that manages that file; it wrote the "
        "kernel as well, and will write it again on its next run",
    ),
)


def remediations(node, rp_filter, document):
    """Each {title, commands, variables, of}, in the order in which they are to be done."""
    stories = document["stories"]
    found = _of_overridden_lines(rp_filter, stories)
    overriding = _writers(rp_filter)
    for conflict in overriding:
        title = "%s; %s" % (conflicts.describe(conflict), conflicts.remediation(conflict))
        if title not in [each["title"] for each in found]:
            found.append(_remediation(title))
    if not _is_of_writers_alone(document, rp_filter):
        found.append(_exempting(node, _later_lines(rp_filter)))
    # With `all` on, endpoint routes cut nodes apart.
    if not any(values.key("all") in conflict.overrides for conflict in overriding):
        found.append(_routing(stories))
    return found


def _remediation(title, commands_=(), variables=(), of=""):
    return {"title": title, "commands": list(commands_), "variables": dict(variables), "of": of}


def _of_overridden_lines(rp_filter, stories):
    """For a running value that a line has which no loader applies."""
    found = []
    for one in {(one["key"], one["value"]): one for story in stories for one in story["set_by"]}.values():
        line = attribution.overridden_line(rp_filter, one["key"], one["value"])
        if line is None or (line["path"], line["line"]) != (one["path"], one["line"]):
            continue
        state = rp_filter["all"] if one["key"] == "all" else rp_filter["devices"][one["key"]]
        if horizons.line_giving(state["configured"], one["value"]):
            continue
        names = os.path.basename(line["path"])
        title = next(title for pattern, title in _ROLES if fnmatch.fnmatchcase(names, pattern))
        told = {"place": printable(place(line)), "key": printable(line["key"]), "value": line["value"]}
        found.append(_remediation(title % told))
    return found


def _writers(rp_filter):
    """The conflicts of other writers with what harden would write for Cilium's interfaces and `all`."""
    items = [plan.Item(pattern, None, values.OFF, "", dropin.EXEMPT, True) for pattern in rp_filter["patterns"]]
    items.append(plan.Item("all", rp_filter["all"]["running"], values.OFF, "", dropin.ALL, True))
    kinds = {name: device["kind"] for name, device in rp_filter["devices"].items()}
    writers = [_complete(writer) for writer in rp_filter["other_writers"]]
    return conflicts.find(
        plan.Plan(items, [], {}, []),
        _path(rp_filter),
        None,
        {},
        kinds,
        writers,
    )


def _complete(writer):
    """A writer with the members that facts of an older version do not have."""
    known = {"unit": None, "runs": None, "active": None, "certain": True, "text": "", "narrowed": False, "not_on": []}
    return dict(known, **dict(writer, when=horizons.events(writer)))


def _path(rp_filter):
    return (rp_filter.get("dropin") or {}).get("path") or _DROPIN


def _later_lines(rp_filter):
    """Lines that override the drop-in: of a later file, or an explicit key of one of Cilium's interfaces."""
    found = []
    for name, configured in _configured(rp_filter):
        for loader in ("systemd_sysctl", "procps"):
            line = configured[loader]
            if line and line["value"] and _overrides(line, name, loader, _path(rp_filter)) and line not in found:
                found.append(line)
    return found


def _configured(rp_filter):
    yield "all", rp_filter["all"]["configured"]
    for name, state in sorted(rp_filter["patterns"].items()):
        yield name, state["configured"]
    for name, device in sorted(rp_filter["devices"].items()):
        if device["kind"] == devices.CILIUM:
            yield name, device["configured"]


def _overrides(line, name, loader, path):
    if line["path"] == path:
        return False
    if loader == "procps" and line["path"] == "/etc/sysctl.conf":
        return True  # it reads that last
    if loader == "systemd_sysctl" and name not in devices.RESERVED and values.name_of(line["key"]) == name:
        return True  # an explicit key decides against any glob
    return os.fsencode(os.path.basename(line["path"])) > os.fsencode(os.path.basename(path))


def _is_of_writers_alone(document, rp_filter):
    """Whether the only threat is a writer past the loaders, against which no drop-in holds."""
    places = [(writer["path"], writer["line"]) for writer in rp_filter["other_writers"]]
    sources = [
        (source["path"], source["line"]) in places
        for horizon in document["next"].values()
        for source in (horizon["sources"] if horizon["dropped"] else []) + horizon["unknown"]
        if source["value"] or source in horizon["unknown"]
    ]
    return document["state"] == "at_risk" and bool(sources) and all(sources)


def _exempting(node, later_lines):
    title = "exempt Cilium's devices from the filter, and keep it on all others"
    option = []
    if later_lines:
        named = ", ".join(printable(place(line)) for line in later_lines[:3])
        title += "; this disables %s, which would override the drop-in" % named
        option = ["-e rp_filter_conflicts=disable"]
    return _remediation(
        title,
        [
            commands.playbook("harden", node, *option, "--check --diff"),
            commands.playbook("harden", node, *option),
        ],
        dict({"rp_filter_state": "present"}, **({"rp_filter_conflicts": "disable"} if later_lines else {})),
        "role nodeward.cilium.rp_filter",
    )


def _routing(stories):
    recreate = sorted({commands.recreate(story["pod"]) for story in stories} - {""})[:1]
    enable = "ansible-playbook -i INVENTORY nodeward.cilium.harden -e endpoint_routes_state=enabled"
    return _remediation(
        "give every pod a route by its own device; agents, and then all pods, have to be made anew",
        [
            "%s --check --diff" % enable,
            "%s -e endpoint_routes_restart=rolling" % enable,
            *recreate,
        ],
        {"endpoint_routes_state": "enabled"},
        "role nodeward.cilium.endpoint_routes",
    )

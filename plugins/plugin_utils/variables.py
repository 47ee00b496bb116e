# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of the variables that playbooks and roles read: their names, values and the hosts they select. Pure."""

import difflib
import os
import re

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.nodeward.cilium.plugins.module_utils.text import one_line

PREFIX = "nodeward_"
HOSTS, SERIAL, FAILURES, BECOME = (PREFIX + name for name in ("hosts", "serial", "max_fail_percentage", "become"))
#: What each playbook reads.
PLAYBOOK = (HOSTS, SERIAL, FAILURES, BECOME)
#: Ansible evaluates these for a play, before it knows a host: an inventory cannot set them.
OF_PLAYS = (HOSTS, SERIAL, FAILURES)
#: Names on a command line that mean a playbook variable, though they do not resemble it.
_SYNONYMS = {
    "nodes": HOSTS,
    "node": HOSTS,
    "host": HOSTS,
    "target": HOSTS,
    "targets": HOSTS,
    "nodes_serial": SERIAL,
    "nodes_max_fail_percentage": FAILURES,
    "nodes_become": BECOME,
}
#: Below this ratio of difflib two names are two words.
_SIMILAR = 0.75
_SHOWN = 20


def misnamed(names, options):
    """Sentences on names with a prefix of ours that are not read, but resemble one that is.

    options: role → the names of its variables. An inventory may use a role's prefix for purposes of its own, so a name
    that resembles none is left alone; ``nodeward_`` is the collection's alone.
    """
    known = {name for each in options.values() for name in each} | set(PLAYBOOK)
    told = []
    for name in sorted(set(names) - known):
        if name.startswith(PREFIX):
            told.append(_unread(name, _similar(name, PLAYBOOK, PREFIX) or PLAYBOOK))
            continue
        for role, of_role in sorted(options.items()):
            if name.startswith(role + "_"):
                resembled = _similar(name, of_role, role + "_")
                if resembled:
                    told.append(_unread(name, resembled))
    return told


def misnamed_on_command_line(names, options):
    """Sentences on extra variables without our prefix that mean one of ours, such as ``nodes`` or ``conflicts``."""
    known = {name: role + "_" for role, each in options.items() for name in each}
    known.update(dict.fromkeys(PLAYBOOK, PREFIX))
    told = []
    for name in sorted(set(names) - set(known)):
        if name.startswith(("ansible_", PREFIX) + tuple(role + "_" for role in options)):
            continue
        meant = [_SYNONYMS[name]] if name in _SYNONYMS else []
        meant = meant or sorted(each for each, prefix in known.items() if each == prefix + name)
        meant = meant or difflib.get_close_matches(name, sorted(known), 1, 0.85)
        if meant:
            told.append(_unread(name, meant))
    return told


def _similar(name, known, prefix):
    rest = name[len(prefix) :]
    found = difflib.get_close_matches(rest, sorted(each[len(prefix) :] for each in known), 1, _SIMILAR)
    return [prefix + each for each in found]


def _unread(name, meant):
    return (
        f"{one_line(name)}: found a variable that no role or playbook of this run reads; expected "
        f"{' or '.join(meant)}. Rename it, or remove it"
    )


def wrong_values(specs, values):
    """Sentences on values that do not fit; and the values, converted.

    specs: name → its entry in argument_specs; values: those that are set.
    """
    known = {name: value for name, value in values.items() if name in specs}
    result = ArgumentSpecValidator({name: _plain(specs[name]) for name in known}).validate(known)
    return [one_line(message) for message in result.error_messages], result.validated_parameters


def _plain(spec):
    return {key: value for key, value in spec.items() if key in ("type", "elements", "choices")}


def wrong_play_values(values):
    """Sentences on values of the playbook variables; values: those that are set."""
    told = []
    if SERIAL in values:
        serial = values[SERIAL]
        for each in serial if isinstance(serial, list) and serial else [serial]:
            match = re.match(r"([0-9]{1,9})(%?)\Z", str(each))
            if not match or int(match.group(1)) < 1 or (match.group(2) and int(match.group(1)) > 100):
                told.append(
                    f"{SERIAL}: found {_shown(each)}; expected a number of nodes from 1, a share such as 10%, or a "
                    "list of these"
                )
    if FAILURES in values and not re.match(r"(100|[0-9]{1,2})(\.[0-9]+)?%?\Z", str(values[FAILURES])):
        told.append(f"{FAILURES}: found {_shown(values[FAILURES])}; expected a percentage from 0 to 100")
    if BECOME in values:
        told += wrong_values({BECOME: {"type": "bool"}}, {BECOME: values[BECOME]})[0]
    return told


def _shown(value):
    return f"'{one_line(str(value))[:80]}'"


def words(pattern):
    """The parts of a host pattern, without the operator before each; None if it is not a pattern."""
    parts = pattern if isinstance(pattern, list) else [pattern]
    if not parts or not all(isinstance(part, str) and part.strip() for part in parts):
        return None
    return parts


def wrong_hosts(pattern, unmatched, hosts, groups, limit):
    """Sentences on a host pattern that selects no host, or has a part that names nothing.

    pattern: as text; unmatched: its parts that match neither a host nor a group; hosts: those that it selects within
    the limit; groups: name → its hosts.
    """
    if not unmatched and hosts:
        return []
    if unmatched:
        found = f"no host or group in the inventory that matches {', '.join(_shown(part) for part in unmatched)}"
    else:
        found = f"no host in the inventory that matches {_shown(pattern)}"
        found += f" and --limit {_shown(limit)}" if limit else ""
    return [f"{HOSTS}: found {found}; expected at least one. {_groups(groups)}"]


def _groups(groups):
    names = sorted(name for name in groups if name not in ("all", "ungrouped"))
    if not groups.get("all"):
        return "The inventory has no hosts; name it with -i"
    if not names:
        return "The inventory has no groups"
    shown = ["%s%s" % (one_line(name), "" if groups[name] else " (empty)") for name in names[:_SHOWN]]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"Groups of the inventory: {', '.join(shown)}{more}"


def missing_file(name, path, host):
    """A sentence if a file on the controller cannot be read; path: from the options, with its ``~``."""
    if not path:
        return []
    expanded = os.path.expanduser(path)
    if os.path.isfile(expanded) and os.access(expanded, os.R_OK):
        return []
    return [f"{name}: found no readable file {_shown(path)} on {host}; expected a kubeconfig file"]

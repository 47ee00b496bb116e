# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the role endpoint_routes' variables cannot be right, before the cluster is asked. Pure."""

import re

from ansible_collections.nodeward.cilium.plugins.module_utils.text import one_line
from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster.settings import few

# As the API of Kubernetes and helm take them.
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_NAMES = {
    "namespace": (_LABEL, "a namespace: up to 63 of a-z, 0-9 and '-'"),
    "release": (
        re.compile(r"(?=.{1,53}\Z)[a-z0-9]([-a-z0-9.]*[a-z0-9])?\Z"),
        "a release: up to 53 of a-z, 0-9, '-', '.'",
    ),
    "node_config_name": (
        re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9.]*[a-z0-9])?\Z"),
        "an object's name: up to 253 of a-z, 0-9, '-' and '.'",
    ),
    "delegate": (re.compile(r"[\w.:%-]+\Z"), "a host: its name in the inventory, or localhost"),
    # What is relative is so to another folder for each tool that reads it.
    "kubeconfig": (re.compile(r"([/~].*)?\Z"), "a path on endpoint_routes_delegate that begins with / or ~"),
    "chart_ref": (re.compile(r"(?!-)\S*\Z"), "a chart as helm takes it: a name, a path or a URL, without spaces"),
}
_TEXTS = {
    "chart_repo": "a URL",
    "context": "the name of a context",
    "helm_binary": "a path or the name of a program",
}
_NUMBERS = {"batch": (1, None, "agents at a time"), "timeout": (1, 86400, "seconds")}


def problems(hosts, in_play):
    """Sentences that refuse the variables.

    hosts: each host of the batch with its variables, as {host, options}; in_play: how many the play has in all batches.
    """
    return [one_line(sentence) for sentence in _problems(hosts, in_play)]


def _problems(hosts, in_play):
    # Of an inventory with several clusters nothing is asked then, so that they may differ.
    if all(host["options"]["state"] == "unchanged" for host in hosts):
        return []
    told = disagreements(hosts)
    if told:
        return told
    told += _wrong(hosts[0]["options"])
    if len(hosts) < in_play:
        told.append(
            f"serial: this batch has {len(hosts)} of the play's {in_play} hosts, and a cluster is changed once, by "
            "what all of them say. Run the role in a play without serial"
        )
    return told


def disagreements(hosts):
    """A cluster is asked and changed once, so that each variable can have but one value in a play."""
    told = []
    for name in hosts[0]["options"]:
        by_value = {}
        for host in hosts:
            by_value.setdefault(repr(host["options"][name]), []).append(host["host"])
        if len(by_value) > 1:
            told.append(
                "endpoint_routes_%s: has to be the same for all hosts of a play, which changes one cluster, and is %s. "
                "Run a play for each cluster (-e nodeward_hosts=GROUP)"
                % (name, ", ".join(f"{value} for {few(names)}" for value, names in sorted(by_value.items())))
            )
    return told


def _wrong(options):
    told = []
    for name, (least, most, unit) in sorted(_NUMBERS.items()):
        if options[name] < least or most and options[name] > most:
            expected = f"from {least} to {most}" if most else f"from {least}"
            told.append(f"endpoint_routes_{name}: expected {unit} {expected}; found {options[name]}")
    for name, (pattern, expected) in sorted(_NAMES.items()):
        # YAML reads 1, true and no as something else than a text.
        if not isinstance(options[name], str) or not pattern.match(options[name]):
            told.append(f"endpoint_routes_{name}: expected {expected}; found {options[name]!r}")
    for name, expected in sorted(_TEXTS.items()):
        if not isinstance(options[name], str):
            told.append(f"endpoint_routes_{name}: expected {expected}, as a text; found {options[name]!r}")
    selector = options["node_selector"]
    if not isinstance(selector, dict):
        told.append(
            f"endpoint_routes_node_selector: expected a dictionary of labels; found {selector!r}. On a command line "
            'write it as JSON: -e \'{"endpoint_routes_node_selector": {"canary": "yes"}}\''
        )
        return told
    for label, value in sorted(selector.items(), key=str):
        if not isinstance(label, str) or not isinstance(value, str):
            told.append(
                f"endpoint_routes_node_selector: expected texts as labels and values; found {label!r}: {value!r}. "
                "Write both in quotes, since YAML reads yes, true and 1 as something else"
            )
    return told

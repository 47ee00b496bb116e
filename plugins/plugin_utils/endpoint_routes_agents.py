# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cilium's agents: where they are, what each runs with, and in which order they are recreated. Pure."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.nodeward.cilium.plugins.plugin_utils.endpoint_routes_settings import (
    as_flag,
    as_text,
    selects,
)

STALE = "stale"
CURRENT = "current"
UNKNOWN = "unknown"


def is_ready(pod):
    conditions = (pod.get("status") or {}).get("conditions") or []
    return not pod["metadata"].get("deletionTimestamp") and any(
        condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions
    )


def agents_of(daemonset, pods):
    """The agents' pods, as [{node, pod, uid, created, ready}], by node."""
    uid = daemonset["metadata"]["uid"]
    found = []
    for pod in pods:
        references = pod["metadata"].get("ownerReferences") or []
        node = _node_of(pod)
        if node and any(reference["uid"] == uid for reference in references):
            found.append(
                {
                    "node": node,
                    "pod": pod["metadata"]["name"],
                    "uid": pod["metadata"]["uid"],
                    "created": pod["metadata"]["creationTimestamp"],
                    "ready": is_ready(pod),
                    "leaving": bool(pod["metadata"].get("deletionTimestamp")),
                }
            )
    return sorted(found, key=lambda agent: (agent["node"], agent["created"], agent["pod"]))


def _node_of(pod):
    """The node of a DaemonSet's pod, which one that is not scheduled yet is meant for by its affinity."""
    spec = pod.get("spec") or {}
    if spec.get("nodeName"):
        return spec["nodeName"]
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    terms = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms") or []
    fields = [field for term in terms for field in term.get("matchFields") or []]
    return next((field["values"][0] for field in fields if field["key"] == "metadata.name"), None)


def nodes_without(daemonset, agents, labels):
    """The nodes of which some have no agent though the DaemonSet wants one there; none where it has all it wants.

    labels: those of each node of the cluster. Which nodes are wanted is told by number alone.
    """
    have = {agent["node"] for agent in agents if not agent["leaving"]}
    if daemonset["status"]["desiredNumberScheduled"] <= len(have):
        return []
    selector = daemonset["spec"]["template"]["spec"].get("nodeSelector") or {}
    return sorted(node for node in labels if node not in have and selects({"matchLabels": selector}, labels[node]))


def waiting_for(batch, daemonset, pods):
    """Of a batch that was deleted, the nodes whose new agent is not ready yet, as [{node, why}]."""
    agents = agents_of(daemonset, pods)
    told = []
    for old in batch:
        here = [agent for agent in agents if agent["node"] == old["node"]]
        new = [agent for agent in here if agent["uid"] != old["uid"]]
        # A new one beside an old one that will not go is no agent that took over.
        if any(agent["ready"] for agent in new) and len(here) == len(new):
            continue
        if len(here) != len(new):
            why = "the old agent %s does not go" % old["pod"]
        elif new:
            why = "the new agent %s is not ready" % new[-1]["pod"]
        else:
            why = "there is no new agent yet"
        told.append({"node": old["node"], "why": why})
    return told


def judge(agents, before, after, hosts, times):
    """Each agent with what is configured for it and whether it runs with that: `state` and `reason`.

    What the agent itself says counts (`hosts`: node to the facts of the host). Where the node was not visited, the
    agent is stale where this run changes its value, or where it is older than the last change of the settings.
    """
    told = []
    for agent in agents:
        node = agent["node"]
        value = as_flag(after[node][0])
        runs = hosts.get(node, {}).get("agent")
        is_young = bool(times.get(node)) and agent["created"] >= times[node]
        if runs is not None and runs != value and is_young and not agent["ready"]:
            state, reason = UNKNOWN, "it is not ready yet, and what is there to be read is its predecessor's"
        elif runs is not None:
            state = CURRENT if runs == value else STALE
            reason = "it says that it runs with %s" % as_text(runs)
        elif as_flag(before[node][0]) != value:
            state, reason = STALE, "its value changes"
        elif times.get(node) and not is_young:
            state, reason = STALE, "it is older (%s) than the settings (%s)" % (agent["created"], times[node])
        elif times.get(node):
            state, reason = CURRENT, "it is younger than the settings"
        else:
            state, reason = UNKNOWN, "nothing tells what it runs with"
        told.append(dict(agent, configured=value, runs=runs, state=state, reason=reason))
    return told


def batches(agents, size):
    """The stale agents in the order of their restart; those that are not ready anyway come last."""
    stale = sorted((agent for agent in agents if agent["state"] == STALE), key=lambda a: (not a["ready"], a["node"]))
    return [stale[first : first + size] for first in range(0, len(stale), size)]

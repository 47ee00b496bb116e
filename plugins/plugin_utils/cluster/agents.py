# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cilium's agents: where they are, what each runs with, and in which order they are recreated. Pure."""

from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster.settings import as_flag, as_text, selects

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


def unready(nodes, agents, old=()):
    """Of these nodes those whose agent is not ready, or that have none, as [{node, why}].

    agents: all that are there, those that are leaving too; old: the uids of those that were deleted.
    """
    told = []
    for node in nodes:
        here = [agent for agent in agents if agent["node"] == node]
        new = [agent for agent in here if agent["uid"] not in old]
        # A new one beside an old one that will not go is no agent that took over.
        if len(new) < len(here):
            why = f"the old agent {next(agent for agent in here if agent['uid'] in old)['pod']} does not go"
        elif not new:
            why = "it has no agent"
        elif not any(agent["ready"] for agent in new):
            why = f"the agent {new[-1]['pod']} is not ready"
        else:
            continue
        told.append({"node": node, "why": why})
    return told


def waiting_for(planned, daemonset, pods, number):
    """What the batch after this number (from 0) waits for, as [{node, why}].

    That is every agent that is meant, but for those that were not ready to begin with and whose turn is to come.
    """
    done, left = planned["batches"][: number + 1], planned["batches"][number + 1 :]
    later = {agent["node"] for batch in left for agent in batch if not agent["ready"]}
    deleted = {agent["uid"]: agent["node"] for batch in done for agent in batch}
    nodes = sorted((set(planned["scope"]) | set(deleted.values())) - later)
    return unready(nodes, agents_of(daemonset, pods), deleted)


def progress(planned, daemonset, pods, number):
    """How far a restart is that stops at the batch of this number: the nodes `recreated`, those it stops `at`, and
    those that are `left`; and `lost`, the agents that are still to be recreated and of which no later run knows.

    pods: as they are now, or None where the cluster gave no answer.
    """
    batches = planned["batches"]
    if pods is None:
        recreated, at, left = (
            [agent for batch in some for agent in batch]
            for some in (batches[:number], batches[number : number + 1], batches[number + 1 :])
        )
        old = at + left
        at = [agent["node"] for agent in at]
    else:
        there = {agent["uid"] for agent in agents_of(daemonset, pods) if not agent["leaving"]}
        # What the DaemonSet itself restarts has no turn.
        begun = [] if planned["rollout"] else batches[: number + 1]
        turns = {agent["uid"] for batch in begun for agent in batch}
        everyone = [agent for batch in batches for agent in batch]
        # One that could not be deleted is still to be, though its turn has come.
        old = [agent for agent in everyone if agent["uid"] in there]
        left = [agent for agent in old if agent["uid"] not in turns]
        waiting = {each["node"] for each in waiting_for(planned, daemonset, pods, number)}
        at = sorted(waiting - {agent["node"] for agent in left})
        recreated = [agent for agent in everyone if agent not in left and agent["node"] not in waiting]
    return {
        "recreated": [agent["node"] for agent in recreated],
        "at": at,
        "left": [agent["node"] for agent in left],
        "lost": [agent for agent in old if agent["only_now"] and not planned["rollout"]],
    }


def judge(agents, before, after, hosts, times, known=(), written=()):
    """Each agent with what is configured for it and whether it runs with that: `state` and `reason`.

    What the agent itself says counts (`hosts`: node to the facts of the host). Where nothing tells that, the agent is
    stale where this run changes its value, where it is older than the last change of the settings, or where it was
    stale before in this run (`known`: the uids of those). `only_now`: nothing tells a later run that it is stale
    (`written`: the nodes for which this run writes a value, with its time).
    """
    told = []
    for agent in agents:
        node = agent["node"]
        value = as_flag(after[node][0])
        runs = hosts.get(node, {}).get("agent")
        is_young = bool(times.get(node)) and agent["created"] >= times[node]
        is_old = bool(times.get(node)) and not is_young
        changes = as_flag(before[node][0]) != value
        # What is there to be read of one that has not started is its predecessor's.
        is_starting = is_young and not agent["ready"]
        if runs is not None and not (is_starting and (changes or runs != value)):
            state = CURRENT if runs == value else STALE
            reason = f"it says that it runs with {as_text(runs)}"
        elif changes:
            state, reason = STALE, "its value changes"
        elif runs is not None:
            state, reason = UNKNOWN, "it is not ready yet, and what is there to be read is its predecessor's"
        elif is_old:
            state, reason = STALE, f"it is older ({agent['created']}) than the settings ({times[node]})"
        elif agent["uid"] in known:
            state, reason = STALE, "it was stale before, in this run"
        elif times.get(node):
            state, reason = CURRENT, "it is younger than the settings"
        else:
            state = UNKNOWN
            reason = "nothing tells what it runs with: no host of this run does, and of its settings no time is known"
        is_remembered = runs is not None or (node in written if changes else is_old)
        only_now = state == STALE and not is_remembered
        told.append(dict(agent, configured=value, runs=runs, state=state, reason=reason, only_now=only_now))
    return told


def batches(agents, size):
    """The stale agents in the order of their restart, which is that of `agents`.

    Those that are not ready come first, and alone: one of them may be what an earlier run stopped at.
    """
    found = []
    for is_ready in (False, True):
        stale = [agent for agent in agents if agent["state"] == STALE and agent["ready"] is is_ready]
        found += [stale[first : first + size] for first in range(0, len(stale), size)]
    return found


def rollout(strategy, count):
    """How a DaemonSet with this update strategy restarts so many agents: how many at_once, and in how many steps."""
    most = (strategy.get("rollingUpdate") or {}).get("maxUnavailable") or 1
    if isinstance(most, str) and most.endswith("%"):
        most = -(-count * int(most[:-1]) // 100)
    most = max(1, int(most))
    return {"at_once": most, "steps": -(-count // most)}


def is_rolling_out(daemonset):
    """Whether the DaemonSet itself restarts agents right now."""
    status, strategy = daemonset["status"], daemonset["spec"].get("updateStrategy") or {}
    if status.get("observedGeneration", 0) < daemonset["metadata"].get("generation", 0):
        return True
    wants = status["desiredNumberScheduled"]
    return strategy.get("type") != "OnDelete" and status.get("updatedNumberScheduled", 0) < wants

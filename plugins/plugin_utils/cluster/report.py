# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was reached when endpoint routes were switched, what is left to do, and how both are told. Pure."""

from ansible_collections.nodeward.cilium.plugins.module_utils.endpoints import name_of
from ansible_collections.nodeward.cilium.plugins.module_utils.text import one_line
from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster.agents import STALE, UNKNOWN
from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster.names import add_names
from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster.settings import as_flag, few
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge import commands


def report(planned, hosts, restarted=(), is_check=False, pods=()):
    """What holds on the nodes, and what is left to do.

    planned: the plan made anew after acting; hosts: the facts of the nodes after acting; restarted: the nodes whose
    agent was recreated in between, or would be, where this is a check; pods: those of the Kubernetes API, which name
    what the facts do not.
    """
    hosts = add_names(hosts, pods)
    stale = [agent for agent in planned["agents"] if agent["state"] == STALE]
    agents = [agent for agent in stale if not (is_check and agent["node"] in restarted)]
    unknown = [agent for agent in planned["agents"] if agent["state"] == UNKNOWN]
    # What is recreated while its node's agent is not the new one gets the old path again.
    not_yet = {agent["node"]: "it is known what its agent runs with" for agent in unknown}
    # A check recreates none, so that no command's time has come by it.
    not_yet.update((agent["node"], "its agent is recreated") for agent in stale)
    not_yet.update((each["node"], "its agent is ready") for each in planned["unready"] if each["node"] not in not_yet)
    late, unproven, unseen, verified = [], [], [], 0
    problems = list(planned["problems"])
    if planned["change"] and not is_check:
        problems.append(f"it was written, and is not what was asked for: {planned['diff']} is still to change")
    visited = {host["node"]: host for host in hosts}
    for node in planned["scope"]:
        host = visited.get(node)
        if host is None or host["routes"]["source"] is None and not host["routes"]["endpoints"]:
            unseen.append(node)
            continue
        for endpoint in host["routes"]["endpoints"]:
            if not endpoint["address"]:
                continue
            told = dict(
                {name: endpoint[name] for name in ("address", "device", "pod", "is_health", "verdict")}, node=node
            )
            if endpoint["endpoint_route"] != as_flag(planned["after"][node][0]):
                late.append(dict(told, once=not_yet.get(node)))
            elif endpoint["verdict"] == "accepted":
                verified += 1
            elif endpoint["verdict"] != "dropped":
                unproven.append(dict(told, reason=endpoint["reason"]))
            elif host["hardening"]:
                # What the role rp_filter would change, in check mode, may well mend it.
                unproven.append(dict(told, reason="dropped now, and harden would change the filter first"))
            else:
                problems.append(
                    f"{node}: {name_of(told)} is on its path, and its reply is dropped all the same: "
                    f"{endpoint['reason']}"
                )
    for agent in agents:
        if agent["node"] in restarted:
            problems.append(f"{agent['node']}: its agent was recreated, but {agent['reason']}")
    result = {
        "state": _state(problems, agents or late, planned["unready"], unseen or unknown or unproven),
        # What nodes say in them must not look like another line.
        "problems": [one_line(problem) for problem in problems],
        "agents": agents,
        "unready": planned["unready"],
        "unknown": unknown,
        "pods": late,
        "unproven": unproven,
        "unseen": unseen,
        "accepted": verified,
        "commands": [],
    }
    result["commands"] = [told for told in map(_command, late) if told]
    return result


def _command(pod):
    """What recreates it, where the time has come."""
    return "" if pod["once"] or pod["is_health"] else commands.recreate(pod["pod"])


def _state(problems, pending, not_ready, unknown):
    if problems:
        return "failed"
    return "pending" if pending else "unready" if not_ready else "unknown" if unknown else "done"


def story(planned, reported, options, is_check=False):
    """The report as lines for people; those that begin with >> are what is left to do."""
    return [one_line(line) for line in _story(planned, reported, options, is_check)]


def _story(planned, reported, options, is_check):
    word = "enabled" if planned["wanted"] == "true" else "disabled"
    lines = [f"endpoint routes: to be {word} by {planned['method']} ({planned['found_by']})"]
    if planned["diff"]:
        lines.append("   %s     %s" % ("would change" if is_check else "to change   ", planned["diff"]))
    lines += [f">> note             {note}" for note in planned["notes"]]
    lines += [f"   and with it      {told}" for told in planned["also"]]
    if reported is None:
        if planned["batches"] and options["restart"] == "rolling":
            lines.append(
                "   %s    %s" % ("would restart" if is_check else "to restart   ", _restarts(planned, options["batch"]))
            )
        return lines
    agents = reported["agents"]
    # What was not written yet, a later run writes and knows.
    lost = [] if is_check else [agent for agent in agents if agent["only_now"]]
    lines = [f"endpoint routes: {_summary(planned, reported, word, is_check)}"]
    for agent in agents:
        lines.append(f">> agent            {agent['pod']} on {agent['node']} has to be recreated: {agent['reason']}")
        if agent in lost:
            recreate = commands.recreate(f"{options['namespace']}/{agent['pod']}")
            lines[-1] += "; no later run knows that, unless the agent says it itself"
            lines[-1] += ": " + recreate if recreate else ""
    if len(lost) < len(agents):
        lines.append(">> to recreate them  run again with endpoint_routes_restart=rolling")
    lines += [">> agent            of %(node)s: %(why)s" % each for each in reported["unready"]]
    for agent in reported["unknown"]:
        lines.append(f"   agent            {agent['pod']} on {agent['node']}: {agent['reason']}")
    for pod in reported["pods"]:
        recreate = f"to be recreated once {pod['once']}" if pod["once"] else _command(pod)
        if pod["is_health"]:
            recreate = "its agent makes it anew when it restarts"
        elif not pod["pod"]:
            recreate = f"no source names its pod, on {pod['device']}"
        lines.append(
            ">> pod              %s on %s is still on the old path (%s)%s"
            % (name_of(pod), pod["node"], pod["verdict"], ": " + recreate if recreate else "")
        )
    if reported["commands"]:
        lines.append(
            "   note             only what a controller keeps (ownerReferences) is made anew once it is deleted; of a "
            "bare pod keep the manifest first"
        )
    for pod in reported["unproven"]:
        lines.append(
            f"   not known        whether the reply of {name_of(pod)} on {pod['node']} is accepted: {pod['reason']}"
        )
    if reported["unseen"]:
        lines.append(f"   not seen         {few(reported['unseen'])}: not visited, or nothing tells of its endpoints")
    return lines


def _restarts(planned, batch):
    told = ", then ".join(
        " and ".join(f"{agent['pod']} on {agent['node']}" for agent in each) for each in planned["batches"]
    )
    if not planned["rollout"]:
        return told
    most = planned["rollout"]["at_once"]
    told += f"; the DaemonSet itself does that, since the upgrade changes it, up to {most} at a time"
    return told + (f": endpoint_routes_batch ({batch}) cannot be kept" if most > batch else "")


def _count(things, word):
    return "%d %s%s" % (len(things), word, "" if len(things) == 1 else "s")


def _summary(planned, reported, word, is_check):
    state, agents, pods = reported["state"], _count(planned["agents"], "agent"), _count(reported["pods"], "pod")
    left = f"{len(reported['agents'])} of {agents} and {pods} to be recreated"
    if state == "failed":
        return f"to be {word}; not all is as it has to be, as the error below says"
    if is_check:
        rest = {"done": "nothing is left to do then", "pending": "then there are " + left}
        return f"would be {word} in the cluster; {rest.get(state, 'what else is to know stands below')}"
    if state == "done":
        return (
            f"{word}: every agent ({len(planned['agents'])}) agrees, and every pod is on its path "
            f"({reported['accepted']} replies accepted)"
        )
    rest = {
        "pending": "and pending: " + left,
        "unready": f"and {_count(reported['unready'], 'agent')} missing or not ready",
        "unknown": "and not everything could be seen",
    }
    return f"{word} in the cluster, {rest[state]}"

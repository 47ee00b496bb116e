# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether replies are dropped at each horizon, judged from the predicted states. Pure."""

from ansible_collections.nodeward.cilium.plugins.module_utils import horizons

#: The horizons of a document, and what each is called in the prediction.
TO_COME = {
    "pod": horizons.INTERFACE,
    "boot": horizons.BOOT,
    "restart": horizons.RESTART,
    "sysctl_system": horizons.SYSCTL_SYSTEM,
}
#: At these the pods are made anew.
ANEW = ("pod", "boot")

#: The remark that a prediction is made without an agent.
WITHOUT_AGENT = "no agent was seen on this node: predicted without one"


def to_come(rp_filter, device, dropped_at, anew=None):
    """What a pod meets that is made again (next pod, next boot), and what this one meets (restart, sysctl --system).

    :arg dropped_at: the values at which replies of this pod are dropped.
    :arg anew: the same of a pod that is made again, if that is known (``dropped_at_anew``).
    """
    pattern = horizons.pattern_name(rp_filter, device)
    at_values = {when: anew if anew is not None and when in ANEW else dropped_at for when in TO_COME}
    return {
        when: judged(rp_filter, _subject(rp_filter, device, pattern, when), horizon, at_values[when])
        for when, horizon in TO_COME.items()
    }


def is_unknown(horizon):
    """Whether it is not known if replies are dropped then, because of a writer that cannot be predicted."""
    return horizon["dropped"] is None and bool(horizon["unknown"])


def _subject(rp_filter, device, pattern, when):
    """Of the present interface what a loader's run does to it; else the next one of its pattern."""
    if when in ("restart", "sysctl_system") and device in rp_filter["devices"]:
        return device
    return pattern or device or "all"


def judged(rp_filter, subject, horizon, dropped_at):
    """A predicted state, and whether it drops replies: True, False, or None if that is not known."""
    state = horizons.at(rp_filter, subject, horizon)
    dropped = None
    if dropped_at is not None:
        drops = {min(value, 2) in dropped_at for value in state["possible"]}
        dropped = next(iter(drops)) if len(drops) == 1 else None
    effective = state["effective"]
    return {
        "effective": effective,
        "dropped": dropped,
        "lines": lines_of(state["sources"]) + lines_of(state["unknown"]),
        "sources": state["sources"],
        "ends": state["ends"] if state["ends"] and _is_over(state["ends"], dropped_at) else None,
        "before": state["before"],
        "unknown": state["unknown"] if dropped is None or effective is None else [],
    }


def _is_over(ends, dropped_at):
    """Whether nothing is dropped any more once the agent has reset what it resets."""
    return dropped_at is None or ends["value"] is not None and min(ends["value"], 2) not in dropped_at


def lines_of(sources):
    """The sources that are a line of a file."""
    return [
        {key: source[key] for key in ("path", "line", "key", "value")}
        for source in sources
        if source["path"] and source["line"] and source["value"] is not None
    ]


def drops_for_long(horizon):
    """Whether replies are dropped, and nothing ends that by itself."""
    return bool(horizon["dropped"]) and horizon["ends"] is None


def duration(ends):
    """How long a state lasts that the agent ends, in words."""
    then = ", after which it is unknown" if ends["value"] is None else ""
    if ends["seconds"] is None:
        return "until the agent resets it, at its next start, or from Cilium 1.16 within 10 minutes" + then
    return f"for up to {in_words(ends['seconds'])}, until the agent resets it{then}"


def in_words(seconds):
    """A length of time in words."""
    return f"{seconds} s" if seconds % 60 else f"{seconds // 60} minutes"


def place(source):
    """A source in words: file:line, or who it is."""
    if not source["path"]:
        return source["by"]
    return f"{source['path']}:{source['line']}" if source["line"] else source["path"]


def without_agent(rp_filter):
    """The remark that the prediction is made without an agent; empty if one was seen or the facts do not say."""
    agent = rp_filter.get("agent")
    if not agent or agent["seen"]:
        return ""
    return WITHOUT_AGENT


def applies(routes):
    """Whether rp_filter, which is for IPv4 alone, applies to pods: not if no endpoint has an IPv4 address or will."""
    endpoints = routes["endpoints"]
    if any(endpoint["address"] for endpoint in endpoints):
        return True
    return routes.get("ipv4") is not False and not (endpoints and all(map(has_ipv6_alone, endpoints)))


def dropped_at_next(routes, endpoints):
    """The values at which the next pod's replies are dropped, judged by these endpoints; None: not known."""
    if routes.get("ipv4") is False:
        return []
    return dropped_at_of(endpoints) if endpoints else dropped_at_first(routes["endpoint_routes"])


def dropped_at_anew(routes):
    """The values at which replies of a pod made anew are dropped: none if the agent gives it a route of its own.

    None: as of the pods that are there.
    """
    return [] if routes["endpoint_routes"]["agent"] else None


def dropped_at_of(endpoints):
    """The values at which one of these endpoints' replies is dropped; None: not known."""
    known = [values for values in map(dropped_at, endpoints) if values is not None]
    return sorted({value for values in known for value in values}) if known else None


def dropped_at(endpoint):
    """The values at which this endpoint's replies are dropped; none if it has IPv6 alone, None: not known."""
    if has_ipv6_alone(endpoint):
        return []
    return endpoint["dropped_at"]


def has_ipv6_alone(endpoint):
    """Whether it has no IPv4 address, but an IPv6 one."""
    return bool(endpoint["ipv6"]) and not endpoint["address"]


def dropped_at_first(endpoint_routes):
    """The values at which the first pod's replies are dropped: its interface has no address, so its route decides."""
    # What the agent is configured for holds for a pod to come, whatever those that were there have.
    has_route = endpoint_routes["agent"] if endpoint_routes["agent"] is not None else endpoint_routes["in_effect"]
    return [] if has_route else [1, 2]


def uplink_to_come(rp_filter, name):
    """An uplink as it runs now, and after the next boot, a restart of systemd-sysctl and a `sysctl --system`.

    For each, once the agent has reset `all`, {value, lines, sources, seconds}.

    ``value`` is None if more than one is possible and off is one of them; else the weakest of those. ``seconds`` says
    after which time the agent makes it so; None if it does not.
    """
    found = {}
    for when in ("now", "boot", "restart", "sysctl_system"):
        state = horizons.at(rp_filter, name, TO_COME.get(when, horizons.NOW))
        possible = {min(max(value, 0), 2) for value in state["possible"]}
        value = min(possible, key=(0, 2, 1).index) if len(possible) == 1 or 0 not in possible else None
        seconds = None
        # Once the agent has reset `all`, what the uplink has through it is gone.
        if when != "boot" and value and state["ends"] and state["ends"]["seconds"] is not None:
            seconds = state["ends"]["seconds"]
            rest = state["ends"]["value"]
            value = None if rest is None else min(value, rest, key=(0, 2, 1).index)
        sources = state["sources"] + [place for place in state["unknown"] if place not in state["sources"]]
        found[when] = {"value": value, "lines": lines_of(sources), "sources": sources, "seconds": seconds}
    return found

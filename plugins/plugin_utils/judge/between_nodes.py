# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether packets from other nodes are dropped: with endpoint routes a filter on Cilium's host interfaces does that.

Such a packet arrives on one of Cilium's host interfaces, and the route back to its source names another. Pure.
"""

from ansible_collections.nodeward.cilium.plugins.module_utils import devices
from ansible_collections.nodeward.cilium.plugins.module_utils import horizons as prediction
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge import attribution, horizons
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.findings_to_come import has_endpoint_routes

_FILTERING = [1, 2]


def judged(rp_filter, routes):
    """{dropped, interfaces, next}; None without endpoint routes, where nothing of this is dropped.

    ``interfaces`` are the filtered ones, each {device, effective, set_by}; ``next`` has the horizons of a story.
    """
    if not has_endpoint_routes(routes):
        return None
    hosts = [name for name, device in sorted(rp_filter["devices"].items()) if _is_hosts(name, device)]
    filtered = [name for name in hosts if rp_filter["devices"][name]["effective"]]
    interfaces = [
        {
            "device": name,
            "effective": rp_filter["devices"][name]["effective"],
            "set_by": attribution.set_by(rp_filter, name, rp_filter["devices"][name]),
        }
        for name in filtered
    ]
    patterns = [pattern for pattern in sorted(rp_filter["patterns"]) if prediction.is_hosts(rp_filter, pattern)]
    return {
        "dropped": bool(filtered),
        "interfaces": interfaces,
        "next": {
            when: _worst(rp_filter, patterns if when == "pod" else hosts or patterns, horizon)
            for when, horizon in horizons.TO_COME.items()
        },
    }


def _is_hosts(name, device):
    return device["kind"] == devices.CILIUM and devices.matches(name, [devices.HOST_DEVICES])


def _worst(rp_filter, subjects, horizon):
    """The state of the first interface that drops packets; else of the first unknown one; else of any."""
    states = [horizons.judged(rp_filter, subject, horizon, _FILTERING) for subject in subjects or ["all"]]
    return min(states, key=lambda state: 0 if state["dropped"] else 1 if horizons.is_unknown(state) else 2)


def risks(between):
    """The horizons at which packets from other nodes are dropped, or at which that is unknown."""
    if not between:
        return []
    return [when for when, state in between["next"].items() if state["dropped"] or horizons.is_unknown(state)]

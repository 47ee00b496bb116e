# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of pods that the facts of their node do not name, from the Kubernetes API. Pure."""

# A pod that has ended keeps its address in its status, and another pod may have it by now.
_ENDED = ("Succeeded", "Failed")


def add_names(hosts, pods):
    """The hosts, with the pods that their facts do not name called as the Kubernetes API calls them."""
    known = {}
    for pod in pods:
        status, spec = pod.get("status") or {}, pod.get("spec") or {}
        # A pod in the host's network has the node's address, and no endpoint.
        if status.get("podIP") and status.get("phase") not in _ENDED and not spec.get("hostNetwork"):
            metadata = pod["metadata"]
            known[spec.get("nodeName"), status["podIP"]] = f"{metadata['namespace']}/{metadata['name']}"

    def named(node, endpoint):
        if endpoint["pod"] or endpoint["is_health"]:
            return endpoint
        return dict(endpoint, pod=known.get((node, endpoint["address"])))

    return [
        dict(
            host,
            routes=dict(host["routes"], endpoints=[named(host["node"], each) for each in host["routes"]["endpoints"]]),
        )
        for host in hosts
    ]

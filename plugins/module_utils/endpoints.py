# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an endpoint is called. Pure."""

from ansible_collections.nodeward.cilium.plugins.module_utils import devices

HEALTH = "health endpoint"


def is_health(endpoint):
    """Whether it is Cilium's health endpoint; facts of an older version do not say."""
    return bool(endpoint.get("is_health")) or endpoint.get("device") == devices.HEALTH_DEVICE


def known_name(endpoint):
    """The health endpoint's name, or namespace/pod; None if no source names the pod."""
    return HEALTH if is_health(endpoint) else endpoint.get("pod")


def name_of(endpoint):
    """The name of an endpoint in each text: the known one, else its address, else its interface."""
    return known_name(endpoint) or endpoint["address"] or endpoint.get("ipv6") or endpoint["device"] or "an endpoint"

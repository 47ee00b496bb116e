# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


DOCUMENTATION = r"""
name: endpoint_routes_waiting
short_description: Tell which agents are to be ready before the next batch of them is restarted, and are not
version_added: 0.1.0
description:
  - Serves the role P(nodeward.cilium.endpoint_routes#role). Pure; it touches neither cluster nor node.
positional: _input
options:
  _input:
    description: The plan of P(nodeward.cilium.endpoint_routes_plan#filter).
    type: dict
    required: true
  daemonset:
    description: The agents' DaemonSet.
    type: dict
    required: true
  pods:
    description: The agents' pods as they are now.
    type: list
    elements: dict
    required: true
  number:
    description: Which of the plan's C(batches) was deleted last, counted from 0.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Stop where an agent has not come back
  ansible.builtin.assert:
    that: plan | nodeward.cilium.endpoint_routes_waiting(daemonset, pods.resources, 0) | length == 0
"""

RETURN = r"""
_value:
  description: One for each node whose agent is not ready, or that has none, with C(node) and C(why).
  type: list
  elements: dict
"""

from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster.agents import waiting_for
from ansible_collections.nodeward.cilium.plugins.plugin_utils.plain import on_plain


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"endpoint_routes_waiting": on_plain(waiting_for)}

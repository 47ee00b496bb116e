# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


DOCUMENTATION = r"""
name: endpoint_routes_progress
short_description: Tell how far a restart of Cilium's agents is that stops
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
    description: The agents' pods as they are now, or nothing where the cluster gave no answer.
    type: list
    elements: dict
  number:
    description: At which of the plan's C(batches) it stops, counted from 0.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Name what is left
  ansible.builtin.debug:
    msg: "{{ (plan | nodeward.cilium.endpoint_routes_progress(daemonset, pods.resources, 0)).left }}"
"""

RETURN = r"""
_value:
  description:
    - The nodes whose agent was C(recreated) and is ready, those that it stops C(at), and those that are C(left); and
      C(lost), the agents that are still to be recreated and of which no later run knows.
  type: dict
"""

from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster.agents import progress
from ansible_collections.nodeward.cilium.plugins.plugin_utils.plain import on_plain


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"endpoint_routes_progress": on_plain(progress)}

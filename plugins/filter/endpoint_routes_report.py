# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


DOCUMENTATION = r"""
name: endpoint_routes_report
short_description: Tell which agents and pods are still to be recreated after endpoint routes were switched
version_added: 0.1.0
description:
  - Serves the role P(nodeward.cilium.endpoint_routes#role). Pure; it touches neither cluster nor node.
positional: _input
options:
  _input:
    description: The plan of P(nodeward.cilium.endpoint_routes_plan#filter), made anew after acting.
    type: dict
    required: true
  hosts:
    description: The facts of each visited node, as a list of dictionaries with C(node), C(host) and C(routes).
    type: list
    elements: dict
    required: true
  restarted:
    description: The nodes whose agent was recreated.
    type: list
    elements: str
    default: []
  is_check:
    description: Whether nothing was done, since this is check mode.
    type: bool
    default: false
  pods:
    description: The pods of the Kubernetes API, which name the endpoints that the facts do not.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Name the pods that are still on the old path
  ansible.builtin.debug:
    msg: "{{ (plan | nodeward.cilium.endpoint_routes_report(hosts)).pods | map(attribute='pod') }}"
"""

RETURN = r"""
_value:
  description:
    - C(state) (V(failed) where there are C(problems), V(pending), V(unready), V(unknown), V(done)), C(problems), the
      C(agents) and C(pods) that are to be recreated, each pod with what has to be before that (C(once)), the
      C(commands) that recreate those pods whose time has come, the nodes whose agent is missing or not ready
      (C(unready)), the C(unknown) agents, the C(unseen) nodes, the pods on their path of whose reply no verdict is
      known (C(unproven)), and how many replies were C(accepted).
    - What nodes say stands in it as they say it, which may be anything; but not in C(problems) and C(commands).
  type: dict
"""

from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster.report import report
from ansible_collections.nodeward.cilium.plugins.plugin_utils.plain import on_plain


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"endpoint_routes_report": on_plain(report)}

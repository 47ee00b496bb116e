# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


DOCUMENTATION = r"""
name: endpoint_routes_plan
short_description: Tell from what a cluster says how endpoint routes are to be switched, and what refuses it
version_added: 0.1.0
description:
  - Serves the role P(nodeward.cilium.endpoint_routes#role). Pure; it touches neither cluster nor node.
positional: _input
options:
  _input:
    description:
      - What was read, as a dictionary of C(reviews), C(config_map), C(daemonsets), C(pods), C(nodes), C(node_configs)
        (an answer for each version of the API), C(releases), C(helm), C(helm_failed), C(upgrade) (what helm tells in a
        dry run; empty before that), C(hosts), C(meant), the C(scope) of the plan before acting, and C(stale), the
        C(uid) of each agent that was stale in it.
    type: dict
    required: true
  options:
    description: The role's variables, without their prefix.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Stop where it is refused
  ansible.builtin.assert:
    that: plan.problems | length == 0
  vars:
    plan: "{{ seen | nodeward.cilium.endpoint_routes_plan(options) }}"
"""

RETURN = r"""
_value:
  description:
    - The plan. C(problems) refuse it, each a sentence; C(method) and C(found_by); C(wanted), the value as Cilium reads
      it; C(change), what has to be written (V(helm), V(configmap), V(node_config), V(remove), V(unset)) or null, with
      C(definition) or C(values), C(diff) in words, and C(also), what else a Helm upgrade does; C(agents), each with its
      C(state) (V(current), V(stale), V(unknown)), C(reason), and whether only this run knows that it is stale
      (C(only_now)); C(batches), the stale ones in the order of their
      restart; C(rollout), where the DaemonSet itself restarts them, with how many C(at_once) and in how many C(steps),
      or null; C(unready), of all other nodes those whose agent is missing or not ready, each with C(node) and C(why);
      C(before) and C(after), what is configured for each node; C(scope), the nodes that are meant; C(notes).
  type: dict
"""

from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster.plan import plan
from ansible_collections.nodeward.cilium.plugins.plugin_utils.plain import on_plain


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"endpoint_routes_plan": on_plain(plan)}

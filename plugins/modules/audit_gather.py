#!/usr/bin/python
# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


DOCUMENTATION = r"""
module: audit_gather
short_description: Gather the filter, pods and routes of a node at once
version_added: 0.1.0
description:
  - Runs M(nodeward.cilium.rp_filter_facts) and M(nodeward.cilium.route_facts) at the same time, and nothing else.
  - M(ansible.builtin.gather_facts) can do so too, with C(parallel). It runs them as jobs, of which nearly a megabyte of
    files stays on the node each time; this leaves nothing there.
  - Changes nothing.
options:
  timeout:
    description: The longest that each step of each of both may take, in seconds.
    type: float
    default: 5
  exempt:
    description: As in M(nodeward.cilium.rp_filter_facts).
    type: list
    elements: str
  uplink_devices:
    description: As in M(nodeward.cilium.rp_filter_facts).
    type: list
    elements: str
  dropin_path:
    description: As in M(nodeward.cilium.rp_filter_facts).
    type: path
  running_system:
    description: As in M(nodeward.cilium.rp_filter_facts).
    type: str
    choices: [auto, always]
    default: auto
attributes:
  check_mode:
    description: Can run in check mode.
    support: full
  diff_mode:
    description: Changes nothing, so there is no difference to show.
    support: none
notes:
  - Takes these two facts of a node, and nothing else that it returns.
  - Fails where one of both does, and says which and why. The facts of the other are returned all the same.
seealso:
  - module: nodeward.cilium.rp_filter_facts
  - module: nodeward.cilium.route_facts
author:
  - nodeward.cilium contributors (@nodeward)
"""

EXAMPLES = r"""
- name: Gather the filter, pods and routes
  nodeward.cilium.audit_gather:
"""

RETURN = r"""
ansible_facts:
  description: Both facts, as their modules describe them.
  returned: always
  type: dict
  contains:
    rp_filter:
      description: See M(nodeward.cilium.rp_filter_facts).
      returned: where that did not fail
      type: dict
    cilium_routes:
      description: See M(nodeward.cilium.route_facts).
      returned: where that did not fail
      type: dict
"""

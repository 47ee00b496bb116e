#!/usr/bin/python
# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


DOCUMENTATION = r"""
module: check_variables
short_description: Check the variables of a run before a node is visited
version_added: 0.1.0
description:
  - Serves the playbooks of this collection. Runs on the controller alone, for all hosts of the run at once.
  - Fails if no host matches, or if a part of the host pattern matches neither a host nor a group.
  - Fails if a variable resembles one of a role or playbook that it is not, and names the right one.
  - Fails if a value does not fit the role's argument_specs.
options:
  roles:
    description: The roles of this collection whose variables the run reads.
    type: list
    elements: str
    required: true
  hosts:
    description: The host pattern of the run, or a list of patterns.
    type: raw
    required: true
attributes:
  check_mode:
    description: Can run in check mode.
    support: full
  diff_mode:
    description: Changes nothing, so there is no difference to show.
    support: none
author:
  - nodeward.cilium contributors (@nodeward)
"""

EXAMPLES = r"""
- name: Check the variables
  nodeward.cilium.check_variables:
    roles: [rp_filter]
    hosts: "{{ nodeward_hosts | default('all') }}"
  run_once: true
"""

RETURN = r"""
hosts:
  description: How many hosts the run has.
  returned: success
  type: int
endpoint_routes:
  description: The options of the role endpoint_routes without their prefix; empty if no host switches endpoint routes.
  returned: success
  type: dict
"""

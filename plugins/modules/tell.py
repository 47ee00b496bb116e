#!/usr/bin/python
# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


DOCUMENTATION = r"""
module: tell
short_description: Print lines as they are
version_added: 0.1.0
description:
  - Prints lines to the terminal as they are, where M(ansible.builtin.debug) shows them quoted and as JSON.
  - Under a stdout callback for machines, such as C(ansible.posix.json), it prints nothing. The lines are in
    the task's result in any case.
  - Runs on the controller alone and touches no node.
options:
  lines:
    description: The lines.
    type: list
    elements: str
    required: true
  mark:
    description: Lines that begin with this are shown in Ansible's colour for errors, where it uses colours.
    type: str
    default: '>>'
  result:
    description: More members of the task's result, such as the data of which the lines tell.
    type: dict
    default: {}
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
- name: Tell what was found
  nodeward.cilium.tell:
    lines:
      - "{{ inventory_hostname }}: nothing to do"
"""

RETURN = r"""
lines:
  description: The lines.
  returned: always
  type: list
  elements: str
  sample: ["node1: nothing to do"]
"""

# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts in, a diagnosis out: dropped replies, deciding lines, the horizons, remediations. Pure."""

DOCUMENTATION = r"""
name: diagnosis
short_description: Report from a node's facts which pods' packets are dropped, why, and the deciding line
version_added: 0.1.0
description:
  - Turns the facts of M(nodeward.cilium.rp_filter_facts) and M(nodeward.cilium.route_facts) into a diagnosis, for
    people by P(nodeward.cilium.story#filter) and for machines as it is.
  - Pure. It touches no node, and works as well on facts that were kept.
positional: _input
options:
  _input:
    description: The fact C(rp_filter).
    type: dict
    required: true
  routes:
    description: The fact C(cilium_routes).
    type: dict
    required: true
  node:
    description: The name of the node, for the words and the commands.
    type: str
    default: this node
  pod:
    description: Tell of this pod alone, given as namespace/name.
    type: str
    default: ''
  address:
    description: Tell of the endpoint with this IP address alone.
    type: str
    default: ''
  later:
    description:
      - Both facts gathered again after C(seconds), as a dictionary of C(rp_filter), C(cilium_routes) and C(seconds).
        The diagnosis then says how many packets died in between.
    type: dict
    default: {}
  probes:
    description:
      - Connections that were tried, each a dictionary of C(address), C(port), C(answered), C(before) and C(after), the
        last two the drop counter.
    type: list
    elements: dict
    default: []
  probing:
    description: Whether connections were to be tried, so that the diagnosis says why if there are none.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Gather the filter
  nodeward.cilium.rp_filter_facts:

- name: Gather pods and routes
  nodeward.cilium.route_facts:

- name: Fail if pods' packets are dropped
  ansible.builtin.assert:
    that: diagnosis.state == 'ok'
    fail_msg: "{{ diagnosis.summary }}"
  vars:
    diagnosis: >-
      {{ ansible_facts['rp_filter']
         | nodeward.cilium.diagnosis(ansible_facts['cilium_routes'], node=inventory_hostname) }}
"""

RETURN = r"""
_value:
  description: The diagnosis.
  type: dict
  contains:
    schema:
      description: The version of this document. It is raised when a field changes its meaning or goes.
      type: int
      sample: 1
    node:
      description: The node's name.
      type: str
    state:
      description:
        - V(ok) where every reply is accepted now and later; V(at_risk) where the next pod, boot, restart of
          systemd-sysctl or C(sysctl --system) will drop replies, or a writer makes that unknown.
        - V(dropping) if packets of pods, or between nodes with endpoint routes, are dropped now; V(unknown) if that
          is not known, or if the facts are of another version of this collection; V(no_cilium) if there is no Cilium;
          V(elsewhere) if the pod or address asked for is not here.
      type: str
    summary:
      description: The same in a sentence.
      type: str
    running_system:
      description:
        - As in the fact. If it was not observed, the files alone are judged, as they count from the next boot on. Null
          if the facts are of another version of this collection, which are not judged.
      type: dict
    endpoints:
      description:
        - How many endpoints there are (C(total)), and how many of them C(accepted), C(dropped), C(unknown). Those with
          an IPv6 address alone are none of these.
      type: dict
    stories:
      description:
        - One for each endpoint that was asked for or whose packets are dropped, and for each of Cilium's filtered
          devices whose pod is not known.
          Each has the endpoint's own fields (C(address), C(ipv6), C(pod), C(is_health), C(device), C(route_device),
          C(symmetric), C(verdict), C(reason), C(leaves), C(namespace)); C(filter) (C(effective), C(own), C(all),
          C(decided_by)); C(filter_is_why); C(set_by), for each value that filters its C(key), C(value), C(path),
          C(line), C(text) and C(by); and C(next).
        - C(next) has C(pod), C(boot), C(restart) (of systemd-sysctl) and C(sysctl_system). Each of these has the
          C(effective) value once every writer has written, null if that is not known; whether the reply is C(dropped)
          then; the C(lines) that decide, and all C(sources) (a line, another writer, or the C(agent)).
        - C(ends) says that the agent ends the state by itself, after how many C(seconds), null if at its next start.
          C(before) is what stands at boot until the agent has started. C(unknown) lists the places that may write it
          and cannot be predicted.
      type: list
      elements: dict
    next:
      description:
        - What a pod to come meets, as C(next) of a story; for C(restart) and C(sysctl_system), what the first of those
          meets that are there and whose replies a line drops.
      type: dict
    between_nodes:
      description:
        - Whether packets from other nodes are dropped, which a filter on Cilium's host interfaces does if endpoint
          routes are on; null if they are off, and with O(pod) and O(address).
        - C(dropped) is so now, on C(interfaces), each with C(device), C(effective) and C(set_by) as of a story; C(next)
          is as C(next) of a story.
      type: dict
    reload_on_add:
      description:
        - Where udev is told to set the filter on every new device, and C(cleared_by), the rule that takes that back
          for Cilium's.
      type: dict
    endpoint_routes:
      description: As in the fact.
      type: dict
    cures:
      description:
        - Each with C(title), C(commands) and C(variables); empty where there is nothing to cure. Both cures, and before
          them whatever would override the first (another program's line, or a role that writes the kernel), with the
          way out; no cure that such a line undoes, and endpoint routes only if they are not on yet and are of use.
      type: list
      elements: dict
    watch:
      description: C(seconds), C(dropped) packets, and C(devices), the pods' interfaces by which packets came in.
      type: dict
    probes:
      description: As given.
      type: list
      elements: dict
    not_probed:
      description: Why no connection was tried although that was asked for; null otherwise.
      type: str
    notes:
      description: What else matters, as sentences.
      type: list
      elements: str
    warnings:
      description: What drops packets although the filter is right, as sentences.
      type: list
      elements: str
    unseen:
      description: What could not be read, as C(what), C(why), and whether root could (C(needs_root)).
      type: list
      elements: dict
"""

from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.diagnosis import diagnosis


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"diagnosis": diagnosis}

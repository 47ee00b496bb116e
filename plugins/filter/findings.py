# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts in, findings out. Pure: the same facts give the same findings."""

DOCUMENTATION = r"""
name: findings
short_description: What is wrong on a node, each with its evidence and remedy
version_added: 0.1.0
description:
  - Judges the facts of M(nodeward.cilium.rp_filter_facts) and, where given, of M(nodeward.cilium.route_facts).
  - Pure. It touches no node, and works as well on facts that were kept.
  - V(RPF001), A device of Cilium is filtered now.
  - V(RPF002), The next device of Cilium will be filtered.
  - V(RPF003), The next boot will filter Cilium's devices.
  - V(RPF004), The next sysctl --system will filter Cilium's devices.
  - V(RPF005), all filters Cilium's devices.
  - V(RPF006), The kernel drops what an endpoint sends.
  - V(RPF007), An uplink has no protection.
  - V(RPF008), A netfilter rule checks the reverse path.
  - V(RPF009), Something besides the loaders sets the filter.
  - V(RPF010), systemd-sysctl.service failed.
  - V(RPF011), A loader knows no globs.
  - V(RPF012), Something could not be read.
  - V(RPF013), udev does not run systemd-sysctl for new devices.
  - V(RPF014), Another line beats the drop-in's exemption.
  - V(RPF015), Another line beats what the drop-in keeps on a device.
  - V(RPF016), The drop-in is missing.
  - V(RPF017), The drop-in was changed by hand.
  - V(RPF018), The drop-in is of another version.
  - V(RPF019), A glob without a dash fails the unit at boot.
  - V(RPF020), An uplink is strict where Cilium's mode needs it loose.
  - V(RPF021), More packets were dropped since the last look.
  - V(RPF022), Endpoint routes are configured but not in effect for every pod.
  - V(RPF023), Endpoint routes are in effect though not configured.
  - V(RPF024), systemd-sysctl.service hit its start limit.
  - V(RPF025), src_valid_mark is on beside Cilium's L7 proxy.
  - V(RPF026), Traffic between nodes is dropped with endpoint routes on.
  - V(RPF027), Cilium's own file took an uplink's protection away.
  - V(RPF028), An identical earlier line disarms Cilium's own file.
  - V(RPF029), The facts are incomplete.
  - V(RPF030), An uplink will lose its protection.
  - V(RPF031), A host device of Cilium is filtered, or will be.
  - V(RPF032), What may decide the filter could not be read.
  - V(RPF033), A device that is not Cilium's is not filtered.
  - V(RPF034), A restart of systemd-sysctl will filter Cilium's devices.
positional: _input
options:
  _input:
    description: The fact C(rp_filter).
    type: dict
    required: true
  routes:
    description: The fact C(cilium_routes).
    type: dict
  before:
    description:
      - The C(counters) of an earlier fact C(rp_filter) of the same node, to tell by how much they grew.
    type: dict
notes:
  - What each finding means, how it is detected and what mends it stands in C(docs/findings.md) of the collection.
"""

EXAMPLES = r"""
- name: Gather the filter
  nodeward.cilium.rp_filter_facts:

- name: Gather pods and routes
  nodeward.cilium.route_facts:

- name: Name what is wrong
  ansible.builtin.debug:
    msg: "{{ ansible_facts['rp_filter'] | nodeward.cilium.findings(ansible_facts['cilium_routes']) }}"
"""

RETURN = r"""
_value:
  description: The findings, by id and subject; none where all is well.
  type: list
  elements: dict
  contains:
    id:
      description: Stable over versions.
      type: str
      sample: RPF003
    severity:
      description:
        - V(high) if packets of pods are dropped now or will be, V(medium) if that ends by itself or cannot be
          predicted, or if protection is lost, V(low) else.
      type: str
      sample: high
    title:
      description: What is wrong, for any node.
      type: str
    subject:
      description: The device, pattern, endpoint, loader or file that is meant.
      type: str
      sample: lxc3c160d6c7aa0
    expected:
      description: What should be, for this subject.
      type: str
      sample: '0'
    observed:
      description: What is.
      type: str
      sample: '2'
    evidence:
      description: Where that can be seen.
      type: dict
      contains:
        path:
          description: The file whose line is the evidence; null where it is no file.
          type: str
          sample: /usr/lib/sysctl.d/50-default.conf
        line:
          description: The line in that file, counted from 1; null where the whole file is meant.
          type: int
          sample: 26
        text:
          description: The evidence in words, readable alone.
          type: str
          sample: /usr/lib/sysctl.d/50-default.conf:26 net.ipv4.conf.*.rp_filter = 2
        value:
          description: The value that was found; null where there is none.
          type: str
          sample: '2'
        counter:
          description: The counter or number that was found; null where there is none.
          type: int
          sample:
    why:
      description: Why it matters.
      type: str
    remedy:
      description: The C(variable) of the role, and the C(command), that mend it.
      type: dict
    reference:
      description: Where that is documented.
      type: str
"""

from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.findings import findings


class FilterModule:
    """The filter, by its name."""

    def filters(self):
        return {"findings": findings}

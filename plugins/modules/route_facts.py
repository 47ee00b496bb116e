#!/usr/bin/python
# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: route_facts
short_description: Report the pods of a node, the routes to them, and whether the kernel takes their replies
version_added: 0.1.0
description:
  - Reports every endpoint (a pod as Cilium sees it) of the node as the fact RV(ansible_facts.cilium_routes), with its
    device, the device by which the host reaches it, and the kernel's own verdicts on its replies to the host and on
    its packets to the world outside.
  - The verdict is asked of the kernel and not guessed. C(ip route get <host address> from <pod> iif <device>) runs the
    reverse-path check that a real packet meets, and sends no packet.
  - B(The question leaves a trace.) Where C(net.ipv4.conf.*.log_martians) is on, the kernel writes a martian line to
    its log for every endpoint that it would drop, at a limited rate, and C(in_martian_src) in
    C(/proc/net/stat/rt_cache) grows by one for each. C(TcpExt IPReversePathFilter) counts packets alone and does not
    move. O(verdicts=false) asks nothing.
  - The endpoints are learnt from the first of O(sources) that can tell of them. Whatever could not be read is named
    in RV(ansible_facts.cilium_routes.unread); without root that is Cilium's agent and the pods' namespaces.
  - Changes nothing. A node with thousands of pods costs seven or eight runs of C(ip) and at most one child.
extends_documentation_fragment:
  - nodeward.cilium.facts_attributes
options:
  verdicts:
    description:
      - Whether to ask the kernel for its verdict on each endpoint.
      - With V(false) each verdict is V(unknown), and no martian line is written to the kernel's log.
    type: bool
    default: true
  sources:
    description:
      - Where endpoints may be learnt. They are tried in the order below, whatever the order given here.
      - V(agent) is the local API of Cilium's agent, and the only source that is always complete. Up to Cilium 1.19 it
        names the pods.
      - V(state) is the agent's state folder, which outlives the agent. Cilium 1.16 or newer. If it is among the
        sources, pods that another source does not name get their names from it.
      - V(netns) looks for the devices' peers in the network namespaces under O(netns_dir). It knows no pod's name.
      - V(routes) takes what stands in the routing tables, which is only the endpoints with an endpoint route.
    type: list
    elements: str
    choices: [agent, state, netns, routes]
    default: [agent, state, netns, routes]
  agent_socket:
    description: The unix socket of Cilium's agent, an absolute path. For root only, as Cilium makes it.
    type: path
    default: /var/run/cilium/cilium.sock
  state_dir:
    description: The folder where Cilium's agent keeps its state, an absolute path.
    type: path
    default: /var/run/cilium/state
  netns_dir:
    description:
      - The folder with the pods' network namespaces, an absolute path. What is no namespace in it is passed over.
    type: path
    default: /run/netns
  outside:
    description:
      - An IPv4 address outside the node that stands for the world in what the facts say of packets that leave.
      - No packet is sent to it. Choose another where routes or policy rules treat this one in particular.
    type: str
    default: 203.0.113.1
  running_system:
    description:
      - Whether the running system is observed. V(auto) leaves it alone in a chroot, where no systemd runs and where
        C(/proc/sys/net) is read-only, as M(nodeward.cilium.rp_filter) does. A tree of files is judged by these alone
        then, and none of the build host's values, interfaces, routes and counters is reported.
      - V(always) observes it whatever it looks like, such as on a node without systemd.
    type: str
    choices: [auto, always]
    default: auto
  timeout:
    description:
      - The longest that each single step may take, in seconds. The steps are one question to the agent, one run of
        C(ip), and the reading of all namespaces.
    type: float
    default: 5
author:
  - nodeward.cilium contributors (@nodeward)
seealso:
  - module: nodeward.cilium.rp_filter_facts
  - module: nodeward.cilium.rp_filter
"""

EXAMPLES = r"""
- name: Ask the kernel about every pod's replies
  nodeward.cilium.route_facts:

- name: Name the pods whose replies are dropped
  ansible.builtin.debug:
    msg: >-
      {{ "health endpoint" if item.is_health else item.pod | default(item.address, true) }}
      has its replies dropped: {{ item.reason }}
  loop: "{{ ansible_facts['cilium_routes']['endpoints'] | selectattr('verdict', 'eq', 'dropped') }}"
  loop_control:
    label: "{{ item.address }}"

- name: Look at the routes alone, and leave no line in the kernel's log
  nodeward.cilium.route_facts:
    verdicts: false

- name: Gather both facts of this collection instead of Ansible's own
  hosts: nodes
  gather_facts: true
  vars:
    ansible_facts_modules:
      - nodeward.cilium.rp_filter_facts
      - nodeward.cilium.route_facts
  tasks:
    - name: Fail if a pod's replies are dropped
      ansible.builtin.assert:
        that: ansible_facts['cilium_routes']['endpoints'] | selectattr('verdict', 'eq', 'dropped') | length == 0
"""

RETURN = r"""
ansible_facts:
  description: The facts; nothing else is returned.
  returned: always
  type: dict
  contains:
    cilium_routes:
      description: The endpoints of the node and the routes to them.
      returned: always
      type: dict
      contains:
        schema_version:
          description:
            - The version of this fact. It is raised if a member changes its meaning or goes, or if one comes that is
              judged. Facts without it are of an older version of this collection.
          type: int
          returned: always
          sample: 1
        running_system:
          description: Whether the running system was observed, by O(running_system).
          type: dict
          returned: always
          contains:
            observed:
              description: False where files alone were read; all that is of a running system is empty or null then.
              type: bool
              returned: always
              sample: true
            why:
              description: Why it was not observed; null if it was.
              type: str
              returned: always
              sample:
        source:
          description:
            - Which of O(sources) the endpoints were learnt from; null where none knew of any.
          type: str
          returned: always
          sample: agent
        endpoint_routes:
          description: Whether endpoints have routes of their own (Cilium's C(enable-endpoint-routes)).
          type: dict
          returned: always
          contains:
            in_effect:
              description:
                - V(true) where every endpoint has a C(/32) route by its own device, V(false) where none has.
                - Null where some have and others have not, as after the option was changed and before all pods were
                  recreated, and where there is no endpoint to tell. The two counts tell these apart.
              type: bool
              returned: always
              sample: false
            with_route:
              description: How many endpoints have such a route.
              type: int
              returned: always
              sample: 0
            without_route:
              description: How many endpoints have none.
              type: int
              returned: always
              sample: 3
            agent:
              description:
                - What the agent is configured to do, from its API or else from C(agent-runtime-config.json) in
                  O(state_dir); null where neither could be read.
                - V(true) says nothing of pods that are older than the option.
              type: bool
              returned: always
              sample: false
            disagreement:
              description:
                - Where the agent's configuration and the routes that exist do not agree, how, as a sentence for people;
                  null where they agree or the configuration is not known.
              type: str
              returned: always
              sample:
        loosens_uplinks:
          description: The mode of Cilium that itself sets uplinks to loose, in words; null where none is known.
          type: str
          returned: always
          sample:
        agent_options:
          description: What else the agent is configured for; each is null where that is not known.
          type: dict
          returned: always
          contains:
            l7_proxy:
              description: Whether its proxy for layer 7 is on.
              type: bool
              returned: always
              sample: true
            load_balancer_mode:
              description:
                - How a service's packets are answered, V(snat), V(dsr) or V(hybrid). Cilium 1.18 and newer tell it
                  only by their API.
              type: str
              returned: always
              sample: snat
            egress_gateway:
              description: Whether the egress gateway is on.
              type: bool
              returned: always
              sample: false
            ipam:
              description: Where pods' addresses come from, such as V(cluster-pool) or V(eni).
              type: str
              returned: always
              sample: cluster-pool
            devices:
              description: The uplinks that Cilium uses.
              type: list
              elements: str
              returned: always
              sample: [eth0]
        host_routing:
          description:
            - How pods' packets leave the node. V(legacy) is by the kernel's routing and its reverse-path check. V(bpf)
              is by BPF before both. Null if neither the agent nor its saved configuration tells.
          type: str
          returned: always
          sample: legacy
        ipv4:
          description: Whether the agent is configured for IPv4; null if that is not known.
          type: bool
          returned: always
          sample: true
        proxy_rule:
          description:
            - The policy rule by which Cilium's proxy for layer 7 gets its packets (mark C(0x200/0xf00)); null if there
              is none. It shows that the proxy is in use if the agent's configuration cannot be read. Of a proxy that is
              known to be off it is left over.
          type: dict
          returned: always
          contains:
            priority:
              description: The rule's priority.
              type: int
              returned: if there is such a rule
              sample: 9
            mark:
              description: Mark and mask.
              type: str
              returned: if there is such a rule
              sample: 0x200/0xf00
            table:
              description: The routing table that the rule looks up, by number or name.
              type: str
              returned: if there is such a rule
              sample: "2004"
        endpoints:
          description: Every endpoint but the host's own, by ascending address. Cilium's health endpoint is one of them.
          type: list
          elements: dict
          returned: always
          contains:
            address:
              description: Its IPv4 address; null where it has none.
              type: str
              returned: always
              sample: 10.0.0.113
            ipv6:
              description: Its IPv6 address; null where it has none or the source does not tell.
              type: str
              returned: always
              sample:
            device:
              description: The host's device towards it; null where the source does not tell.
              type: str
              returned: always
              sample: lxc3c160d6c7aa0
            pod:
              description: Its pod, as namespace/name; null where there is none or the source does not tell.
              type: str
              returned: always
              sample: kube-system/coredns-749558f7dd-w6jdj
            namespace:
              description: Its Kubernetes namespace, which may be known if the pod's name is not; null if it is not.
              type: str
              returned: always
              sample: kube-system
            is_health:
              description: Whether it is Cilium's health endpoint, which is not a pod.
              type: bool
              returned: always
              sample: false
            peer:
              description: The other end of its device, in the pod.
              type: dict
              returned: always
              contains:
                device:
                  description: Its name; null where the source does not tell.
                  type: str
                  returned: always
                  sample: eth0
                index:
                  description: Its interface index in the pod's network namespace; null where the kernel does not tell.
                  type: int
                  returned: always
                  sample: 36
                namespace:
                  description: The file that names the pod's network namespace; known to the source V(netns) alone.
                  type: str
                  returned: always
                  sample: /run/netns/cni-9ed404a3-d975-cf32-d788-2a7f27e75019
            received:
              description:
                - How many packets came in by its device since it was made; null where that could not be read.
                - Packets that the filter drops are counted too, since it comes later.
              type: int
              returned: always
              sample: 412
            endpoint_route:
              description: Whether there is a C(/32) route to it by its own device.
              type: bool
              returned: always
              sample: false
            route_device:
              description: The device by which the host reaches it; null where the host does not.
              type: str
              returned: always
              sample: cilium_host
            symmetric:
              description: Whether that is its own device; null where its device is not known.
              type: bool
              returned: always
              sample: false
            verdict:
              description:
                - What the kernel does with its reply to the host's address on C(cilium_host), or where that has none,
                  to the source address of the host's route to it. One of V(accepted), V(dropped) and V(unknown).
                - V(dropped) need not be the reverse-path filter's doing; C(reason) tells.
              type: str
              returned: always
              sample: dropped
            reason:
              description: Why, as a sentence for people.
              type: str
              returned: always
              sample: the filter is strict (1) on lxc3c160d6c7aa0 and the route back leaves by cilium_host
            dropped_at:
              description:
                - The effective values of its device's filter (V(0), V(1), V(2)) at which the kernel's rules drop its
                  reply, with the routes and addresses of now; null where that cannot be said.
                - Empty for an endpoint with no IPv4 address, since rp_filter is for IPv4 only.
              type: list
              elements: int
              returned: always
              sample: [1, 2]
            leaves:
              description:
                - What becomes of its packets to the world outside, asked for the address in O(outside).
                - The kernel's refusal counts with legacy host routing only. See C(host_routing).
              type: dict
              returned: always
              contains:
                device:
                  description: The device by which they leave the node; null if they do not or it is not known.
                  type: str
                  returned: always
                  sample: eth0
                verdict:
                  description: One of V(accepted), V(dropped) and V(unknown), as for the reply to the host.
                  type: str
                  returned: always
                  sample: dropped
                reason:
                  description: Why, as a sentence for people.
                  type: str
                  returned: always
                  sample: the filter is strict (1) on lxc3c160d6c7aa0 and the route back leaves by cilium_host
        unread:
          description:
            - What could not be read or asked, as C(what) (a path or part), C(why), and C(needs_root), whether
              permissions were the reason and root can read it.
          type: list
          elements: dict
          returned: always
          sample: []
"""

import ipaddress
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import agent_api as cilium_agent
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import filter as observe_filter
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import netns
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import routes as observe_routes
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.iproute import IpRoute
from ansible_collections.nodeward.cilium.plugins.module_utils.runner import CommandError, bounded_runner, timeout_error
from ansible_collections.nodeward.cilium.plugins.module_utils.text import printable_tree


def main():
    module = AnsibleModule(
        argument_spec={
            "verdicts": {"type": "bool", "default": True},
            "sources": {
                "type": "list",
                "elements": "str",
                "choices": list(observe_routes.SOURCES),
                "default": list(observe_routes.SOURCES),
            },
            "agent_socket": {"type": "path", "default": cilium_agent.SOCKET},
            "state_dir": {"type": "path", "default": cilium_agent.STATE},
            "netns_dir": {"type": "path", "default": netns.FOLDER},
            "outside": {"type": "str", "default": observe_routes.OUTSIDE},
            "running_system": {"type": "str", "choices": ["auto", "always"], "default": "auto"},
            "timeout": {"type": "float", "default": 5},
        },
        supports_check_mode=True,
    )
    options = module.params
    if not options["sources"]:
        module.fail_json(msg=f"sources: is empty; name at least one of {', '.join(observe_routes.SOURCES)}")
    for name in ("agent_socket", "state_dir", "netns_dir"):
        if not os.path.isabs(options[name]):
            module.fail_json(msg=f"{name}: '{options[name]}' is no absolute path; begin it with a slash")
    try:
        ipaddress.IPv4Address(options["outside"])
    except ValueError:
        module.fail_json(msg=f"outside: '{options['outside']}' is no IPv4 address; give one such as 203.0.113.1")
    if timeout_error(options["timeout"]):
        module.fail_json(msg=timeout_error(options["timeout"]))
    not_observed = observe_filter.why_not_observed(options["running_system"])
    if not_observed:
        module.exit_json(ansible_facts={"cilium_routes": observe_routes.not_observed(not_observed)})
    try:
        facts = observe_routes.observe(
            IpRoute(bounded_runner(options["timeout"])),
            agent_path=options["agent_socket"],
            netns_dir=options["netns_dir"],
            state_dir=options["state_dir"],
            sources=options["sources"],
            verdicts=options["verdicts"],
            timeout=options["timeout"],
            outside=options["outside"],
        )
    except CommandError as error:
        module.fail_json(msg=str(error))
    module.exit_json(ansible_facts={"cilium_routes": printable_tree(facts)})


if __name__ == "__main__":
    main()

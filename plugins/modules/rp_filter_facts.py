#!/usr/bin/python
# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


DOCUMENTATION = r"""
module: rp_filter_facts
short_description: Report the reverse-path filter of every device, and whose line decides it
version_added: 0.1.0
description:
  - Reports C(net.ipv4.conf.<device>.rp_filter) for V(all), V(default) and every network device as the fact
    RV(ansible_facts.rp_filter), now (running and effective), for the next device that Cilium makes, and for the next
    run of each loader, with the file, line and key that decide.
  - The reverse-path filter drops a packet whose source would not be routed back through the device that it arrived
    on. V(0) is off, V(1) strict, V(2) loose; the kernel uses the larger of V(all) and the device's own value
    (kernel documentation, C(ip-sysctl)).
  - A loader sets sysctl values from files. systemd-sysctl runs at boot and, called by udev, for every new device
    (sysctl.d(5), systemd-sysctl.service(8)); procps does when someone calls C(sysctl --system) (sysctl(8)).
  - Others write the filter too - Cilium's agent, network daemons, udev rules, units and jobs. They are read, and
    RV(ansible_facts.rp_filter.horizons) predicts what stands at five horizons once all of them have written.
  - Changes nothing. Runs as well unprivileged and then names in RV(ansible_facts.rp_filter.unread) what it could not
    read.
extends_documentation_fragment:
  - nodeward.cilium.facts_attributes
options:
  exempt:
    description:
      - Globs for the names of Cilium's devices. A matching device is of kind V(cilium), unless it is a bridge.
      - With AWS CNI chaining add V(eni*).
    type: list
    elements: str
    default: ['lxc*', 'cilium_*']
  uplink_devices:
    description:
      - Devices by which packets enter the node, of kind V(uplink).
      - Without it they are found, as the devices with an IPv4 address of global scope or a default route that are
        neither Cilium's nor of the link kind C(dummy). An empty list is the same.
    type: list
    elements: str
  overlay:
    description:
      - Answer as if each of these files had the given content; null stands for a file that does not exist.
      - Only what is C(configured) changes; nothing is written.
    type: dict
    default: {}
  dropin_path:
    description: The drop-in of M(nodeward.cilium.rp_filter) on this node, an absolute path.
    type: path
    default: /etc/sysctl.d/99-override_cilium_rp_filter.conf
  agent_socket:
    description:
      - The unix socket of Cilium's agent, an absolute path. The agent is asked for its version only, and whether it
        answers; it answers root alone, as Cilium makes the socket.
    type: path
    default: /var/run/cilium/cilium.sock
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
      - The longest that one called program (C(ip), C(systemctl), C(sysctl)) or the agent's answer may take, in seconds.
    type: float
    default: 5
author:
  - nodeward.cilium contributors (@nodeward)
seealso:
  - module: nodeward.cilium.route_facts
  - module: nodeward.cilium.rp_filter
"""

EXAMPLES = r"""
- name: See whose line would filter Cilium's next device
  nodeward.cilium.rp_filter_facts:

- name: Stop where the next pod's device would be filtered
  ansible.builtin.assert:
    that: (next_device.systemd_sysctl.value | default(0)) == 0
    fail_msg: "{{ next_device.systemd_sysctl.path }}:{{ next_device.systemd_sysctl.line }} filters the next pod"
  vars:
    next_device: "{{ ansible_facts['rp_filter']['patterns']['lxc*']['configured'] }}"

- name: See what would be, had a file another content
  nodeward.cilium.rp_filter_facts:
    overlay:
      /etc/sysctl.d/99-override_cilium_rp_filter.conf: |
        -net.ipv4.conf.lxc*.rp_filter = 0
"""

RETURN = r"""
ansible_facts:
  description: The facts; nothing else is returned.
  returned: always
  type: dict
  contains:
    rp_filter:
      description: The state of the reverse-path filter.
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
        all:
          description: The value for all devices. The kernel uses the larger of it and the device's own.
          type: dict
          returned: always
          contains:
            running:
              description: The kernel's value now; null where it could not be read.
              type: int
              returned: always
              sample: 0
            configured:
              description: What each loader would set at its next run, as for a device.
              type: dict
              returned: always
        default:
          description: The value that a new device begins with. Its fields are those of RV(ansible_facts.rp_filter.all).
          type: dict
          returned: always
        devices:
          description: Every network device, by name. Bytes that are no UTF-8 are shown as C(\xNN).
          type: dict
          returned: always
          contains:
            kind:
              description:
                - V(cilium) for Cilium's own, V(uplink) for one by which packets enter the node, V(other) for the rest.
              type: str
              returned: always
              sample: cilium
            link_kind:
              description:
                - What the kernel says it is, such as V(veth), V(bridge) or V(dummy); null for a plain interface
                  (ip-link(8)).
              type: str
              returned: always
              sample: veth
            running:
              description: The device's own value now.
              type: int
              returned: always
              sample: 2
            effective:
              description: The value that the kernel filters with, the larger of V(all) and the device's own.
              type: int
              returned: always
              sample: 2
            configured:
              description: What each loader would set at its next run; null where no line decides.
              type: dict
              returned: always
              contains:
                systemd_sysctl:
                  description: The assignment that decides under systemd-sysctl; null too where it is not installed.
                  type: dict
                  returned: always
                  contains:
                    value:
                      description: The number that the kernel reads from the line.
                      type: int
                      returned: always
                      sample: 2
                    path:
                      description: The file.
                      type: str
                      returned: always
                      sample: /usr/lib/sysctl.d/50-default.conf
                    line:
                      description: The line in that file, counted from 1.
                      type: int
                      returned: always
                      sample: 26
                    key:
                      description: The key as it is written there.
                      type: str
                      returned: always
                      sample: net.ipv4.conf.*.rp_filter
                procps:
                  description: The assignment that decides under C(sysctl --system) of procps, with the same fields.
                  type: dict
                  returned: always
                unit:
                  description:
                    - The assignment that a start of systemd-sysctl.service leaves, with the same fields; null if none.
                      Of Cilium's interfaces and V(all) C(overrides) says whether it comes after the files of sysctl.d,
                      so that no drop-in holds against it.
                  type: dict
                  returned: if that differs from a plain run of systemd-sysctl (drop-ins of the unit, a credential)
            on_add:
              description:
                - Of an uplink, and of each pattern - what udev's rules write to the filter of such an interface when
                  it appears, in order. Each has C(path), C(line) and C(text) of the rule, C(runs), C(names), C(value)
                  and C(sets) as in RV(ansible_facts.rp_filter.other_writers), and C(certain).
              type: list
              elements: dict
              returned: for uplinks and patterns
        patterns:
          description:
            - For each pattern of O(exempt), what a device to come gets once udev has run (C(configured), with the
              fields of a device's), C(on_add), and as C(of_some) the lines that decide for some of its interfaces
              otherwise (C(path), C(line), C(key), C(value)). Where no line decides, Cilium's own value stands.
          type: dict
          returned: always
        loaders:
          description: The installed loaders; null where one is not installed.
          type: dict
          returned: always
          contains:
            systemd_sysctl:
              description:
                - C(path), C(version), whether it knows C(globs) in keys (since systemd 245), and the C(unit)'s state
                  and C(unit_result) (C(start-limit-hit) comes from quick restarts, C(exit-code) from a bad line).
                - Its C(unit_file) says what the unit's files make of it. C(state) is V(runs), V(masked), V(disabled)
                  (not started at boot), V(skipped) (a condition does not hold) or V(unknown); C(path), C(line) and
                  C(text) are the place that decides that, null for the vendor's own file.
              type: dict
              returned: always
            procps:
              description: C(path), C(version), and whether it knows C(globs) in files (since procps 4.0.0).
              type: dict
              returned: always
        agent:
          description: Cilium's agent on this node, which writes the filter too.
          type: dict
          returned: always
          contains:
            seen:
              description: Whether the socket answers, or the state folder or Cilium's CNI configuration is there.
              type: bool
              returned: always
              sample: true
            by:
              description: By which of them it was seen first - V(socket), V(state) or V(cni); null if by none.
              type: str
              returned: always
              sample: socket
            answers:
              description: Whether it answers now.
              type: bool
              returned: always
              sample: true
            version:
              description: Its version; null if it does not answer.
              type: str
              returned: always
              sample: 1.20.0
            reconciles_after:
              description:
                - After how many seconds at most it sets V(all) and Cilium's host interfaces to 0 again (from Cilium
                  1.16 on); null if it does so at its start only, or if its version is not known.
              type: int
              returned: always
              sample: 600
        horizons:
          description:
            - What the filter is at five horizons, once every writer that is known has written - by subject (V(all),
              V(default), each pattern, each uplink), then V(now), V(interface) (the next interface), V(boot),
              V(restart) (of systemd-sysctl.service on the running node) and V(sysctl_system) (C(sysctl --system)).
            - Each has C(value), the subject's own, and C(effective), the larger of it and V(all); both are null if more
              than one is possible, and C(possible) lists the effective values. C(sources) are what decides - C(by) (a
              loader, a unit or V(agent)), C(path), C(line), C(key) and C(value). C(ends) says that the agent sets it
              to C(value) by itself after at most C(seconds) (null for at its next start). C(before) is what stands
              after a boot until the agent has started, with C(effective) and C(sources). C(unknown) lists the writers
              that cannot be predicted.
          type: dict
          returned: where the interfaces could be read, and where the running system is not observed
        lines:
          description:
            - Every line for C(rp_filter) that a loader reads, whether it decides or not, each with C(path), C(line),
              C(key) and C(value). At most 50.
          type: list
          elements: dict
          returned: always
          sample: [{path: /etc/sysctl.d/99-sysctl.conf, line: 2, key: net.ipv4.conf.all.rp_filter, value: 1}]
        reload_on_add:
          description:
            - The C(path) and C(line) of the rule by which udev runs systemd-sysctl for every new device; null where
              no rule does. C(cleared_by) is the C(path) and C(line) of this collection's own rule, where that takes it
              back for Cilium's devices; null where it does not stand.
          type: dict
          returned: always
          sample: {path: /usr/lib/udev/rules.d/99-systemd.rules, line: 72, cleared_by: null}
        dropin:
          description: The drop-in of M(nodeward.cilium.rp_filter) as it stands, whatever O(overlay) says.
          type: dict
          returned: always
          contains:
            path:
              description: Where it was looked for.
              type: str
              returned: always
              sample: /etc/sysctl.d/99-override_cilium_rp_filter.conf
            present:
              description: Whether there is a file; null where that could not be read.
              type: bool
              returned: always
              sample: true
            format:
              description: The number of its format; null where its header is not there, so that it is somebody else's.
              type: int
              returned: always
              sample: 1
            intact:
              description: Whether its lines are those that were written, by the digest in its header; null without one.
              type: bool
              returned: always
              sample: true
            assignments:
              description:
                - What it assigns, each with C(name) (a device, a pattern, V(all) or V(default)), C(value) (V(0), V(1)
                  or V(2)) and C(line).
              type: list
              elements: dict
              returned: always
              sample: [{name: all, value: 0, line: 21}]
        globs_without_dash:
          description:
            - Lines with a glob for C(rp_filter) that systemd-sysctl applies and that no dash begins, each with C(path),
              C(line), C(key) and C(value), and as C(matches) the kinds of devices that it matches now (V(reserved) for
              V(all) and V(default)), null where devices could not be seen. At most 50.
          type: list
          elements: dict
          returned: always
          sample: []
        repeated_lines:
          description:
            - Lines for C(rp_filter) that systemd-sysctl passes over since an identical one stands in an earlier place,
              each with C(path), C(line), C(key) and C(value), and C(path) and C(line) of the C(first). At most 50.
          type: list
          elements: dict
          returned: always
          sample: []
        source_marks:
          description: The sysctls by which a source may be refused whatever the filter says.
          type: dict
          returned: always
          contains:
            all:
              description: C(src_valid_mark) and C(accept_local) of V(all); null where they could not be read.
              type: dict
              returned: always
              sample: {src_valid_mark: 0, accept_local: 0}
            default:
              description: The same of V(default).
              type: dict
              returned: always
              sample: {src_valid_mark: 0, accept_local: 0}
            devices:
              description:
                - The same of each pod's device, by name. Read only where C(src_valid_mark) of V(all) or V(default) is
                  on, and for 1,024 devices at most.
              type: dict
              returned: always
              sample: {}
        netfilter:
          description:
            - Netfilter rules that look the way back up by themselves, and so drop the same packets whatever the filter
              says - nft's C(fib saddr . iif oif), and the match C(rpfilter) of iptables.
          type: list
          elements: dict
          returned: always
          contains:
            family:
              description: V(ip), V(ip6), V(inet) or another family of nft.
              type: str
              returned: always
            table:
              description: The table.
              type: str
              returned: always
            chain:
              description: The chain.
              type: str
              returned: always
            rule:
              description: The rule, as nft's JSON or as iptables-save writes it; the first 500 characters.
              type: str
              returned: always
            ipv6_only:
              description: Whether it is for IPv6 packets alone.
              type: bool
              returned: always
              sample: false
            only_on:
              description: Globs of the devices that it is for; null where it is for all, or where that cannot be told.
              type: list
              elements: str
              returned: always
              sample: [eth0]
            not_on:
              description: Globs of the devices that it leaves out.
              type: list
              elements: str
              returned: always
              sample: ['lxc*']
        other_writers:
          description:
            - What else writes the filter, found in files, in the order in which they write at boot.
          type: list
          elements: dict
          returned: always
          contains:
            by:
              description:
                - What runs it - V(kernel) (a parameter of its command line), V(udev), V(networkd), V(networkmanager),
                  V(networkmanager-dispatcher), V(ifupdown),
                  V(networkd-dispatcher), V(wicked), V(netplan), V(dhclient), V(ppp), V(unit), V(timer), V(cron),
                  V(rc.local), V(init.d), V(tmpfiles) (C(tmpfiles.d)), V(wg-quick), V(cloud-init), V(tuned) or V(ufw).
              type: str
              returned: always
            unit:
              description: The systemd unit by which it runs; null if there is none.
              type: str
              returned: always
            when:
              description:
                - The events at which it writes - V(boot), V(interface) (a new one), V(periodic), V(restart) (of
                  systemd-sysctl.service).
              type: list
              elements: str
              returned: always
            certain:
              description: Whether it writes this whenever it runs; false for scripts and conditions.
              type: bool
              returned: always
            runs:
              description:
                - V(procps) or V(systemd_sysctl) if it runs that loader over all its files, V(unit) if it starts
                  systemd-sysctl.service; null if it writes itself.
              type: str
              returned: always
            active:
              description:
                - Whether it will run - its unit is enabled or runs now. False if nothing runs it, null if that cannot
                  be told.
              type: bool
              returned: always
            before_loader:
              description: Whether it writes before systemd-sysctl applies its files, so that a line of these decides.
              type: bool
              returned: for units, udev rules and files that a mask below C(/run) hides
            reapplied:
              description:
                - Whether tuned applies C(/run/sysctl.d), C(/etc/sysctl.d) and C(/etc/sysctl.conf) after it, or applies
                  it as a line of these. The last line for a key decides.
              type: bool
              returned: for tuned, if C(reapply_sysctl) is on
            late:
              description: Whether a timer starts it after the boot, when the agent may run already.
              type: bool
              returned: for units that only a timer, a path or a socket starts
            path:
              description: The file.
              type: str
              returned: always
            line:
              description: The line in that file, counted from 1.
              type: int
              returned: always
            text:
              description: The line itself.
              type: str
              returned: always
            names:
              description:
                - V(all), V(default), the device or the globs of devices that it is for; for networkd, those of the
                  unit's C([Match] Name=). Null where no name is said, or any may be meant.
              type: list
              elements: str
              returned: always
              sample: [all]
            value:
              description: The value as it is written there; null where the line has none.
              type: str
              returned: always
            sets:
              description: That value as the number that the kernel gets; null where it is not known.
              type: int
              returned: always
            narrowed:
              description: Whether it is for some of these devices alone, by other conditions of networkd's C([Match]).
              type: bool
              returned: always
            not_on:
              description:
                - Globs of devices that it is not for, since networkd applies to each the first unit that matches it.
              type: list
              elements: str
              returned: always
        scripts:
          description:
            - Text files in folders of programs that nothing is known to run (C(/usr/local/bin), C(/usr/local/sbin),
              C(/opt)), and of commands for other events (C(/etc/keepalived), C(/etc/libvirt/hooks), C(/etc/modprobe.d),
              C(/etc/cloud)), that mention C(rp_filter), each with C(path), C(line) and C(text) of the first mention. At
              most 50.
          type: list
          elements: dict
          returned: always
          sample: []
        counters:
          description: Packets since boot, in this network namespace; null where a counter could not be read.
          type: dict
          returned: always
          contains:
            ip_reverse_path_filter:
              description: Dropped by the filter (C(TcpExt IPReversePathFilter) in C(/proc/net/netstat)).
              type: int
              returned: always
              sample: 12
            in_martian_src:
              description:
                - Sources that the kernel took for martian (C(/proc/net/stat/rt_cache)), of packets and of questions
                  alike. Each question of M(nodeward.cilium.route_facts) that the kernel refuses counts as one, and
                  the kernel does not distinguish these, so no finding uses it.
              type: int
              returned: always
              sample: 0
            boot_id:
              description: Which boot they count from (C(/proc/sys/kernel/random/boot_id)).
              type: str
              returned: always
              sample: 0a5c3c3e-93d5-4b0e-9f1c-5d3f1a1b7c11
        unread:
          description: What could not be read or understood.
          type: list
          elements: dict
          returned: always
          sample: []
          contains:
            what:
              description: A file, file:line or part.
              type: str
              returned: always
              sample: /etc/sysctl.d/99-hardening.conf
            why:
              description: Why not.
              type: str
              returned: always
              sample: Permission denied
            decides:
              description:
                - Whether it may hold what decides, such as lines or netfilter rules. The rest of the facts cannot be
                  relied on then.
              type: bool
              returned: always
              sample: true
            needs_root:
              description: Whether permissions were the reason, and root can read it.
              type: bool
              returned: always
              sample: true
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nodeward.cilium.plugins.module_utils import devices, dropin
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import agent_api as cilium_agent
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import filter as observe_filter
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.iproute import IpRoute
from ansible_collections.nodeward.cilium.plugins.module_utils.runner import bounded_runner, timeout_error


def main():
    module = AnsibleModule(
        argument_spec={
            "exempt": {"type": "list", "elements": "str", "default": list(devices.CILIUM_PATTERNS)},
            "uplink_devices": {"type": "list", "elements": "str"},
            "overlay": {"type": "dict", "default": {}},
            "dropin_path": {"type": "path", "default": dropin.PATH},
            "agent_socket": {"type": "path", "default": cilium_agent.SOCKET},
            "running_system": {"type": "str", "choices": ["auto", "always"], "default": "auto"},
            "timeout": {"type": "float", "default": 5},
        },
        supports_check_mode=True,
    )
    for pattern in module.params["exempt"]:
        error = devices.pattern_error(pattern)
        if error:
            module.fail_json(msg=f"exempt: '{pattern}' {error}")
    for device in module.params["uplink_devices"] or ():
        error = devices.device_error(device)
        if error:
            module.fail_json(msg=f"uplink_devices: '{device}' {error}")
    for name in ("dropin_path", "agent_socket"):
        if not module.params[name].startswith("/"):
            module.fail_json(msg=f"{name}: '{module.params[name]}' is no absolute path; begin it with a slash")
    if timeout_error(module.params["timeout"]):
        module.fail_json(msg=timeout_error(module.params["timeout"]))
    run_command = bounded_runner(module.params["timeout"])
    module.exit_json(
        ansible_facts={
            "rp_filter": observe_filter.observe(
                IpRoute(run_command),
                run_command,
                module.params["exempt"],
                module.params["uplink_devices"],
                module.params["overlay"],
                module.params["dropin_path"],
                module.params["agent_socket"],
                module.params["timeout"],
                observe_filter.why_not_observed(module.params["running_system"]),
            )
        }
    )


if __name__ == "__main__":
    main()

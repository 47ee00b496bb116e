#!/usr/bin/python
# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


DOCUMENTATION = r"""
module: rp_filter
short_description: Exempt Cilium's devices from the reverse-path filter, and keep it on all others
version_added: 0.1.0
description:
  - Writes a sysctl.d drop-in and the running values of C(net.ipv4.conf.<device>.rp_filter) as one transaction, so
    that the replies of Cilium's pods pass now, from the next device on and after the next boot, and every other
    device keeps the protection that it had.
  - The kernel filters a device with the larger of its own value and of V(all), so exempting devices needs V(all) to
    be off. What other devices had through V(all) is first given to them - uplinks by a line in the drop-in (a pin),
    devices to come by V(default), the rest now.
  - Running values are written directly, one file a key, and only where they differ. No loader is called and no unit
    is restarted, so that a run on a healthy node loses no packet.
  - Everything is put back if a write fails, or if an endpoint whose reply was accepted before is dropped after.
attributes:
  check_mode:
    description: Returns what would change, without changing it.
    support: full
  diff_mode:
    description: Shows the drop-in and the running values, before and after.
    support: full
  platform:
    description: Where it runs.
    support: full
    platforms: linux
options:
  state:
    description:
      - With V(present) the drop-in stands and the running values agree with it.
      - With V(absent) it is removed. Each key gets what a line in the sysctl.d tree decides, else the value that
        was recorded in the drop-in's header when it was first created; otherwise it is left unchanged and reported.
      - Cilium's host interfaces (C(cilium_*)) then keep what they run with, and C(lo) gets its recorded value.
    type: str
    choices: [present, absent]
    default: present
  path:
    description:
      - The drop-in. A plain file, or nothing yet, in one of the folders that the loaders read
        (C(/etc/sysctl.d), C(/run/sysctl.d), C(/usr/local/lib/sysctl.d), C(/usr/lib/sysctl.d)), its name ending in
        C(.conf).
      - A file that somebody else wrote is taken over if it sets nothing but the filter, and refused otherwise.
    type: path
    default: /etc/sysctl.d/99-override_cilium_rp_filter.conf
  exempt:
    description:
      - Globs for the names of the devices to exempt. Cilium's own two have to be among them.
      - A bridge that matches (LXC's C(lxcbr0)) is not exempt; it gets a line of its own against the glob.
    type: list
    elements: str
    default: ['lxc*', 'cilium_*']
  uplinks:
    description:
      - What the devices by which packets enter the node shall have - V(keep), V(strict) (1), V(loose) (2) or V(off)
        (0), or a dictionary of device to one of these, where a device that is not named keeps.
      - With V(keep) it is the strongest (strict drops more than loose, and loose more than off) of the running
        effective value, of the pin in the drop-in, and of what V(all) in the sysctl.d tree, without this drop-in and
        without Cilium's own file, makes of the running own value.
      - An own value that runs below what the interface's own line in sysctl.d sets was lowered on purpose (by an egress
        gateway, a cloud's CNI). With V(keep) it is left as it runs, without a line, and reported with both values.
      - Each uplink that V(keep) makes stricter than it runs is reported with the reason and C(file:line).
      - No interface ends weaker than before unless its mode here is weaker. What a line gave that this run disables
        counts as before. If such a line would make an interface stricter at the next boot than it runs, the module
        refuses and asks for a mode.
    type: raw
    default: keep
  uplink_devices:
    description:
      - The devices by which packets enter the node.
      - Without it they are found, as the devices with an IPv4 address of global scope or a default route that are
        neither Cilium's nor of the link kind C(dummy). A device once pinned stays pinned. An empty list is the same.
    type: list
    elements: str
  allow_absent_uplinks:
    description:
      - Whether O(uplinks) and O(uplink_devices) may name an interface that does not exist. It gets a line in the
        drop-in for when it comes. Otherwise such a name is refused, unless the drop-in pins it already.
      - Where running values are not read, no name is refused for this.
    type: bool
    default: false
  edited:
    description:
      - What to do with a drop-in that was edited by hand, so that its lines do not match the digest in its header.
      - V(fail) refuses before any change and names the lines that differ.
      - V(restore) plans on the lines as they were written, which the header records. If the header of an older version
        does not record them, each pin is the strongest of its line, of what runs and of the tree. All other lines that
        were added are removed.
      - V(adopt) plans on the edited lines, as if they had been written by this module. A pin, or C(default), that is
        weaker than what runs or than what other lines give is not adopted; O(uplinks) weakens an uplink. A line that is
        neither a pin nor C(default) is refused, unless it sets V(all) or a pattern in O(exempt) to 0.
      - With O(state=absent) the edited lines are removed with the drop-in, with a warning.
    type: str
    choices: [fail, restore, adopt]
    default: fail
  apply:
    description:
      - Whether running values are read and written.
      - V(auto) does so unless this is a chroot, C(/proc/sys/net) is read-only or no systemd runs. Then the drop-in has
        no line for uplinks, and C(default) is the stronger of what the sysctl.d tree gives C(all) and C(default).
    type: str
    choices: [auto, always, never]
    default: auto
  header:
    description:
      - Comments for the top of the drop-in, such as C(ansible_managed). Each line begins with C(#) or is empty; any
        other line is refused.
    type: str
    default: "#\n# Ansible managed\n#"
  absent_breaks_pods:
    description:
      - Consent to O(state=absent) although replies of pods, or with endpoint routes packets of other nodes' pods, would
        be dropped then.
    type: bool
    default: false
  allow_lockout:
    description:
      - Consent to make an interface strict although packets that come in by it would be dropped. These are the
        controller's, as C(SSH_CONNECTION) names it, and, on an interface with a default route in any table, those of
        an outside source. The kernel is asked for the routes back before any change.
    type: bool
    default: false
  conflicts:
    description:
      - What to do if a planned assignment would not last. Either a line in another file overrides it under
        systemd-sysctl or C(sysctl --system), or another writer sets it (a unit of systemd-networkd, a udev rule, tuned,
        ufw, a unit, timer, hook or cron job).
      - V(fail) refuses before any change and names each file and line, and what to change there. V(disable) comments
        out lines of sysctl.d, and keeps the file as it was in C(/var/backups/nodeward.cilium), once; O(state=absent)
        puts the line back in force. It refuses for other writers. V(report) continues with a warning.
      - Writers that are not active, and a C(default) that is not weaker than planned or than without the
        drop-in, are warnings.
    type: str
    choices: [fail, disable, report]
    default: fail
  udev:
    description:
      - Whether a udev rule keeps systemd-sysctl off Cilium's new devices. It clears all programs that other rules would
        run for such a device on its arrival (C(RUN)), such as those of ifupdown or cloud-init. No later rule can add
        one.
      - V(auto) writes the rule only where systemd-sysctl knows no globs (before systemd 245). The drop-in is written
        all the same, since a restart of systemd-sysctl.service reaches every device.
    type: str
    choices: [auto, always, never]
    default: auto
  timeout:
    description: The longest that one called program (C(ip), C(systemctl)) may take, in seconds, from above 0 to 3600.
    type: float
    default: 30
  option_names:
    description:
      - What messages call the options, option to name. For roles, whose variables have other names.
    type: dict
    default: {}
author:
  - nodeward.cilium contributors (@nodeward)
seealso:
  - module: nodeward.cilium.rp_filter_facts
  - module: nodeward.cilium.route_facts
"""

EXAMPLES = r"""
- name: Exempt Cilium's devices, keep the filter on all others
  nodeward.cilium.rp_filter:

- name: See what would change
  nodeward.cilium.rp_filter:
  check_mode: true
  diff: true

- name: Make the uplinks strict
  nodeward.cilium.rp_filter:
    uplinks: strict

- name: Make one uplink loose, since Cilium's egress gateway needs it, and keep the others
  nodeward.cilium.rp_filter:
    uplinks:
      eth1: loose

- name: Remove the drop-in, although pods' replies will be dropped
  nodeward.cilium.rp_filter:
    state: absent
    absent_breaks_pods: true
"""

RETURN = r"""
plan:
  description: The assignments, in the order of the file and of the writing.
  returned: success
  type: list
  elements: dict
  contains:
    key:
      description: The key as it is written in a sysctl.d file.
      type: str
      returned: success
      sample: net.ipv4.conf.eth0.rp_filter
    name:
      description: The device or pattern, V(all) or V(default).
      type: str
      returned: success
      sample: eth0
    from:
      description: The running value; null for a pattern, for an absent device, and where running values are not read.
      type: int
      returned: success
      sample: 2
    to:
      description: The planned value.
      type: int
      returned: success
      sample: 1
    why:
      description: Why, in a few words.
      type: str
      returned: success
      sample: 'uplink: keeps its effective value, strict'
    part:
      description: The group in the file - V(default), V(exempt), V(pin), V(kept) or V(all).
      type: str
      returned: success
      sample: pin
    line:
      description: Whether it stands in the drop-in. Otherwise it is for the running kernel alone.
      type: bool
      returned: success
      sample: true
    text:
      description: The line as it stands in the drop-in; null where it does not stand there.
      type: str
      returned: success
      sample: '-net.ipv4.conf.eth0.rp_filter = 1'
header:
  description: The rows of comments by which the drop-in is known, checked and rolled back; empty with O(state=absent).
  returned: success
  type: list
  elements: str
  sample: ['# nodeward.cilium.rp_filter, format 1']
records:
  description: Values from before the first creation, by key, as the header of the drop-in holds them for a rollback.
  returned: success
  type: dict
  sample: {net.ipv4.conf.all.rp_filter: 1}
dropin:
  description: The text of the drop-in, C(before) and C(after); null where there is none.
  returned: success
  type: dict
applied:
  description: Whether running values are read and written.
  returned: success
  type: bool
not_applied:
  description: Why they are not; null where they are.
  returned: success
  type: str
healed:
  description: Endpoints whose replies were dropped before and are accepted now; empty in check mode.
  returned: success
  type: list
  elements: dict
exempt_interfaces:
  description: Cilium's interfaces whose filter is off, or in check mode would be. Empty if running values are not read.
  returned: success
  type: list
  elements: str
uplinks:
  description: Each uplink with its effective filter, V(strict), V(loose) or V(off), or in check mode what it would be.
  returned: success
  type: dict
  sample: {eth0: strict}
cilium_signs:
  description: What shows that Cilium runs or has run here, its interfaces, its agent, its CNI plugin and configuration.
  returned: success
  type: list
  elements: str
  sample: [interface cilium_host, /run/cilium]
unhealed:
  description:
    - Endpoints whose replies are dropped all the same, in the shape of the fact C(cilium_routes.endpoints). In check
      mode only where nothing would change.
  returned: success
  type: list
  elements: dict
conflicts:
  description: Lines and other writers that override the drop-in, as found before anything was changed.
  returned: success, and when refused for them
  type: list
  elements: dict
  contains:
    path:
      description: The file as the loader finds it, or that holds the line of the writer.
      type: str
      returned: always
      sample: /etc/sysctl.d/99-sysctl.conf
    target:
      description: The file itself, where that is a link.
      type: str
      returned: always
      sample: /etc/sysctl.conf
    line:
      description: The line, counted from 1.
      type: int
      returned: always
      sample: 12
    key:
      description: The key as it is written there; null for a writer that is not a line of sysctl.d.
      type: str
      returned: always
      sample: net.ipv4.conf.all.rp_filter
    value:
      description: The value that it sets; null if it cannot be predicted.
      type: int
      returned: always
      sample: 1
    loaders:
      description: The loaders under which it decides - V(systemd-sysctl), V(sysctl --system); empty for other writers.
      type: list
      elements: str
      returned: always
    overrides:
      description: The planned keys that it overrides.
      type: list
      elements: str
      returned: always
    wanted:
      description: The planned value of these.
      type: int
      returned: always
      sample: 0
    by:
      description: What runs the writer, such as V(networkd), V(udev) or V(tuned); null for a line of sysctl.d.
      type: str
      returned: always
    unit:
      description: The systemd unit by which the writer runs; null if there is none.
      type: str
      returned: always
    text:
      description: The line of the writer; null for a line of sysctl.d.
      type: str
      returned: always
    certain:
      description: Whether it always writes that value.
      type: bool
      returned: always
would_break:
  description: With O(state=absent), endpoints whose replies are dropped once the drop-in is gone.
  returned: success, and when refused for them
  type: list
  elements: dict
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nodeward.cilium.plugins.module_utils import devices, dropin, option_names
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import agent
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import filter as observe_filter
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.iproute import IpRoute
from ansible_collections.nodeward.cilium.plugins.module_utils.runner import CommandError, bounded_runner, timeout_error
from ansible_collections.nodeward.cilium.plugins.module_utils.write import lockout, outcome, plan, transaction


def main():
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "path": {"type": "path", "default": dropin.PATH},
            "exempt": {"type": "list", "elements": "str", "default": list(devices.CILIUM_PATTERNS)},
            "uplinks": {"type": "raw", "default": "keep"},
            "uplink_devices": {"type": "list", "elements": "str"},
            "allow_absent_uplinks": {"type": "bool", "default": False},
            "edited": {"type": "str", "choices": ["fail", "restore", "adopt"], "default": "fail"},
            "apply": {"type": "str", "choices": ["auto", "always", "never"], "default": "auto"},
            "header": {"type": "str", "default": dropin.COMMENTS},
            "absent_breaks_pods": {"type": "bool", "default": False},
            "allow_lockout": {"type": "bool", "default": False},
            "conflicts": {"type": "str", "choices": ["fail", "disable", "report"], "default": "fail"},
            "udev": {"type": "str", "choices": ["auto", "always", "never"], "default": "auto"},
            "timeout": {"type": "float", "default": 30},
            "option_names": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    params = module.params
    if os.geteuid() != 0:
        module.fail_json(msg="This module needs root, in check mode too. Nothing was changed. Set become to true.")
    if timeout_error(params["timeout"]):
        module.fail_json(msg=f"{timeout_error(params['timeout'])}. Nothing was changed.")
    run_command = bounded_runner(params["timeout"])
    request = transaction.Request(
        state=params["state"],
        path=params["path"],
        options=plan.Options(
            params["exempt"], params["uplinks"], params["uplink_devices"] or None, params["allow_absent_uplinks"]
        ),
        apply=params["apply"],
        header=params["header"],
        breaks_pods=params["absent_breaks_pods"],
        allow_lockout=params["allow_lockout"],
        ssh_connection=lockout.ssh_connection(os.environ),
        conflicts=params["conflicts"],
        udev=params["udev"],
        edited=params["edited"],
    )
    run = transaction.Transaction(request, IpRoute(run_command), run_command)
    failure, result = None, {}
    try:
        result = run.run(module.check_mode)
    except transaction.TransactionError as error:
        failure, result = str(error), error.details
    except (dropin.DropinError, CommandError) as error:
        failure = f"{str(error).rstrip('.')}. Nothing was changed."
    except OSError as error:
        failure = f"{error}. Nothing was changed."
    if not failure:
        result.update(_outcome(run, result["plan"] if module.check_mode else []))
        if run.applying and params["state"] == "present" and not result["cilium_signs"]:
            run.warnings.append(outcome.NO_SIGN)
    for warning in run.warnings:
        module.warn(option_names.renamed(warning, params["option_names"]))
    if failure:
        module.fail_json(msg=option_names.renamed(failure, params["option_names"]), **result)
    if result["not_applied"]:
        result["not_applied"] = option_names.renamed(result["not_applied"], params["option_names"])
    module.exit_json(**result)


def _outcome(run, items):
    """What stands after the run; items: of the plan, in check mode, where nothing of it was done."""
    running, kinds = {}, {}
    if run.applying:
        try:
            options = run.request.options
            seen = observe_filter.see_devices(run.iproute, options.exempt, options.uplink_devices)
            running, kinds = seen.running, seen.kinds
        except CommandError as error:
            run.warnings.append(f"the interfaces cannot be read after the run: {error}")
    found = outcome.outcome(running, kinds, {item["name"]: item["to"] for item in items if item["to"] is not None})
    interfaces = [name for name, kind in kinds.items() if kind == devices.CILIUM]
    return dict(found, cilium_signs=agent.signs(run.environment.reader, interfaces))


if __name__ == "__main__":
    main()

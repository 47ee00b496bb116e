# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts in, findings out. Pure: touches no node, and says the same of the same facts."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
name: findings
short_description: What is wrong on a node, each with its evidence and remedy
version_added: 0.1.0
description:
  - Judges the facts of M(nodeward.cilium.rp_filter_facts) and, where given, of M(nodeward.cilium.route_facts).
  - Pure. It touches no node, and works as well on facts that were kept.
  - V(RPF001), a device of Cilium is filtered now.
  - V(RPF002), the next device of Cilium will be filtered.
  - V(RPF003), the next boot, or restart of systemd-sysctl.service, will filter Cilium's devices.
  - V(RPF004), the next C(sysctl --system) will filter Cilium's devices.
  - V(RPF005), C(all) filters Cilium's devices, whatever their own values are.
  - V(RPF006), the kernel drops the reply of an endpoint.
  - V(RPF007), an uplink has no protection against spoofed addresses.
  - V(RPF008), a netfilter rule checks the reverse path by itself.
  - V(RPF009), something besides the loaders sets the filter.
  - V(RPF010), systemd-sysctl.service failed.
  - V(RPF011), a loader knows no globs.
  - V(RPF012), something could not be read, so there may be more.
  - V(RPF013), udev does not run systemd-sysctl for new devices.
positional: _input
options:
  _input:
    description: The fact C(rp_filter).
    type: dict
    required: true
  routes:
    description: The fact C(cilium_routes).
    type: dict
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
      description: V(high) where pods are cut off now or will be, V(medium) where protection is lost, V(low) else.
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
      description: What should be.
      type: str
      sample: '0'
    observed:
      description: What is.
      type: str
      sample: '2'
    evidence:
      description: Where that can be seen, as file:line and the key there, or as the kernel's own answer.
      type: str
      sample: /usr/lib/sysctl.d/50-default.conf:26 net.ipv4.conf.*.rp_filter
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

from collections import namedtuple

from ansible.errors import AnsibleFilterError

Rule = namedtuple("Rule", "severity title why variable command reference")

_KERNEL = "kernel documentation, networking/ip-sysctl: rp_filter"
_SYSCTL_D = "sysctl.d(5), systemd-sysctl.service(8)"
_HARDEN = "ansible-playbook nodeward.cilium.harden"
_CUT_OFF = "a pod's reply arrives on another device than the host's route names, and the filter drops it"

CATALOGUE = {
    "RPF001": Rule("high", "A device of Cilium is filtered now", _CUT_OFF, "rp_filter_state", _HARDEN, _KERNEL),
    "RPF002": Rule(
        "high",
        "The next device of Cilium will be filtered",
        "udev runs systemd-sysctl for every new device, behind Cilium's back; " + _CUT_OFF,
        "rp_filter_state",
        _HARDEN,
        _SYSCTL_D,
    ),
    "RPF003": Rule(
        "high",
        "The next boot will filter Cilium's devices",
        "systemd-sysctl applies the line at boot and whenever its unit is restarted",
        "rp_filter_conflicts",
        _HARDEN,
        _SYSCTL_D,
    ),
    "RPF004": Rule(
        "medium",
        "The next sysctl --system will filter Cilium's devices",
        "procps reads the same files in another order, and /etc/sysctl.conf last",
        "rp_filter_conflicts",
        _HARDEN,
        "sysctl(8)",
    ),
    "RPF005": Rule(
        "high",
        "all filters Cilium's devices",
        "the kernel uses the larger of all and the device's own value",
        "rp_filter_state",
        _HARDEN,
        _KERNEL,
    ),
    "RPF006": Rule(
        "high",
        "The kernel drops the reply of an endpoint",
        "its probes time out and whoever it talks to hears nothing",
        "rp_filter_state",
        "ansible-playbook nodeward.cilium.diagnose",
        "ip-route(8): route get",
    ),
    "RPF007": Rule(
        "medium",
        "An uplink has no protection",
        "packets with a pod's or the node's own addresses can come in by it",
        "rp_filter_uplinks",
        _HARDEN,
        _KERNEL,
    ),
    "RPF008": Rule(
        "high",
        "A netfilter rule checks the reverse path",
        "it drops the same replies, whatever rp_filter says",
        "",
        "nft list ruleset",
        "nft(8): fib; iptables-extensions(8): rpfilter",
    ),
    "RPF009": Rule(
        "low",
        "Something besides the loaders sets the filter",
        "its value comes back when it runs next",
        "",
        "",
        "systemd.network(5), ufw(8), tuned(8)",
    ),
    "RPF010": Rule(
        "medium",
        "systemd-sysctl.service failed",
        "lines behind the one that failed may not be in force",
        "",
        "journalctl --boot --unit systemd-sysctl.service",
        _SYSCTL_D,
    ),
    "RPF011": Rule(
        "low",
        "A loader knows no globs",
        "it ignores the lines that exempt Cilium's devices, and those that filter them",
        "rp_filter_udev",
        _HARDEN,
        "systemd 245 and procps 4.0.0 news",
    ),
    "RPF012": Rule(
        "low",
        "Something could not be read",
        "what was not seen cannot be judged: there may be more",
        "",
        "",
        "the facts' own unread",
    ),
    "RPF013": Rule(
        "low",
        "udev does not run systemd-sysctl for new devices",
        "a device to come gets default alone, and no line that names it or matches it",
        "",
        "udevadm test /sys/class/net/DEVICE",
        "udev rule 99-systemd.rules",
    ),
}

_LOADERS = (("systemd_sysctl", "RPF003"), ("procps", "RPF004"))


def findings(rp_filter, routes=None):
    """What is wrong, by id and subject."""
    if not isinstance(rp_filter, dict) or "devices" not in rp_filter:
        raise AnsibleFilterError(
            "findings: expected the fact rp_filter, with its devices; found %s. Gather it with "
            "nodeward.cilium.rp_filter_facts" % type(rp_filter).__name__
        )
    found = list(_of_devices(rp_filter)) + list(_of_times_to_come(rp_filter)) + list(_of_others(rp_filter))
    if routes:
        found += _of_endpoints(routes)
    for entry in list(rp_filter.get("unread", ())) + list((routes or {}).get("unread", ())):
        found.append(_finding("RPF012", entry["what"], "readable", "not read", entry["why"]))
    return sorted(found, key=lambda finding: (finding["id"], finding["subject"], finding["evidence"]))


def _finding(rule_id, subject, expected, observed, evidence):
    rule = CATALOGUE[rule_id]
    return {
        "id": rule_id,
        "severity": rule.severity,
        "title": rule.title,
        "subject": subject,
        "expected": str(expected),
        "observed": str(observed),
        "evidence": evidence,
        "why": rule.why,
        "remedy": {"variable": rule.variable, "command": rule.command},
        "reference": rule.reference,
    }


def _of_devices(rp_filter):
    running_all = rp_filter["all"]["running"]
    cilium = False
    for device, state in rp_filter["devices"].items():
        if state["kind"] == "cilium":
            cilium = True
            if state["effective"] > 0:
                evidence = "its own value is %s, all is %s" % (state["running"], running_all)
                yield _finding("RPF001", device, 0, state["effective"], evidence)
        elif state["kind"] == "uplink" and state["effective"] == 0:
            yield _finding("RPF007", device, "1 or 2", 0, "its own value is 0, all is %s" % running_all)
    if cilium and running_all:
        yield _finding("RPF005", "all", 0, running_all, "net.ipv4.conf.all.rp_filter")


def _of_times_to_come(rp_filter):
    for pattern, state in rp_filter["patterns"].items():
        winner = state["configured"]["systemd_sysctl"]
        reload_on_add = rp_filter.get("reload_on_add")
        if reload_on_add and not reload_on_add.get("cleared_by") and winner and winner["value"] > 0:
            yield _finding("RPF002", pattern, 0, winner["value"], _place(winner))
        for loader, rule_id in _LOADERS:
            # A device to come, as a run over all devices sees it once it is there.
            filtering = [
                decided
                for decided in (state["configured"][loader], rp_filter["all"]["configured"][loader])
                if decided and decided["value"] > 0
            ]
            for decided in filtering:
                yield _finding(rule_id, pattern, 0, decided["value"], _place(decided))


def _of_others(rp_filter):
    if not rp_filter.get("reload_on_add"):
        yield _finding("RPF013", "udev", "a rule", "none", "no rule in udev's folders calls systemd-sysctl")
    for rule in rp_filter.get("netfilter", ()):
        where = "%s %s %s" % (rule["family"], rule["table"], rule["chain"])
        yield _finding("RPF008", where, "no such rule", "a rule", rule["rule"])
    for writer in rp_filter.get("other_writers", ()):
        place = "%s:%d" % (writer["path"], writer["line"])
        yield _finding(
            "RPF009", writer["by"], "nothing", writer["value"] or "a line", "%s %s" % (place, writer["text"])
        )
    for name, loader in rp_filter.get("loaders", {}).items():
        if not loader:
            continue
        if loader["globs"] is False:
            yield _finding("RPF011", name, "globs", "none", "version %s" % loader["version"])
        result = loader.get("unit_result") or "success"
        if loader.get("unit") == "failed" or result != "success":
            told = "too many restarts in a short time" if result == "start-limit-hit" else "the unit's result"
            yield _finding("RPF010", "systemd-sysctl.service", "success", result, told)


def _of_endpoints(routes):
    return [
        _finding("RPF006", endpoint["pod"] or endpoint["address"], "accepted", "dropped", endpoint["reason"])
        for endpoint in routes["endpoints"]
        if endpoint["verdict"] == "dropped"
    ]


def _place(winner):
    return "%s:%d %s" % (winner["path"], winner["line"], winner["key"])


class FilterModule(object):
    """The filter, by its name."""

    def filters(self):
        return {"findings": findings}

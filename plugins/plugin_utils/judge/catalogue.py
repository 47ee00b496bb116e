# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue of findings: one rule for each stable id. Data; what raises them stands in the filter findings.

docs/findings.md is written from it by tests/setup/document-findings.
"""

from collections import namedtuple

#: Worst first.
SEVERITIES = ("high", "medium", "low")

#: ``title`` says what is wrong, for any node, ``holds`` what holds if it is not found, ``why`` why that matters and
#: ``expected`` what should be. ``variable`` and ``command`` mend it; empty where there is none. ``meaning``,
#: ``detected`` and ``evidence`` are the long documentation: what it says, which facts raise it, and what the finding
#: shows for it.
Rule = namedtuple("Rule", "id severity title holds why expected variable command reference meaning detected evidence")

_KERNEL = "kernel documentation, networking/ip-sysctl: rp_filter"
_SYSCTL_D = "sysctl.d(5), systemd-sysctl.service(8)"
_CILIUM_ROUTES = "Cilium documentation: endpoint routes (enable-endpoint-routes)"
#: The main remedy.
HARDEN = "ansible-playbook -i INVENTORY nodeward.cilium.harden"
#: What tells why, where no variable of this collection mends it.
DIAGNOSE = "ansible-playbook -i INVENTORY nodeward.cilium.diagnose"
_RECREATE = "kubectl --namespace NAMESPACE rollout restart deployment/NAME"
_LOOSE = HARDEN + """ --extra-vars '{"rp_filter_uplinks": {"DEVICE": "loose"}}'"""
_AS_ROOT = DIAGNOSE + " --extra-vars nodeward_become=true"
_REPLY_IS_DROPPED = "a pod's reply arrives on another device than the host's route names, and the filter drops it"
_WINNER = "Path and line of the assignment that decides, its key and its value."

_RULES = (
    Rule(
        "RPF001",
        "high",
        "A device of Cilium is filtered now",
        "Cilium's interfaces are exempt",
        _REPLY_IS_DROPPED,
        "0",
        "rp_filter_state",
        HARDEN,
        _KERNEL,
        "The reverse-path filter is on for a device that Cilium made. The kernel drops what comes in by it unless the "
        "route back leaves by the same device.",
        "The effective value (the larger of `all` and the device's own) of a device of Cilium is not 0. A pod's device "
        "by which the host also reaches the pod (endpoint routes) is left out, since its replies pass. A device "
        "`cilium_*` is RPF026 with endpoint routes, and RPF031 where there are none.",
        "The device's own value and that of `all`; path and line where a line that a loader reads gives that value.",
    ),
    Rule(
        "RPF002",
        "high",
        "The next device of Cilium will be filtered",
        "The next interface of Cilium will be exempt",
        "udev runs systemd-sysctl for every new device after Cilium's write, and all counts for each; "
        + _REPLY_IS_DROPPED,
        "0",
        "rp_filter_state",
        HARDEN,
        _SYSCTL_D,
        "Replies of the pod that starts next will be dropped, although those of the present pods are accepted.",
        "What a new interface of this pattern has once udev's rules and the network's configurator have run is not 0: "
        "by a line, a unit or a rule, or by the running value of `all`. With a seen agent the pattern `cilium_*` is at "
        "0, since the agent sets it after udev. Left out if the pods' own routes make the filter harmless. Of severity "
        "medium if the agent ends it by itself, or if a writer cannot be predicted (observed: unknown).",
        _WINNER + " Without a line, the running value of `all`. If unknown, the place that may write it.",
    ),
    Rule(
        "RPF003",
        "high",
        "The next boot will filter Cilium's devices",
        "The next boot leaves Cilium's interfaces exempt",
        "the filter is on after each boot, once every writer has written",
        "0",
        "rp_filter_conflicts",
        HARDEN,
        _SYSCTL_D,
        "After the next boot the filter is on for Cilium's devices.",
        "What stands after a boot, for a pattern of Cilium's devices or for `all`, is not 0. A seen agent sets `all` "
        "and `cilium_*` to 0 when it starts, so with one only the interfaces of pods are reported. If no agent was "
        "seen, the prediction is made without one, and the evidence says so. Of severity medium if a writer cannot be "
        "predicted (observed: unknown).",
        _WINNER + " If unknown, the place that may write it.",
    ),
    Rule(
        "RPF004",
        "medium",
        "The next sysctl --system will filter Cilium's devices",
        "The next sysctl --system leaves Cilium's interfaces exempt",
        "procps reads the same files in another order, and /etc/sysctl.conf last",
        "0",
        "rp_filter_conflicts",
        HARDEN,
        "sysctl(8)",
        "Whoever calls `sysctl --system`, as many installers and hardening roles do, puts the filter on Cilium's "
        "devices.",
        "The assignment that decides under procps, for a pattern of Cilium's devices, for one of them that is there, "
        "or for `all`, is not 0. If the agent ends that by itself (`all`, `cilium_*`), the finding says after how "
        "long.",
        _WINNER + " If unknown, the place that may write it.",
    ),
    Rule(
        "RPF005",
        "high",
        "all filters Cilium's devices",
        "all does not filter Cilium's interfaces",
        "the kernel uses the larger of all and the device's own value",
        "0",
        "rp_filter_state",
        HARDEN,
        _KERNEL,
        "`net.ipv4.conf.all.rp_filter` is on, so no exemption of a device holds.",
        "The running value of `all` is not 0, and a device of Cilium is filtered now (RPF001).",
        "The running value; path and line where a line that a loader reads gives it.",
    ),
    Rule(
        "RPF006",
        "high",
        "The kernel drops what an endpoint sends",
        "The kernel accepts what endpoints send",
        "its probes time out and whoever it talks to hears nothing",
        "accepted",
        "rp_filter_state",
        HARDEN,
        "ip-route(8): route get",
        "The kernel itself was asked what it does with this pod's packets, and answers that it drops them. Where the "
        "filter is not why, the remedy is `nodeward.cilium.diagnose`, which tells what is.",
        "The verdict on the endpoint's reply to the host, or on its packets to the world outside, is `dropped`.",
        "The reason in words.",
    ),
    Rule(
        "RPF007",
        "medium",
        "An uplink has no protection",
        "Uplinks are protected",
        "packets with a pod's or the node's own addresses can come in by it",
        "1 or 2",
        "rp_filter_uplinks",
        _LOOSE,
        _KERNEL,
        "The filter is off on a device by which packets enter the node.",
        "The effective value of an uplink is 0.",
        "Its own value and that of `all`.",
    ),
    Rule(
        "RPF008",
        "high",
        "A netfilter rule checks the reverse path",
        "No netfilter rule checks the reverse path",
        "it drops the same replies, whatever rp_filter says",
        "no such rule",
        "",
        "nft --handle list ruleset",
        "nft(8): fib; iptables-extensions(8): rpfilter; firewalld.conf(5): IPv6_rpfilter",
        "A firewall does the same check by itself. Take the rule out, or let it leave out Cilium's devices.",
        "The ruleset has nft's `fib saddr . iif oif` or the match `rpfilter` of iptables. A rule for other devices "
        "than Cilium's is left out, and one for IPv6 where endpoints are known and none has an IPv6 address.",
        "The rule as it stands.",
    ),
    Rule(
        "RPF009",
        "low",
        "Something besides the loaders sets the filter",
        "The loaders alone set the filter",
        "its value comes back when it runs next",
        "nothing but the loaders",
        "",
        "",
        "systemd.network(5), ufw(8), tuned(8), NetworkManager.conf(5)",
        "Another program writes the filter too, and neither loader knows: systemd-networkd, NetworkManager, a rule of "
        "udev, a unit, a timer or cron job, a hook of ifupdown or networkd-dispatcher, tuned, ufw. Take the line out "
        "there, or have it set what the drop-in sets.",
        "A line in one of their files sets it. It is of severity high if it decides that replies are dropped now, by "
        "the next interface or after the next boot, and the agent does not end that. It is medium if it may do so, or "
        "may take an uplink's protection, and low if its program does not run.",
        "Path, line and text of what sets it.",
    ),
    Rule(
        "RPF010",
        "medium",
        "systemd-sysctl.service failed",
        "systemd-sysctl.service succeeded",
        "a line that is not in force now may be missing, and whoever watches failed units sees this one forever",
        "success",
        "",
        "journalctl --boot --unit systemd-sysctl.service",
        _SYSCTL_D,
        "The loader ended with an error: a bad line, a file that it could not read, or a key that is not there.",
        "The unit's result is not `success`, and not `start-limit-hit` (RPF024).",
        "The result that systemd gives.",
    ),
    Rule(
        "RPF011",
        "low",
        "A loader knows no globs",
        "The loaders know globs",
        "it ignores the lines that exempt Cilium's devices, and those that filter them",
        "a loader that knows globs",
        "rp_filter_udev",
        HARDEN,
        "systemd 245 and procps 4.0.0 news",
        "Lines such as `net.ipv4.conf.lxc*.rp_filter` do nothing with this loader.",
        "The loader's version is too old for globs. Left out where that does no harm: for systemd-sysctl where a rule "
        "of udev keeps it off Cilium's devices, for procps where the drop-in stands.",
        "The loader's version.",
    ),
    Rule(
        "RPF012",
        "low",
        "Something could not be read",
        "Everything could be read",
        "what was not seen cannot be judged: there may be more",
        "readable",
        "",
        _AS_ROOT,
        "the facts' own unread",
        "A file, a socket or a program did not say what was asked. Most of it needs root.",
        "The facts name it in `unread`. What tells of endpoints is left out on a node without a device of Cilium.",
        "Why it could not be read.",
    ),
    Rule(
        "RPF013",
        "low",
        "udev does not run systemd-sysctl for new devices",
        "udev runs systemd-sysctl for new interfaces",
        "a device to come gets default alone, and no line that names it or matches it",
        "a rule",
        "",
        "udevadm test /sys/class/net/DEVICE",
        "udev rule 99-systemd.rules",
        "A device other than Cilium's that comes later does not get its line, so an uplink may be bare.",
        "No rule in udev's folders calls systemd-sysctl.",
        "That there is none.",
    ),
    Rule(
        "RPF014",
        "high",
        "Another line beats the drop-in's exemption",
        "The drop-in's exemption decides",
        "whoever reads the drop-in takes Cilium's devices for exempt, and at its next run the loader filters them",
        "the drop-in decides",
        "rp_filter_conflicts",
        HARDEN + " --extra-vars rp_filter_conflicts=disable",
        _SYSCTL_D,
        "A later file, or an explicit key, decides against the drop-in about `all` or about devices of Cilium.",
        "The drop-in stands and assigns the key, another line is the winner under one loader or both, and its value "
        "is another.",
        "Path, line, key and value of the winner.",
    ),
    Rule(
        "RPF015",
        "medium",
        "Another line beats what the drop-in keeps on a device",
        "The drop-in decides what it keeps on interfaces",
        "an uplink loses, or changes, the protection that the drop-in says it has",
        "the drop-in decides",
        "rp_filter_conflicts",
        HARDEN + " --extra-vars rp_filter_conflicts=disable",
        _SYSCTL_D,
        "A later file, or an explicit key, decides against the drop-in about an uplink or about `default`.",
        "As for RPF014, for `default` and for a device that is not Cilium's.",
        "Path, line, key and value of the winner.",
    ),
    Rule(
        "RPF016",
        "low",
        "The drop-in is missing",
        "The drop-in is there",
        "nothing on the node holds against the next file that turns the filter on",
        "the drop-in",
        "rp_filter_state",
        HARDEN,
        "README: role nodeward.cilium.rp_filter",
        "This node was never hardened, or somebody took the drop-in away. It may be well all the same, by endpoint "
        "routes or since nobody filters there.",
        "There is no file at the drop-in's path.",
        "The path that was looked at.",
    ),
    Rule(
        "RPF017",
        "medium",
        "The drop-in was changed by hand",
        "The drop-in is as it was written",
        "harden refuses until an option decides about the change; until then the drop-in is not as it was written",
        "the lines that the role wrote",
        "rp_filter_edited",
        HARDEN + " --extra-vars rp_filter_edited=restore",
        "README: role nodeward.cilium.rp_filter",
        "The assignments in the drop-in are not those that the role wrote, or the file is somebody else's.",
        "The digest in the file's header does not fit its lines, or the header is not there.",
        "The path.",
    ),
    Rule(
        "RPF018",
        "low",
        "The drop-in is of another version",
        "The drop-in is of this version",
        "a newer version of the collection writes more; a file of a newer version is read by that version alone",
        "the format of this collection",
        "rp_filter_state",
        HARDEN,
        "README: role nodeward.cilium.rp_filter",
        "Another version of this collection wrote the file. If it is newer, update the collection on the controller.",
        "The header names another format, or has no digest.",
        "The path and the format.",
    ),
    Rule(
        "RPF019",
        "medium",
        "A glob without a dash fails the unit at boot",
        "No glob without a dash fails the unit at boot",
        "systemd 245 counts a glob that matches no device as a failure, and at boot Cilium's devices are not there yet",
        "a dash before the key",
        "",
        "sed --in-place --follow-symlinks 's/^net/-net/' FILE",
        "sysctl.d(5); Cilium's issue 21146",
        "systemd-sysctl.service will have failed after the next boot. The line is applied later all the same.",
        "systemd-sysctl is of version 245, and a glob for rp_filter has no dash before it and matches nothing but "
        "Cilium's devices. The remedy of a finding names file and line.",
        "Path, line and key of the glob.",
    ),
    Rule(
        "RPF020",
        "medium",
        "An uplink is strict where Cilium's mode needs it loose",
        "Uplinks are loose where Cilium's mode needs it",
        "packets come in by one uplink and go out by another, which strict drops",
        "2",
        "rp_filter_uplinks",
        _LOOSE,
        "Cilium documentation: direct server return, egress gateway, AWS ENI",
        "With direct server return over several devices, with an egress gateway and in ENI mode the route back to a "
        "packet's source need not leave by the device that it came by.",
        "The effective value of an uplink, of those that Cilium uses where that is known, is 1, and the agent is "
        "configured for one of these modes.",
        "The mode.",
    ),
    Rule(
        "RPF021",
        "low",
        "More packets were dropped since the last look",
        "No more packets were dropped since the last look",
        "each is a packet that somebody waits for, or one that somebody forged",
        "no growth",
        "",
        DIAGNOSE + " --extra-vars diagnose_watch=10",
        "kernel: TcpExt IPReversePathFilter",
        "The kernel's counter of packets that the filter dropped grew. Spoofed packets that an uplink rightly drops "
        "count as well. `in_martian_src` is left out, since this collection's own questions to the kernel raise it.",
        "The counter is larger than in the facts of before. After a reboot it began at 0, so all of it is growth.",
        "By how much it grew.",
    ),
    Rule(
        "RPF022",
        "medium",
        "Endpoint routes are configured but not in effect for every pod",
        "Endpoint routes that are configured are in effect for every pod",
        "a pod older than the option has no route of its own; its replies are dropped if its interface is filtered",
        "a route by its own device for each endpoint",
        "endpoint_routes_state",
        _RECREATE,
        _CILIUM_ROUTES,
        "The agent reports endpoint routes as on. Only pods that were made since have one: make the others anew.",
        "The agent is configured for endpoint routes, and there are endpoints without a /32 route by their device.",
        "How many have none.",
    ),
    Rule(
        "RPF023",
        "low",
        "Endpoint routes are in effect though not configured",
        "No endpoint routes are in effect that are not configured",
        "a recreated pod has no such route; its replies are dropped if its interface is filtered",
        "no routes by the endpoints' own devices",
        "endpoint_routes_state",
        _RECREATE,
        _CILIUM_ROUTES,
        "Somebody switched endpoint routes off. Pods keep their routes until they are made anew. Do that once the next "
        "pod is well without (RPF002), or switch them on again.",
        "The agent is not configured for endpoint routes, and there are endpoints with such a route.",
        "How many have one.",
    ),
    Rule(
        "RPF024",
        "low",
        "systemd-sysctl.service hit its start limit",
        "systemd-sysctl.service did not hit its start limit",
        "the unit looks failed, though no line of it is wrong",
        "success",
        "",
        "systemctl reset-failed systemd-sysctl.service",
        "systemd.unit(5): StartLimitBurst",
        "Somebody restarted the unit a few times in a row. Its lines are in force.",
        "The unit's result is `start-limit-hit`.",
        "The result that systemd gives.",
    ),
    Rule(
        "RPF025",
        "medium",
        "src_valid_mark is on beside Cilium's L7 proxy",
        "src_valid_mark is off beside Cilium's L7 proxy",
        "the mark of a packet from the proxy leads to a local route, so its source is martian: rp_filter=0 does not "
        "cure that",
        "src_valid_mark 0, or accept_local 1",
        "",
        "sysctl --write net.ipv4.conf.DEVICE.accept_local=1",
        "kernel documentation, networking/ip-sysctl: src_valid_mark, accept_local; Cilium's issue 46260",
        "Tailscale, NetBird and others set `src_valid_mark`. The check of the source then heeds the packet's mark, and "
        "what goes through the L7 proxy is dropped. `accept_local` on the pods' devices mends it; for those to come "
        "write `-net.ipv4.conf.lxc*.accept_local = 1` to a file in sysctl.d.",
        "The agent's L7 proxy is on, and a pod's device, or `default` for those to come, has `src_valid_mark` (by "
        "itself or by `all`) and not `accept_local`. If the agent's configuration cannot be seen, a policy rule for "
        "the proxy's mark (0x200/0xf00) says that the proxy is on; if the proxy is known to be off, that rule is left "
        "over and counts for nothing.",
        "How many devices, and the first of them; the policy rule, if that is the evidence.",
    ),
    Rule(
        "RPF026",
        "high",
        "Traffic between nodes is dropped with endpoint routes on",
        "Traffic between nodes is accepted with endpoint routes on",
        "with endpoint routes, packets from other nodes come in by devices that the route back does not name",
        "0",
        "rp_filter_exempt",
        HARDEN,
        _CILIUM_ROUTES,
        "With endpoint routes a filter on `cilium_*`, or on `all`, drops traffic from pods on other nodes. Pods on "
        "this node still see each other, so it is easily missed.",
        "Endpoint routes are configured or in effect, and `all` or a device `cilium_*` is filtered.",
        "The value, and path and line where a line that a loader reads gives it.",
    ),
    Rule(
        "RPF027",
        "medium",
        "Cilium's own file took an uplink's protection away",
        "Cilium's own file took no uplink's protection away",
        "the uplink relied on all, and Cilium's init container writes a file that turns all off",
        "1 or 2",
        "rp_filter_uplinks",
        _LOOSE,
        "Cilium's Helm value sysctlfix.enabled",
        "Cilium's `99-zzz-override_cilium.conf` sets `all` to 0 so that its devices are exempt, and pins no uplink.",
        "An uplink is unprotected, and the line that decides `all` stands in Cilium's file and says 0.",
        "Path and line in Cilium's file.",
    ),
    Rule(
        "RPF028",
        "high",
        "An identical earlier line disarms Cilium's own file",
        "No identical earlier line disarms Cilium's own file",
        "systemd-sysctl keeps a repeated identical line at its first place, where a line between the two beats it",
        "Cilium's line decides",
        "rp_filter_state",
        HARDEN,
        _SYSCTL_D,
        "Cilium's file exempts its devices, last of all files. But an earlier file has the very same line, so that of "
        "Cilium counts for nothing, and a line between both wins. The drop-in spells its patterns otherwise "
        "(`[l]xc*`) for that reason.",
        "A line of Cilium's file repeats one of another file, and the winner for its pattern filters.",
        "Path and line of the earlier line.",
    ),
    Rule(
        "RPF029",
        "medium",
        "The facts are incomplete",
        "The facts are complete",
        "what they lack was not judged, so no finding there does not mean that all is well",
        "facts of this version of the collection",
        "",
        "ansible-playbook -i INVENTORY nodeward.cilium.audit",
        "README: modules rp_filter_facts and route_facts",
        "The facts lack a member, or hold in its place what nobody understands: they are of another version of the "
        "collection, or something cut them. Gather them anew.",
        "The facts are held against the shape that the modules document, and what every kernel has (devices, `all` and "
        "`default` with a value) against nothing. Facts whose `schema_version` is another are not judged any further.",
        "What is there instead.",
    ),
    Rule(
        "RPF030",
        "medium",
        "An uplink will lose its protection",
        "Uplinks keep their protection",
        "packets with a pod's or the node's own addresses can come in by it from then on",
        "1 or 2",
        "rp_filter_uplinks",
        HARDEN,
        _SYSCTL_D,
        "The filter is on for an interface by which packets enter the node, and is going to be turned off: by the next "
        "boot, a restart of systemd-sysctl, the next `sysctl --system`, or Cilium's agent. The agent sets `all` to 0 "
        "at each start, and from Cilium 1.16 also within 10 minutes of any other value. It leaves the uplinks' own "
        "values as they are. So an uplink that is filtered by `all` alone loses its filter, and one with a value of "
        "its own keeps it.",
        "The effective value of an uplink is not 0 now. It is 0 after one of these events, or once the agent has reset "
        "`all` (observed: within 10 minutes). Left out if another program may set it.",
        _WINNER + " Without a line, that the agent sets `all`, or that there is none.",
    ),
    Rule(
        "RPF031",
        "low",
        "A host device of Cilium is filtered, or will be",
        "Cilium's host interfaces are exempt and stay so",
        "as soon as endpoint routes are on, it drops traffic from pods on other nodes",
        "0",
        "rp_filter_state",
        HARDEN,
        _CILIUM_ROUTES,
        "The filter is on for a device `cilium_*`, or the next one will get it. While the host reaches all pods by "
        "`cilium_host`, that drops nothing.",
        "As for RPF001 to RPF004 and RPF034, for the devices `cilium_*` alone, if no endpoint has a route of its own "
        "and the agent is not known to be configured for such routes. With a seen agent they are at 0 after a boot.",
        "The device's own value and that of `all`, or path and line of the assignment that decides.",
    ),
    Rule(
        "RPF032",
        "medium",
        "What may decide the filter could not be read",
        "What may decide the filter could be read",
        "whatever stands there may turn the filter on or off, so no finding does not mean that all is well",
        "readable",
        "",
        _AS_ROOT,
        "the facts' own unread",
        "A file that a loader reads, a loader's version, the devices or the rules of netfilter could not be read. Most "
        "of it needs root.",
        "The facts name it in `unread`, with `decides`.",
        "Why it could not be read.",
    ),
    Rule(
        "RPF033",
        "low",
        "A device that is not Cilium's is not filtered",
        "Other interfaces are filtered",
        "a baseline that demands the filter for all devices is not met to that extent",
        "1 or 2",
        "rp_filter_uplink_devices",
        HARDEN + """ --extra-vars '{"rp_filter_uplink_devices": […], "rp_filter_uplinks": {"DEVICE": "loose"}}'""",
        _KERNEL,
        "The filter is off on a device that is neither Cilium's nor an uplink, such as that of another container "
        "runtime. List it in `rp_filter_uplink_devices`, with the uplinks, to have it filtered.",
        "The effective value of such a device is 0. `lo` and dummies are left out, since no packet comes in by them.",
        "How many there are, and the first of them.",
    ),
    Rule(
        "RPF034",
        "medium",
        "A restart of systemd-sysctl will filter Cilium's devices",
        "A restart of systemd-sysctl leaves Cilium's interfaces exempt",
        "it applies every line to every interface, those of the present pods too",
        "0",
        "rp_filter_conflicts",
        HARDEN,
        _SYSCTL_D,
        "A restart of systemd-sysctl.service on the running node puts the filter on Cilium's devices. Package upgrades "
        "and Cilium's own sysctlfix restart it.",
        "What stands after a restart of the unit, for a pattern of Cilium's devices, for one of them that is there, or "
        "for `all`, is not 0. The unit's drop-ins, conditions and credential count. If the agent ends that by itself "
        "(`all`, `cilium_*`: within 10 minutes from Cilium 1.16, else at its next start), the finding says so.",
        _WINNER + " If unknown, the place that may write it.",
    ),
)

CATALOGUE = {rule.id: rule for rule in _RULES}


def section(rule_id):
    """Where in the collection a rule is documented."""
    return f"docs/findings.md#{rule_id.lower()}"


def remedy(rule):
    """The remedy as a finding carries it."""
    return {"variable": rule.variable, "command": rule.command}

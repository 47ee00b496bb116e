# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What does not go together with endpoint routes, or with having none. Pure."""

import re

from ansible_collections.nodeward.cilium.plugins.module_utils import devices
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import verdict
from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster import rights
from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster.settings import (
    CONFIG_MAP,
    HELM,
    as_flag,
    few,
    note,
    refuse,
    shown,
)
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge import horizons

# Cloud modes for which the chart always sets the option.
_FORCED_IPAM = ("alibabacloud", "azure", "eni")
_FORCED_VALUES = ("alibabacloud", "azure", "eni", "gke")

# How a diff names a file that is not there.
_NOTHING = "/dev/null"


def cilium_version(daemonset):
    """(major, minor) by the agent's image, or None where its name does not tell."""
    containers = daemonset["spec"]["template"]["spec"]["containers"]
    image = next((c["image"] for c in containers if c["name"] == "cilium-agent"), containers[0]["image"])
    match = re.search(r":v?(\d+)\.(\d+)[.\d]*[^/]*$", image.split("@")[0])
    return (int(match.group(1)), int(match.group(2))) if match else None


def check(found, seen, options):
    config = seen["config_map"].get("data") or {}
    values = (seen["helm"] or {}).get("values") or {}
    daemonset = seen["daemonsets"][0]
    _check_filter(found, seen, options)
    if found["wanted"] == "true":
        _check_host_routing(found, config, cilium_version(daemonset))
    elif found["change"]:
        _check_may_be_off(found, config, values)
    if found["rollout"] and options["restart"] == "never":
        refuse(
            found,
            "endpoint_routes_restart: is never, but the upgrade changes the agents' DaemonSet, which then restarts "
            "every agent (the release's value rollOutCiliumPods does that). Consent with "
            "endpoint_routes_restart=rolling, or set rollOutCiliumPods to false first",
        )
    if found["change"] == HELM and seen["upgrade"]:
        missing = rights.missing_rules(rights.chart_rules(seen["upgrade"]), rights.allowed(seen["reviews"]))
        if missing:
            # Helm would find out in the middle of the upgrade, and leave a release that failed.
            remark = _on_rights(missing, seen["upgrade"])
            found["problems"].append(rights.refusal(missing, options["namespace"], remark))
    if found["change"] == HELM and not options["chart_ref"]:
        refuse(
            found,
            "endpoint_routes_chart_ref: is not set, and a helm upgrade needs the chart that is installed "
            f"({found['chart']}). Name it as helm does, such as endpoint_routes_chart_ref=cilium with "
            "endpoint_routes_chart_repo=https://helm.cilium.io",
        )
    _check_seen(found, seen["hosts"], options)


def _on_rights(missing, upgrade):
    """What is not sure of the rights that an upgrade needs."""
    told = []
    guessed = sorted(rights.guessed(upgrade) & {rule[0] for rule in missing})
    if guessed:
        told.append(f"The cluster does not serve {few(guessed)}, so that these names are guessed by their kinds.")
    if not upgrade["looks_up"] and any({"create", "delete", "patch"} & set(rule[3]) for rule in missing):
        told.append(
            "What is kept by the chart's lookup seems to change to this helm; 3.13 or newer looks it up, and may need "
            "less."
        )
    return " ".join(told)


def _check_host_routing(found, config, version):
    proxy = config.get("kube-proxy-replacement") in ("strict", "true")
    masquerade = as_flag(config.get("enable-bpf-masquerade")) or config.get("enable-ipv4-masquerade") == "false"
    if as_flag(config.get("enable-host-legacy-routing")) or not (proxy and masquerade):
        return
    told = (
        "BPF host routing (enable-host-legacy-routing is not true, with kube-proxy-replacement and BPF masquerading) "
        "does not go together with endpoint routes up to Cilium 1.13"
    )
    if version is None:
        note(found, f"{told}; the agent's image does not tell its version")
    elif version <= (1, 13):
        refuse(
            found,
            "%s, and this is %d.%d: the agent would fall back to the slower path by itself. Set "
            "enable-host-legacy-routing to true (the chart's bpf.hostLegacyRouting), or update Cilium"
            % ((told,) + version),
        )


def _check_may_be_off(found, config, values):
    for key in ("local-router-ipv4", "local-router-ipv6"):
        if config.get(key):
            refuse(
                found,
                f"ConfigMap {CONFIG_MAP}: {key} is {shown(config[key])}, which requires endpoint routes; the agents "
                "would not start without. Take it away first",
            )
    forced = [config["ipam"]] if config.get("ipam") in _FORCED_IPAM else []
    forced += [
        name for name in _FORCED_VALUES if isinstance(values.get(name), dict) and values[name].get("enabled") is True
    ]
    if forced:
        refuse(
            found,
            f"Cilium's mode {sorted(set(forced))[0]} needs endpoint routes, and its chart sets them whatever the "
            "value says: they cannot be disabled",
        )


def _check_seen(found, hosts, options):
    """What no host of this run tells of is not known to be safe."""
    visited = {host["node"] for host in hosts if host["rp_filter"]["all"]["running"] is not None}
    unseen = [node for node in found["scope"] if node not in visited]
    if not unseen:
        return
    told = f"no host of this run tells of {few(unseen)}, so whether a filter drops replies there is unknown"
    if options["allow_unseen"]:
        note(found, told + "; endpoint_routes_allow_unseen consents to it")
    else:
        refuse(
            found,
            told + ". Visit every node of the cluster in one play (no --limit; a host that failed before is out of it; "
            "one of another name needs endpoint_routes_node_name), or consent with endpoint_routes_allow_unseen=true",
        )


def hardening(result):
    """What a run of the module rp_filter in check mode said that it would change: {running: {name: value}, overlay}.

    overlay: {file: content, or null for one that goes}, as M(nodeward.cilium.rp_filter_facts) takes it.
    """
    overlay = {}
    for change in result.get("diff") or []:
        before, after = change["before_header"], change["after_header"]
        if before.startswith("/"):
            overlay[after if before == _NOTHING else before] = None if after == _NOTHING else change["after"]
    planned = result["plan"] if result.get("applied") else []
    # A pattern has no value to come from.
    running = {item["name"]: item["to"] for item in planned if item["from"] not in (None, item["to"])}
    return {"running": running, "overlay": overlay}


def _hardened(host):
    """The facts of the filter, with the running values that the role rp_filter said in check mode it would write."""
    rp_filter, running = host["rp_filter"], host["hardening"]
    return dict(
        rp_filter,
        all=dict(rp_filter["all"], running=running.get("all", rp_filter["all"]["running"])),
        devices={
            name: dict(device, running=running.get(name, device["running"]))
            for name, device in rp_filter["devices"].items()
        },
    )


def _is_pods(name):
    """Whether Cilium's device or pattern of this name is a pod's, and not one of those between the nodes."""
    return not name.startswith("cilium_")


def filtered_now(rp_filter, with_routes, is_spared=lambda name: False):
    """Where the filter drops what it must not, as "name value".

    With endpoint routes what comes from other nodes arrives on cilium_*, and without them a pod's reply is refused on
    its own device; there the larger of all and the device's own value counts. is_spared: whether a device, or all, is
    none of it, since nothing is dropped there that is not dropped without this run.
    """
    every = rp_filter["all"]["running"] or 0
    found = [f"all {every}"] if every and not is_spared("all") else []
    for name, device in sorted(rp_filter["devices"].items()):
        is_meant = device["kind"] == "cilium" and _is_pods(name) is not with_routes and not is_spared(name)
        if is_meant and device["running"]:
            found.append(f"{name} {device['running']}")
    return found


def filtered_later(rp_filter, with_routes):
    """The same of the next interface and the next boot, as "name value by file:line" or "name unknown, by place"."""
    found = []
    for pattern in sorted(name for name in rp_filter["patterns"] if _is_pods(name) is not with_routes):
        to_come = horizons.to_come(rp_filter, pattern, [1, 2])
        for horizon in (to_come["pod"], to_come["boot"]):
            for source in horizon["sources"] if horizon["dropped"] else ():
                if source["value"]:
                    found.append(f"{source['key']} {source['value']} by {horizons.place(source)}")
            for source in horizon["unknown"] if horizons.is_unknown(horizon) else ():
                found.append(f"{source['key']} unknown, by {horizons.place(source)}")
    return sorted(set(found))


def made_worse(rp_filter, routes, with_routes):
    """(now, later): of filtered_now and filtered_later what this run turns into dropped packets.

    An agent that runs with what is asked for already gives that to each new pod, whatever this run does. To disable
    takes the path of a pod whose reply is accepted, and nothing of a pod whose reply is dropped. Cilium's health
    endpoint is not a pod, and the agent makes it anew at each start.
    """
    if routes["endpoint_routes"]["agent"] is with_routes:
        return [], []
    if with_routes:
        # What comes from other nodes reaches the pods without a route, and those to come, by BPF alone.
        return filtered_now(rp_filter, True), filtered_later(rp_filter, True)
    pods = [each for each in routes["endpoints"] if each["address"] and not each["is_health"]]
    working = [each for each in pods if each["verdict"] != verdict.DROPPED]
    routed = {each["device"] for each in working if each["endpoint_route"]}
    others = {each["device"] for each in routes["endpoints"]} - routed | {devices.HEALTH_DEVICE}

    def is_spared(name):
        return bool(pods) and not routed if name == "all" else name in others

    # A pod that is made anew has a new device, and without this run a route as well.
    later = filtered_later(rp_filter, False) if working or not pods else []
    return filtered_now(rp_filter, False, is_spared), later


def _check_filter(found, seen, options):
    """With endpoint routes cilium_* and all have to stay at 0, and without them the pods' own devices and all."""
    for host in seen["hosts"]:
        if host["node"] not in found["scope"]:
            continue
        with_routes = as_flag(found["after"][host["node"]][0])
        harm = "with endpoint routes traffic between its pods and other nodes is dropped"
        if not with_routes:
            harm = "without endpoint routes the replies of its pods are dropped"
        rp_filter = _hardened(host)
        now, later = made_worse(rp_filter, host["routes"], with_routes)
        # With routes, what is to come is filtered only once a device of Cilium is made anew.
        is_harmful = now or later and not with_routes
        if is_harmful and not options["allow_filtered"]:
            refuse(
                found,
                f"{host['host']}: {_filtered(now, later)}: {harm}. Run nodeward.cilium.harden, or the role "
                "nodeward.cilium.rp_filter, first; endpoint_routes_allow_filtered=true consents to it",
            )
            continue
        already = "" if now or later else " (already, whatever this run does)"
        now, later = filtered_now(rp_filter, with_routes), filtered_later(rp_filter, with_routes)
        if now or later:
            told = (host["host"], _filtered(now, later), harm, already)
            note(found, "%s: %s: %s%s; nodeward.cilium.rp_filter keeps it off" % told)


def _filtered(now, later):
    if now:
        return f"rp_filter is on ({few(now)})"
    return f"rp_filter will be on with the next device or boot ({few(later)})"

# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What does not go together with endpoint routes, or with having none. Pure."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import re

from ansible_collections.nodeward.cilium.plugins.plugin_utils import endpoint_routes_rights as rights
from ansible_collections.nodeward.cilium.plugins.plugin_utils.endpoint_routes_settings import (
    CONFIG_MAP,
    HELM,
    as_flag,
    few,
    shown,
)

# Cloud modes for which the chart always sets the option.
_FORCED_IPAM = ("alibabacloud", "azure", "eni")
_FORCED_VALUES = ("alibabacloud", "azure", "eni", "gke")


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
    if found["wanted"] == "true":
        _check_host_routing(found, config, cilium_version(daemonset))
        _check_filter(found, seen, options)
    elif found["change"]:
        _check_may_be_off(found, config, values)
    template = daemonset["spec"]["template"]["metadata"].get("annotations") or {}
    if found["change"] == HELM and rights.CHECKSUM in template and options["restart"] == "never":
        found["problems"].append(
            "endpoint_routes_restart: is never, but the release's value rollOutCiliumPods makes the upgrade restart "
            "every agent. Consent with endpoint_routes_restart=rolling, or set rollOutCiliumPods to false first"
        )
    missing = []
    if found["change"] == HELM:
        needed = rights.chart_rules((seen["helm"] or {}).get("manifest") or [], options["namespace"])
        missing = rights.missing_rules(needed, rights.allowed(seen["reviews"]))
    if missing:
        # Helm would find out in the middle of the upgrade, and leave a release that failed.
        found["problems"].append(rights.refusal(missing, options["namespace"]))
    if found["change"] == HELM and not options["chart_ref"]:
        found["problems"].append(
            "endpoint_routes_chart_ref: is not set, and a helm upgrade needs the chart that is installed (%s). Name it "
            "as helm does, such as endpoint_routes_chart_ref=cilium with "
            "endpoint_routes_chart_repo=https://helm.cilium.io" % found["chart"]
        )
    _check_seen(found, seen["hosts"], options)


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
        found["notes"].append("%s; the agent's image does not tell its version" % told)
    elif version <= (1, 13):
        found["problems"].append(
            "%s, and this is %d.%d: the agent would fall back to the slower path by itself. Set "
            "enable-host-legacy-routing to true (the chart's bpf.hostLegacyRouting), or update Cilium"
            % ((told,) + version)
        )


def _check_may_be_off(found, config, values):
    for key in ("local-router-ipv4", "local-router-ipv6"):
        if config.get(key):
            found["problems"].append(
                "ConfigMap %s: %s is %s, which requires endpoint routes; the agents would not start without. Take it "
                "away first" % (CONFIG_MAP, key, shown(config[key]))
            )
    forced = [config["ipam"]] if config.get("ipam") in _FORCED_IPAM else []
    forced += [
        name for name in _FORCED_VALUES if isinstance(values.get(name), dict) and values[name].get("enabled") is True
    ]
    if forced:
        found["problems"].append(
            "Cilium's mode %s needs endpoint routes, and its chart sets them whatever the value says: they cannot be "
            "disabled" % sorted(set(forced))[0]
        )


def _check_seen(found, hosts, options):
    """What no host of this run tells of is not known to be safe."""
    visited = {host["node"] for host in hosts if host["rp_filter"]["all"]["running"] is not None}
    unseen = [node for node in found["scope"] if node not in visited]
    if not unseen:
        return
    told = "no host of this run tells of %s, so whether a filter cuts pods off there is not known" % few(unseen)
    if options["allow_unseen"]:
        found["notes"].append(told + "; endpoint_routes_allow_unseen consents to it")
    else:
        found["problems"].append(
            told + ". Visit every node of the cluster in one play (no --limit; a host that failed before is out of it; "
            "one of another name needs endpoint_routes_node_name), or consent with endpoint_routes_allow_unseen=true"
        )


def filtered_now(rp_filter):
    """Where the filter cuts nodes apart once pods have routes of their own: [(name, value)]."""
    devices = [
        (name, device["running"])
        for name, device in sorted(rp_filter["devices"].items())
        if name.startswith("cilium_") and device["kind"] == "cilium" and device["running"]
    ]
    every = rp_filter["all"]["running"]
    return ([("all", every)] if every else []) + devices


def filtered_later(rp_filter):
    """The same after the next boot, by the lines that systemd-sysctl reads: [(name, value, file:line)]."""
    found = []
    for name, configs in [("all", rp_filter["all"])] + sorted(rp_filter["patterns"].items()):
        line = configs["configured"]["systemd_sysctl"]
        if line and line["value"] and (name == "all" or name.startswith("cilium_")):
            found.append((name, line["value"], "%s:%d" % (line["path"], line["line"])))
    return found


def _check_filter(found, seen, options):
    """cilium_* and all have to stay at 0: with endpoint routes a filter there cuts pods of different nodes apart."""
    for host in seen["hosts"]:
        if host["node"] not in found["scope"]:
            continue
        now = filtered_now(host["rp_filter"])
        told = ", ".join("%s %d" % pair for pair in now)
        if now and host["hardened"]:
            found["notes"].append(
                "%s: rp_filter is on (%s); nodeward.cilium.rp_filter sets that to 0 first" % (host["host"], told)
            )
        elif now and options["allow_filtered"]:
            found["notes"].append(
                "%s: rp_filter is on (%s): with endpoint routes its pods are cut off from those on other nodes"
                % (host["host"], told)
            )
        elif now:
            found["problems"].append(
                "%s: rp_filter is on (%s), and with endpoint routes that cuts its pods off from those on other nodes. "
                "Run nodeward.cilium.harden, or the role nodeward.cilium.rp_filter, first; "
                "endpoint_routes_allow_filtered=true consents to it" % (host["host"], told)
            )
        later = [] if host["hardened"] else filtered_later(host["rp_filter"])
        if later and not now:
            found["notes"].append(
                "%s: rp_filter will be on after the next boot or with a new device (%s), which then cuts its pods off "
                "from those on other nodes; nodeward.cilium.rp_filter keeps it off"
                % (host["host"], "; ".join("%s %d by %s" % entry for entry in later))
            )

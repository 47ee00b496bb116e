# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role endpoint_routes decides: what a cluster says goes in, and what to do and what is left comes out. Pure.

Three values matter for each node, and they may differ: what is *configured* (the ConfigMap, and over it the
CiliumNodeConfigs that choose the node), what the agent *runs* with (it reads its configuration at its start), and
which routes the pods *have* (each gets them when it is made).
"""

from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster import caveats, rights
from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster.agents import (
    agents_of,
    batches,
    is_rolling_out,
    judge,
    nodes_without,
    rollout,
    unready,
)
from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster.settings import (
    CONFIG_MAP,
    CONFIGMAP,
    DEFAULT_PATH,
    HELM,
    KEY,
    KEY_PATH,
    NODE_CONFIG,
    NODE_CONFIG_METHOD,
    OWN_LABEL,
    SELECTOR_PATH,
    as_flag,
    as_text,
    changed_at,
    configured,
    few,
    is_as_wanted,
    note,
    owners,
    refuse,
    selects,
    served_node_configs,
    shown,
)

# Who else looks after an object, by the mark that they leave on it.
_KEEPERS = (
    ("annotations", "argocd.argoproj.io/tracking-id", "Argo CD"),
    ("labels", "argocd.argoproj.io/instance", "Argo CD"),
    ("labels", "kustomize.toolkit.fluxcd.io/name", "Flux"),
    ("labels", "helm.toolkit.fluxcd.io/name", "Flux"),
    ("annotations", "objectset.rio.cattle.io/id", "Rancher"),
)


def plan(seen, options):
    """What to do. `problems` refuse it; nothing of the rest holds then.

    seen: what the reading tasks brought; options: the role's variables, without their prefix.
    """
    found = {
        "method": None,
        "found_by": None,
        "wanted": as_text(options["state"] == "enabled"),
        "current": None,
        "change": None,
        "definition": None,
        "values": None,
        "chart": None,
        "diff": None,
        "agents": [],
        "batches": [],
        "rollout": None,
        "also": [],
        "unready": [],
        "before": {},
        "after": {},
        "scope": [],
        "notes": [],
        "problems": [],
    }
    _find_method(found, seen, options)
    if not found["problems"]:
        _read(found, seen, options)
    if not found["problems"]:
        caveats.check(found, seen, options)
    return found


def _find_method(found, seen, options):
    granted = rights.allowed(seen["reviews"])
    config_map = seen["config_map"]
    namespace = options["namespace"]
    may_read = ("configmaps", namespace, CONFIG_MAP, "get") in granted
    release = _release_of(config_map, seen["releases"], options) if may_read else None
    asked = options["method"]
    if asked != "auto":
        method, by = asked, "asked for"
    elif release:
        method, by = HELM, release["by"]
    else:
        method, by = CONFIGMAP, f"no Helm release owns ConfigMap {CONFIG_MAP}"
    found["method"], found["found_by"] = method, by
    restart = options["restart"] == "rolling"
    api, _configs, is_served = served_node_configs(seen["node_configs"])
    missing = rights.missing_rules(rights.rules(method, restart, namespace, is_served), granted)
    if missing:
        found["problems"].append(rights.refusal(missing, namespace))
        return
    if config_map is None:
        refuse(
            found,
            f"Cilium is not in namespace {namespace}: it has no ConfigMap {CONFIG_MAP}. Name the namespace of Cilium "
            "by endpoint_routes_namespace, or install Cilium first",
        )
    if len(seen["daemonsets"]) != 1:
        refuse(
            found,
            f"Cilium is not in namespace {namespace}: expected one DaemonSet with the label k8s-app=cilium there, "
            f"found {len(seen['daemonsets'])}. Name the namespace of Cilium by endpoint_routes_namespace",
        )
    if method == HELM and not found["problems"]:
        _check_release(found, release, options)
        if seen["helm_failed"] and not found["problems"]:
            refuse(
                found,
                f"endpoint_routes_helm_binary: the helm client could not tell of the release {options['release']}: "
                f"{seen['helm_failed']}",
            )
    if method == CONFIGMAP and release:
        note(
            found,
            f"ConfigMap {CONFIG_MAP} belongs to the Helm release {release['name']}: what is written into it past Helm "
            "does not last. The next helm upgrade that names endpointRoutes.enabled undoes it; "
            "endpoint_routes_method=helm sets the release's own value",
        )
    if method == NODE_CONFIG_METHOD:
        if api is None:
            refuse(
                found,
                "endpoint_routes_method: node_config needs the CustomResourceDefinition "
                "ciliumnodeconfigs.cilium.io, and this cluster serves none (Cilium has it since 1.13). Use helm or "
                "configmap",
            )
        if not options["node_selector"]:
            refuse(
                found,
                "endpoint_routes_node_selector: is empty, which would choose every node; name labels of the nodes that "
                "are meant, or use helm or configmap for all",
            )


def _release_of(config_map, releases, options):
    """{name, by, latest} of the Helm release that keeps Cilium, or None."""
    annotations = ((config_map or {}).get("metadata") or {}).get("annotations") or {}
    owner = annotations.get("meta.helm.sh/release-name")
    name = owner or options["release"]
    versions = [secret for secret in releases if secret["metadata"]["labels"].get("name") == name]
    if not owner and not versions:
        return None
    latest = max(versions, key=lambda secret: int(secret["metadata"]["labels"]["version"])) if versions else None
    by = f"ConfigMap {CONFIG_MAP} names it" if owner else f"its Secret {latest['metadata']['name']} is there"
    return {
        "name": name,
        "by": f"Helm release {name}: {by}",
        "status": latest["metadata"]["labels"].get("status") if latest else None,
    }


def _check_release(found, release, options):
    if release is None or release["status"] is None and release["name"] == options["release"]:
        refuse(
            found,
            f"endpoint_routes_release: there is no Helm release '{options['release']}' in namespace "
            f"{options['namespace']}. Name the release by endpoint_routes_release, or use "
            "endpoint_routes_method=configmap",
        )
    elif release["name"] != options["release"]:
        refuse(
            found,
            f"endpoint_routes_release: ConfigMap {CONFIG_MAP} belongs to the Helm release '{release['name']}', not to "
            f"'{options['release']}'. Say endpoint_routes_release={release['name']}",
        )
    elif release["status"] != "deployed":
        refuse(
            found,
            f"endpoint_routes_release: the last revision of '{release['name']}' is {release['status']}, not deployed; "
            "finish or roll it back with helm first",
        )


def _read(found, seen, options):
    """The values of now and then, and which agents that leaves behind."""
    wanted, config_map = found["wanted"], seen["config_map"]
    base = (config_map.get("data") or {}).get(KEY)
    api, configs, _is_served = served_node_configs(seen["node_configs"])
    labels = {node["metadata"]["name"]: node["metadata"].get("labels") or {} for node in seen["nodes"]}
    there = agents_of(seen["daemonsets"][0], seen["pods"])
    agents = [agent for agent in there if not agent["leaving"]]
    # A node that Cilium is not meant for is none of ours.
    nodes = sorted({agent["node"] for agent in agents} | set(nodes_without(seen["daemonsets"][0], agents, labels)))
    _check_names(found, seen["hosts"], labels)
    found["before"] = {node: configured(base, configs, labels.get(node, {})) for node in nodes}
    found["current"] = base
    later_base, later_configs = base, configs
    if found["method"] == NODE_CONFIG_METHOD:
        selector = {"matchLabels": options["node_selector"]}
        found["scope"] = [node for node in nodes if selects(selector, labels.get(node, {}))]
        chosen = [labels.get(node, {}) for node in found["scope"]]
        later_configs = _plan_node_config(found, api, options, base, configs, chosen)
        if not found["scope"] and found["change"] not in ("remove", "unset") and not found["problems"]:
            refuse(
                found,
                "endpoint_routes_node_selector: no node with an agent has the labels %s"
                % ", ".join("%s=%s" % pair for pair in sorted(options["node_selector"].items())),
            )
    else:
        found["scope"] = nodes
        if found["method"] == HELM:
            _plan_release(found, seen, options, base)
        elif not is_as_wanted(base, wanted):
            _plan_config_map(found, seen, options, base)
        later_base = wanted if found["change"] else base
    found["after"] = {node: configured(later_base, later_configs, labels.get(node, {})) for node in nodes}
    _check_overrides(found, later_configs)
    hosts = {host["node"]: {"agent": host["routes"]["endpoint_routes"]["agent"]} for host in seen["hosts"]}
    _add_changing(found, seen["meant"], options["node_config_name"])
    if found["method"] == NODE_CONFIG_METHOD:
        _add_behind(found, config_map, configs, options["node_config_name"], agents, hosts)
    times = {node: _set_at(source, config_map, configs) for node, (_value, source) in found["before"].items()}
    written = _written(found, options["node_config_name"])
    everyone = judge(agents, found["before"], found["after"], hosts, times, seen["stale"], written)
    found["agents"] = [agent for agent in everyone if agent["node"] in found["scope"]]
    found["batches"] = batches(found["agents"], options["batch"])
    if found["change"] == HELM and seen["upgrade"]:
        _plan_upgrade(found, seen, options, everyone)
    left = [agent["node"] for batch in found["batches"] for agent in batch]
    found["unready"] = unready([node for node in found["scope"] if node not in left], there)
    lost = [agent for agent in found["agents"] if agent["only_now"]]
    if lost and options["restart"] == "never":
        note(
            found,
            f"nothing tells what the agents on {few([agent['node'] for agent in lost])} run with, and afterwards "
            "nothing in the cluster tells that they are still to be recreated: only this run knows. Recreate them "
            "after it, or visit their nodes, so that the agents can say it themselves",
        )
    if left and options["restart"] == "rolling":
        _check_rest(found, seen["daemonsets"][0], left, options)


def _named(configs, name):
    return next((config for config in configs if config["metadata"]["name"] == name), None)


def _set_at(source, config_map, configs):
    """When a value was last written that comes from the CiliumNodeConfig of this name, or from the ConfigMap."""
    config = _named(configs, source)
    return changed_at(config, DEFAULT_PATH) if config else changed_at(config_map, KEY_PATH)


def _written(found, name):
    """The nodes for which this run writes a value that is there afterwards, with the time when it was written."""
    if found["change"] == CONFIGMAP or found["change"] == HELM and found["wanted"] == "true":
        source = None
    elif found["change"] == NODE_CONFIG_METHOD:
        source = name
    else:
        return set()
    return {node for node, (_value, by) in found["after"].items() if by == source}


def _check_rest(found, daemonset, left, options):
    """No batch begins while others are restarting or broken."""
    told = ["%(node)s: %(why)s" % each for each in found["unready"]]
    if is_rolling_out(daemonset):
        told.append("the DaemonSet itself is restarting agents")
    if told:
        refuse(
            found,
            "endpoint_routes_restart: nothing is restarted while an agent that is not to be restarted itself is not "
            f"ready: {'; '.join(told)}. Left to do: {', '.join(left)}. Find out why (kubectl --namespace "
            f"{options['namespace']} describe pods --selector k8s-app=cilium), and run again: it goes on where it "
            "stopped",
        )


def _add_changing(found, meant, name):
    """A CiliumNodeConfig that chooses other nodes than before changes those too that it leaves.

    meant: the nodes that were meant before acting, of which none is forgotten after; name: that of ours.
    """
    after = found["after"]
    changing = {node for node, (value, _by) in found["before"].items() if as_flag(value) != as_flag(after[node][0])}
    left = sorted(changing - set(found["scope"]))
    if left:
        # One object gave them all one value.
        value = as_text(as_flag(after[left[0]][0]))
        told = f"what is configured changes to {value} for {few(left)} too, which will not be chosen any more"
        note(found, told)
        if value != found["wanted"] == "false":
            refuse(
                found,
                f"endpoint_routes_node_selector: {told}, although endpoint_routes_state is disabled: only "
                f"{NODE_CONFIG} {name} keeps endpoint routes off there. Choose these nodes as well, or leave it to "
                "them, and say another endpoint_routes_node_config_name",
            )
    found["scope"] = sorted((changing | set(found["scope"]) | set(meant)) & set(after))


def _add_behind(found, config_map, configs, name, agents, hosts):
    """A CiliumNodeConfig may have left agents in an earlier run that go on with what it said, as they say themselves.

    One that is older than what is configured now waits for a restart that is not ours. Where no time tells, as of a key
    that is gone, all are meant to disable, and to enable those that may have read our CiliumNodeConfig (of this name).
    """
    ours = _named(configs, name)
    since_ours = ours["metadata"]["creationTimestamp"] if ours else None
    created = {agent["node"]: agent["created"] for agent in agents}
    left, others = [], []
    for node in sorted(set(created) - set(found["scope"])):
        value, source = found["after"][node]
        if hosts.get(node, {}).get("agent") in (None, as_flag(value)):
            continue
        since = _set_at(source, config_map, configs) or ("" if found["wanted"] == "false" else since_ours)
        (others if since is None or created[node] < since else left).append(node)
    told = "agents run with something else than what is configured, and are "
    if left:
        note(found, told + f"meant too, as a {NODE_CONFIG} may have left them: on {few(left)}")
    if others:
        note(
            found,
            told
            + (
                f"not meant, as what waits for their restart is another change than that of {NODE_CONFIG} {name}: on "
                f"{few(others)}. A run recreates them that means every node (endpoint_routes_method helm or "
                "configmap), or that chooses them"
            ),
        )
    found["scope"] = sorted(found["scope"] + left)


def _check_names(found, hosts, nodes):
    """By its name as a node a host speaks for that node; a wrong one would speak for nobody, or for another."""
    for host in hosts:
        if host["node"] not in nodes:
            refuse(
                found,
                f"endpoint_routes_node_name: the cluster has no node '{host['node']}' (of host {host['host']}). Set "
                "it for that host to its name in `kubectl get nodes`, or leave the host out of the play",
            )
    names = [host["node"] for host in hosts]
    for node in sorted({name for name in names if names.count(name) > 1}):
        refuse(
            found,
            "endpoint_routes_node_name: is '%s' for more than one host (%s)"
            % (node, few([host["host"] for host in hosts if host["node"] == node])),
        )


def _plan_config_map(found, seen, options, base):
    wanted, config_map = found["wanted"], seen["config_map"]
    what = f"ConfigMap {CONFIG_MAP}"
    _refuse_owners(found, what, KEY, owners(config_map, KEY_PATH), options)
    _refuse_keeper(found, what, config_map, options)
    found["change"] = CONFIGMAP
    found["definition"] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "namespace": options["namespace"]},
        "data": {KEY: wanted},
    }
    found["diff"] = f"ConfigMap {CONFIG_MAP}: {KEY}: {shown(base)} -> {wanted}"


def _told_owner(owner):
    return f"{owner['manager']} ({owner['operation']} at {owner['time']})"


def _refuse_owners(found, what, field, others, options):
    if others and not options["force_conflicts"]:
        refuse(
            found,
            f"{what}: {field} is owned by the field manager {' and '.join(_told_owner(owner) for owner in others)}, "
            "which would set it back. Change it there, or say endpoint_routes_force_conflicts=true to take it over",
        )


def _refuse_keeper(found, what, document, options):
    for where, mark, keeper in _KEEPERS:
        if mark in (document["metadata"].get(where) or {}) and not options["force_conflicts"]:
            refuse(
                found,
                f"{what} is kept by {keeper} ({mark}): change it where {keeper} takes it from, or say "
                "endpoint_routes_force_conflicts=true",
            )
            return


def _plan_release(found, seen, options, base):
    """The release's own value; its other values are kept, and its chart is the one that is installed."""
    wanted = found["wanted"]
    values = (seen["helm"] or {}).get("values") or {}
    routes = values.get("endpointRoutes")
    value = routes.get("enabled") if isinstance(routes, dict) else None
    wrong_value = bool(value) != (wanted == "true")
    found["chart"] = (seen["helm"] or {}).get("chart")
    if wrong_value or not is_as_wanted(base, wanted):
        found["change"] = HELM
        found["values"] = {"endpointRoutes": {"enabled": wanted == "true"}}
        found["diff"] = "Helm release: endpointRoutes.enabled: %s -> %s (ConfigMap %s: %s: %s -> %s)" % (
            "(not set)" if value is None else as_text(value),
            wanted,
            CONFIG_MAP,
            KEY,
            shown(base),
            "(not there)" if wanted == "false" else wanted,
        )
        _refuse_keeper(found, f"ConfigMap {CONFIG_MAP}", seen["config_map"], options)
    if found["change"] and not wrong_value and wanted == "false":
        others = owners(seen["config_map"], KEY_PATH)
        refuse(
            found,
            "ConfigMap %s: %s is %s although the release does not ask for it; it was written past Helm%s, and no helm "
            "upgrade takes it back. Say endpoint_routes_method=configmap"
            % (CONFIG_MAP, KEY, shown(base), " by " + " and ".join(map(_told_owner, others)) if others else ""),
        )


def _plan_upgrade(found, seen, options, everyone):
    """What else the upgrade does: to other objects, and to agents by their DaemonSet, which then has no batches."""
    unreadable = rights.unreadable(seen["upgrade"])
    if unreadable:
        refuse(
            found,
            f"endpoint_routes_release: what helm tells of the release {options['release']} cannot be read "
            f"({unreadable}): expected objects of Kubernetes in YAML. Look at it with helm get manifest and helm "
            "upgrade --dry-run, and mend the chart; or say endpoint_routes_method=configmap",
        )
        return
    words = {"create": "created", "delete": "deleted", "patch": "changed"}
    if not seen["upgrade"]["looks_up"]:
        words = {verb: "may be " + word for verb, word in words.items()}
    for verb, kind, where, name, _group in rights.changes(seen["upgrade"]):
        if verb in words and (kind, name) != ("ConfigMap", CONFIG_MAP):
            found["also"].append("%s %s %s" % (kind, name if where else name + " (of the whole cluster)", words[verb]))
    found["also"] += [f"hook {hook['name']} run" for hook in rights.hooks(seen["upgrade"])]
    if found["also"] and not seen["upgrade"]["looks_up"]:
        note(
            found,
            "helm before 3.13 finds nothing by a chart's lookup in a dry run: what a chart keeps that way, such as a "
            "certificate, seems to change",
        )
    strategy = seen["daemonsets"][0]["spec"].get("updateStrategy") or {}
    if (
        everyone
        and strategy.get("type") != "OnDelete"
        and rights.template_changes(seen["upgrade"], seen["daemonsets"][0])
    ):
        found["rollout"] = rollout(strategy, len(everyone))
        found["batches"] = [everyone]


def _plan_node_config(found, api, options, base, configs, chosen):
    """The CiliumNodeConfigs as they will be. Off is to have none of ours, unless something else is on then.

    chosen: the labels of each node that is chosen.
    """
    wanted, name = found["wanted"], options["node_config_name"]
    existing = _named(configs, name)
    others = [config for config in configs if config is not existing]
    spec = (existing or {}).get("spec") or {}
    defaults, old_selector = spec.get("defaults") or {}, spec.get("nodeSelector") or {}
    selector = {"matchLabels": dict(options["node_selector"])}
    is_chosen_alike = {key: value for key, value in old_selector.items() if value} == selector
    if old_selector.get("matchExpressions"):
        # What is not named is not taken away, where the selector is not one field.
        selector["matchExpressions"] = []
    found["definition"] = {
        "apiVersion": api,
        "kind": NODE_CONFIG,
        "metadata": {"name": name, "namespace": options["namespace"], "labels": dict(OWN_LABEL)},
        "spec": {"defaults": {KEY: wanted}, "nodeSelector": selector},
    }
    what = f"{NODE_CONFIG} {name}"
    if existing and not OWN_LABEL.items() <= (existing["metadata"].get("labels") or {}).items():
        refuse(
            found,
            "%s is somebody else's: it lacks the label %s=%s. Choose another endpoint_routes_node_config_name"
            % ((what,) + next(iter(OWN_LABEL.items()))),
        )
    is_on = as_flag(base) or any(as_flag(configured(base, others, labels)[0]) for labels in chosen)
    is_end = wanted == "false" and not is_on
    if is_end and KEY in defaults:
        # What others wrote beside our key is theirs.
        found["change"] = "unset" if len(defaults) > 1 else "remove"
        found["diff"] = f"{what}: {shown(defaults[KEY])} -> (not there)"
    elif not is_end and (defaults.get(KEY) != wanted or not is_chosen_alike):
        found["change"] = NODE_CONFIG_METHOD
        found["diff"] = "%s: %s -> %s, for nodes with %s" % (
            what,
            shown(defaults.get(KEY)),
            wanted,
            ", ".join("%s=%s" % pair for pair in sorted(options["node_selector"].items())),
        )
    if existing and found["change"]:
        if defaults.get(KEY) != wanted or is_end:
            _refuse_owners(found, what, KEY, owners(existing, DEFAULT_PATH), options)
        if not is_chosen_alike and not is_end:
            _refuse_owners(found, what, "nodeSelector", owners(existing, SELECTOR_PATH), options)
        _refuse_keeper(found, what, existing, options)
    return others if is_end else others + [found["definition"]]


def _check_overrides(found, configs):
    """Nodes that will not have what is asked for, since a CiliumNodeConfig gives them something else."""
    for name in sorted({config["metadata"]["name"] for config in configs}):
        nodes = [
            node
            for node in found["scope"]
            if found["after"][node][1] == name and as_text(as_flag(found["after"][node][0])) != found["wanted"]
        ]
        if not nodes:
            continue
        told = f"{NODE_CONFIG} {name} gives {few(nodes)} another value"
        if found["method"] == NODE_CONFIG_METHOD:
            refuse(
                found,
                told + ", and wins by its name, which comes later; take it away, or choose an "
                "endpoint_routes_node_config_name that comes after it",
            )
        else:
            note(found, told + ", which stays")
            found["scope"] = [node for node in found["scope"] if node not in nodes]

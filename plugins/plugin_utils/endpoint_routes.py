# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role endpoint_routes decides: what a cluster says goes in, and what to do and what is left comes out. Pure.

Three values matter for each node, and they may differ: what is *configured* (the ConfigMap, and over it the
CiliumNodeConfigs that choose the node), what the agent *runs* with (it reads its configuration at its start), and
which routes the pods *have* (each gets them when it is made).
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import hashlib
import re

import yaml
from ansible_collections.nodeward.cilium.plugins.plugin_utils import commands

CONFIG_MAP = "cilium-config"
KEY = "enable-endpoint-routes"
MANAGER = "nodeward.cilium"
OWN_LABEL = {"app.kubernetes.io/managed-by": MANAGER}
NODE_CONFIG = "CiliumNodeConfig"

HELM = "helm"
CONFIGMAP = "configmap"
NODE_CONFIG_METHOD = "node_config"

STALE = "stale"
CURRENT = "current"
UNKNOWN = "unknown"

# A resource is named as kubectl does: with its API group, where that is not the core group.
_NODE_CONFIGS = "ciliumnodeconfigs.cilium.io"
# Beside the kinds whose name tells it.
_CLUSTER_WIDE = ("APIService", "CSIDriver", "CustomResourceDefinition", "Namespace", "Node", "PersistentVolume")

# A chart's annotation by which an upgrade that changes the ConfigMap recreates the agents.
CHECKSUM = "cilium.io/cilium-configmap-checksum"

# Cloud modes for which the chart always sets the option.
_FORCED_IPAM = ("alibabacloud", "azure", "eni")
_FORCED_VALUES = ("alibabacloud", "azure", "eni", "gke")

# Who else looks after a ConfigMap, by the mark that they leave on it.
_KEEPERS = (
    ("annotations", "argocd.argoproj.io/tracking-id", "Argo CD"),
    ("labels", "argocd.argoproj.io/instance", "Argo CD"),
    ("labels", "kustomize.toolkit.fluxcd.io/name", "Flux"),
    ("labels", "helm.toolkit.fluxcd.io/name", "Flux"),
    ("annotations", "objectset.rio.cattle.io/id", "Rancher"),
)


def plain(value):
    """A value as Python's own types; what Ansible hands to a filter only looks like them."""
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    return next((kind(value) for kind in (str, int, float) if isinstance(value, kind)), value)


def on_plain(function):
    """The function as a filter."""

    def filtered(*arguments, **options):
        return function(*plain(arguments), **plain(options))

    return filtered


# ---- rights ----------------------------------------------------------------------------------------------------------


def rules(method, restart, namespace, node_configs=False):
    """The rights that a method needs, as (resource, namespace or None, name or None, verbs)."""
    found = [
        ("configmaps", namespace, CONFIG_MAP, ["get"]),
        ("daemonsets.apps", namespace, None, ["list"]),
        ("pods", namespace, None, ["list"]),
    ]
    if node_configs or method == NODE_CONFIG_METHOD:
        found += [(_NODE_CONFIGS, namespace, None, ["list"]), ("nodes", None, None, ["list"])]
    if method == HELM:
        found += [
            ("configmaps", namespace, CONFIG_MAP, ["patch"]),
            ("secrets", namespace, None, ["create", "delete", "get", "list", "update"]),
        ]
    elif method == NODE_CONFIG_METHOD:
        found += [(_NODE_CONFIGS, namespace, None, ["create", "delete", "get", "patch"])]
    else:
        found += [("configmaps", namespace, CONFIG_MAP, ["patch"])]
    if restart:
        found += [("pods", namespace, None, ["delete", "get"])]
    return found


def chart_rules(manifest, namespace):
    """The rights that an upgrade of a release needs for its objects, as rules.

    Helm looks at each, and writes those that change: here the ConfigMap, and what bears a checksum of it.
    """
    found = []
    for document in manifest:
        if not document:
            continue
        kind, metadata = document["kind"], document["metadata"]
        group, _slash, _version = document["apiVersion"].rpartition("/")
        template = ((document.get("spec") or {}).get("template") or {}).get("metadata") or {}
        verbs = ["get"]
        if CHECKSUM in (template.get("annotations") or {}) or (kind, metadata["name"]) == ("ConfigMap", CONFIG_MAP):
            verbs.append("patch")
        where = None if _is_cluster_wide(kind) else metadata.get("namespace") or namespace
        found.append((_plural(kind) + ("." + group if group else ""), where, metadata["name"], verbs))
    return found


def _is_cluster_wide(kind):
    return kind.startswith("Cluster") or kind.endswith(("Class", "WebhookConfiguration")) or kind in _CLUSTER_WIDE


def _plural(kind):
    """The resource of a kind, as Kubernetes itself guesses it."""
    word = kind.lower()
    if word.endswith("endpoints"):
        return word
    if word.endswith("s"):
        return word + "es"
    return word[:-1] + "ies" if word.endswith("y") else word + "s"


def reviews(namespace, manifest=None):
    """A SelfSubjectAccessReview for each right that any method may need, or that the objects of a manifest need."""
    wanted = chart_rules(manifest, namespace) if manifest is not None else []
    for method in (HELM, CONFIGMAP, NODE_CONFIG_METHOD) if manifest is None else ():
        wanted += rules(method, True, namespace, True)
    documents = []
    for resource, where, name, verb in sorted({rule[:3] + (verb,) for rule in wanted for verb in rule[3]}, key=str):
        plural, _dot, group = resource.partition(".")
        attributes = {"resource": plural, "group": group, "verb": verb}
        if name:
            attributes["name"] = name
        if where:
            attributes["namespace"] = where
        documents.append(
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            }
        )
    return documents


def allowed(answers):
    """{(resource, namespace, name, verb)} of the reviews that came back with yes."""
    granted = set()
    for answer in answers:
        review = answer.get("result", answer)
        if review.get("status", {}).get("allowed") is True:
            asked = review["spec"]["resourceAttributes"]
            resource = asked["resource"] + ("." + asked["group"] if asked.get("group") else "")
            granted.add((resource, asked.get("namespace"), asked.get("name"), asked["verb"]))
    return granted


def missing_rules(needed, granted):
    """What of the needed rights is not granted, as rules, each resource and name once."""
    found = {}
    for resource, where, name, verbs in needed:
        lacking = [verb for verb in verbs if (resource, where, name, verb) not in granted]
        if lacking:
            found.setdefault((resource, where, name), set()).update(lacking)
    return [key + (sorted(verbs),) for key, verbs in sorted(found.items(), key=str)]


def role_manifests(missing):
    """The missing rights as a Role for each namespace, and a ClusterRole where one is needed."""
    # Another name for other rights: to apply it must not take away what was applied before.
    name = "nodeward-endpoint-routes-%s" % hashlib.sha256(repr(missing).encode()).hexdigest()[:6]
    documents = []
    for where in sorted({rule[1] for rule in missing}, key=lambda where: (where is None, where)):
        found = []
        for resource, namespace, instance, verbs in missing:
            if namespace != where:
                continue
            plural, _dot, group = resource.partition(".")
            rule = {"apiGroups": [group], "resources": [plural], "verbs": verbs}
            if instance:
                rule["resourceNames"] = [instance]
            found.append(rule)
        documents.append(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role" if where else "ClusterRole",
                "metadata": {"name": name, "namespace": where} if where else {"name": name},
                "rules": found,
            }
        )
    return documents


def _bind(document):
    name, where = document["metadata"]["name"], document["metadata"].get("namespace")
    if where:
        return "kubectl --namespace %s create rolebinding %s --role=%s --user=NAME" % (where, name, name)
    return "kubectl create clusterrolebinding %s --clusterrole=%s --user=NAME" % (name, name)


def _told_rule(rule, namespace):
    resource, where, name, verbs = rule
    told = "%s %s" % (", ".join(verbs), resource) + (" " + name if name else "")
    return told + ("" if where == namespace else " in namespace %s" % where if where else " in the whole cluster")


def _refusal_for_rights(missing, namespace):
    documents = role_manifests(missing)
    return (
        "endpoint_routes_kubeconfig: its account has no permission in namespace %s to: %s. Apply this, bind it to the "
        "account as the last lines say, and run again\n---\n%s%s"
        % (
            namespace,
            "; ".join(_told_rule(rule, namespace) for rule in missing),
            "---\n".join(yaml.safe_dump(document, sort_keys=False) for document in documents),
            "\n".join("# " + _bind(document) for document in documents),
        )
    )


# ---- what is configured ----------------------------------------------------------------------------------------------


def served_node_configs(answers):
    """(API version, CiliumNodeConfigs, whether the API is there) by the answers for each version, the newest last.

    Where the API is there and may not be read, the first two say nothing.
    """
    read = [answer for answer in answers if answer.get("api_found") is True]
    if read:
        return "cilium.io/%s" % read[-1]["item"], read[-1]["resources"], True
    return None, [], any("api_found" not in answer for answer in answers)


def as_flag(value):
    """What the agent makes of a value of its configuration; nothing is off."""
    return value in ("1", "t", "T", "true", "TRUE", "True")


def is_as_wanted(value, wanted):
    """Whether a value needs no writing: the very string, or nothing at all where off is wanted."""
    return value == wanted or (value is None and wanted == "false")


def selects(selector, labels):
    """Whether a label selector chooses something with these labels; none at all chooses nothing, an empty one all."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for expression in selector.get("matchExpressions") or []:
        value, values = labels.get(expression["key"]), expression.get("values") or []
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds.get(expression["operator"], False):
            return False
    return True


def configured(base, node_configs, labels):
    """(value, name of the CiliumNodeConfig that gives it or None) for a node; of several the last by name wins."""
    value, source = base, None
    for config in sorted(node_configs, key=lambda config: config["metadata"]["name"]):
        spec = config.get("spec") or {}
        defaults = spec.get("defaults") or {}
        if KEY in defaults and selects(spec.get("nodeSelector"), labels):
            value, source = defaults[KEY], config["metadata"]["name"]
    return value, source


def owners(document, path):
    """The other field managers that own a field, as [{manager, operation, time}]; `path` as in managedFields."""
    found = []
    for entry in document["metadata"].get("managedFields") or []:
        fields = entry.get("fieldsV1") or {}
        for step in path:
            fields = fields.get(step) if isinstance(fields, dict) else None
        if fields is not None and entry.get("manager") != MANAGER:
            found.append({name: entry.get(name) for name in ("manager", "operation", "time")})
    return found


def changed_at(document, path):
    """When a field was last written, as managedFields tell; without an owner, when anything of the document was."""
    times, owned = [], []
    for entry in document["metadata"].get("managedFields") or []:
        fields = entry.get("fieldsV1") or {}
        for step in path:
            fields = fields.get(step) if isinstance(fields, dict) else None
        times.append(entry.get("time") or "")
        if fields is not None:
            owned.append(entry.get("time") or "")
    return max(owned or times or [""]) or None


_KEY_PATH = ("f:data", "f:" + KEY)
_DEFAULT_PATH = ("f:spec", "f:defaults", "f:" + KEY)


# ---- agents ----------------------------------------------------------------------------------------------------------


def is_ready(pod):
    conditions = (pod.get("status") or {}).get("conditions") or []
    return not pod["metadata"].get("deletionTimestamp") and any(
        condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions
    )


def agents_of(daemonset, pods):
    """The agents' pods, as [{node, pod, uid, created, ready}], by node."""
    uid = daemonset["metadata"]["uid"]
    found = []
    for pod in pods:
        references = pod["metadata"].get("ownerReferences") or []
        node = (pod.get("spec") or {}).get("nodeName")
        if node and any(reference["uid"] == uid for reference in references):
            found.append(
                {
                    "node": node,
                    "pod": pod["metadata"]["name"],
                    "uid": pod["metadata"]["uid"],
                    "created": pod["metadata"]["creationTimestamp"],
                    "ready": is_ready(pod),
                    "leaving": bool(pod["metadata"].get("deletionTimestamp")),
                }
            )
    return sorted(found, key=lambda agent: (agent["node"], agent["created"], agent["pod"]))


def waiting_for(batch, daemonset, pods):
    """Of a batch that was deleted, the nodes whose new agent is not ready yet, as [{node, why}]."""
    agents = agents_of(daemonset, pods)
    told = []
    for old in batch:
        here = [agent for agent in agents if agent["node"] == old["node"]]
        new = [agent for agent in here if agent["uid"] != old["uid"]]
        # A new one beside an old one that will not go is no agent that took over.
        if any(agent["ready"] for agent in new) and len(here) == len(new):
            continue
        if len(here) != len(new):
            why = "the old agent %s does not go" % old["pod"]
        elif new:
            why = "the new agent %s is not ready" % new[-1]["pod"]
        else:
            why = "there is no new agent yet"
        told.append({"node": old["node"], "why": why})
    return told


def judge_agents(agents, before, after, hosts, times):
    """Each agent with what is configured for it and whether it runs with that: `state` and `reason`.

    What the agent itself says counts (`hosts`: node to the facts of the host). Where the node was not visited, the
    agent is stale where this run changes its value, or where it is older than the last change of the settings.
    """
    told = []
    for agent in agents:
        node = agent["node"]
        value = as_flag(after[node][0])
        runs = hosts.get(node, {}).get("agent")
        is_young = bool(times.get(node)) and agent["created"] >= times[node]
        if runs is not None and runs != value and is_young and not agent["ready"]:
            state, reason = UNKNOWN, "it is not ready yet, and what is there to be read is its predecessor's"
        elif runs is not None:
            state = CURRENT if runs == value else STALE
            reason = "it says that it runs with %s" % _text(runs)
        elif as_flag(before[node][0]) != value:
            state, reason = STALE, "its value changes"
        elif times.get(node) and not is_young:
            state, reason = STALE, "it is older (%s) than the settings (%s)" % (agent["created"], times[node])
        elif times.get(node):
            state, reason = CURRENT, "it is younger than the settings"
        else:
            state, reason = UNKNOWN, "nothing tells what it runs with"
        told.append(dict(agent, configured=value, runs=runs, state=state, reason=reason))
    return told


def batches(agents, size):
    """The stale agents in the order of their restart; those that are not ready anyway come last."""
    stale = sorted((agent for agent in agents if agent["state"] == STALE), key=lambda a: (not a["ready"], a["node"]))
    return [stale[first : first + size] for first in range(0, len(stale), size)]


def _text(flag):
    return "true" if flag else "false"


# ---- the plan --------------------------------------------------------------------------------------------------------


def cilium_version(daemonset):
    """(major, minor) by the agent's image, or None where its name does not tell."""
    containers = daemonset["spec"]["template"]["spec"]["containers"]
    image = next((c["image"] for c in containers if c["name"] == "cilium-agent"), containers[0]["image"])
    match = re.search(r":v?(\d+)\.(\d+)[.\d]*[^/]*$", image.split("@")[0])
    return (int(match.group(1)), int(match.group(2))) if match else None


def plan(seen, options):
    """What to do. `problems` refuse it; nothing of the rest holds then.

    seen: what the reading tasks brought; options: the role's variables, without their prefix.
    """
    found = {
        "method": None,
        "found_by": None,
        "wanted": _text(options["state"] == "enabled"),
        "current": None,
        "change": None,
        "definition": None,
        "values": None,
        "chart": None,
        "diff": None,
        "agents": [],
        "batches": [],
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
        _caveats(found, seen, options)
    return found


def _find_method(found, seen, options):
    granted = allowed(seen["reviews"])
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
        method, by = CONFIGMAP, "no Helm release owns ConfigMap %s" % CONFIG_MAP
    found["method"], found["found_by"] = method, by
    restart = options["restart"] == "rolling"
    api, _configs, is_served = served_node_configs(seen["node_configs"])
    missing = missing_rules(rules(method, restart, namespace, is_served), granted)
    if missing:
        found["problems"].append(_refusal_for_rights(missing, namespace))
        return
    if config_map is None:
        found["problems"].append(
            "Cilium is not in namespace %s: it has no ConfigMap %s. Name the namespace of Cilium by "
            "endpoint_routes_namespace, or install Cilium first" % (namespace, CONFIG_MAP)
        )
    if len(seen["daemonsets"]) != 1:
        found["problems"].append(
            "Cilium is not in namespace %s: expected one DaemonSet with the label k8s-app=cilium there, found %d. Name "
            "the namespace of Cilium by endpoint_routes_namespace" % (namespace, len(seen["daemonsets"]))
        )
    if method == HELM and not found["problems"]:
        _check_release(found, release, options)
        if seen["helm_failed"] and not found["problems"]:
            found["problems"].append(
                "endpoint_routes_helm_binary: the helm client could not tell of the release %s: %s"
                % (options["release"], seen["helm_failed"])
            )
    if method == CONFIGMAP and release:
        found["notes"].append(
            "ConfigMap %s belongs to the Helm release %s: what is written into it past Helm does not last. The next "
            "helm upgrade that names endpointRoutes.enabled undoes it; endpoint_routes_method=helm sets the release's "
            "own value" % (CONFIG_MAP, release["name"])
        )
    if method == NODE_CONFIG_METHOD:
        if api is None:
            found["problems"].append(
                "endpoint_routes_method: node_config needs the CustomResourceDefinition "
                "ciliumnodeconfigs.cilium.io, and this cluster serves none (Cilium has it since 1.13). Use helm or "
                "configmap"
            )
        if not options["node_selector"]:
            found["problems"].append(
                "endpoint_routes_node_selector: is empty, which would choose every node; name labels of the nodes that "
                "are meant, or use helm or configmap for all"
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
    by = "ConfigMap %s names it" % CONFIG_MAP if owner else "its Secret %s is there" % latest["metadata"]["name"]
    return {
        "name": name,
        "by": "Helm release %s: %s" % (name, by),
        "status": latest["metadata"]["labels"].get("status") if latest else None,
    }


def _check_release(found, release, options):
    if release is None or release["status"] is None and release["name"] == options["release"]:
        found["problems"].append(
            "endpoint_routes_release: there is no Helm release '%s' in namespace %s. Name the release by "
            "endpoint_routes_release, or use endpoint_routes_method=configmap"
            % (options["release"], options["namespace"])
        )
    elif release["name"] != options["release"]:
        found["problems"].append(
            "endpoint_routes_release: ConfigMap %s belongs to the Helm release '%s', not to '%s'. Say "
            "endpoint_routes_release=%s" % (CONFIG_MAP, release["name"], options["release"], release["name"])
        )
    elif release["status"] != "deployed":
        found["problems"].append(
            "endpoint_routes_release: the last revision of '%s' is %s, not deployed; finish or roll it back with helm "
            "first" % (release["name"], release["status"])
        )


def _read(found, seen, options):
    """The values of now and then, and which agents that leaves behind."""
    wanted, config_map = found["wanted"], seen["config_map"]
    base = (config_map.get("data") or {}).get(KEY)
    api, configs, _is_served = served_node_configs(seen["node_configs"])
    labels = {node["metadata"]["name"]: node["metadata"].get("labels") or {} for node in seen["nodes"]}
    agents = agents_of(seen["daemonsets"][0], seen["pods"])
    agents = [agent for agent in agents if not agent["leaving"]]
    nodes = sorted(set(labels) | {agent["node"] for agent in agents})
    found["before"] = {node: configured(base, configs, labels.get(node, {})) for node in nodes}
    found["current"] = base
    later_base, later_configs = base, configs
    if found["method"] == NODE_CONFIG_METHOD:
        later_configs = _plan_node_config(found, api, options, base, configs)
        selector = {"matchLabels": options["node_selector"]}
        found["scope"] = [node for node in nodes if selects(selector, labels.get(node, {}))]
        if not found["scope"] and not found["problems"]:
            found["problems"].append(
                "endpoint_routes_node_selector: no node has the labels %s"
                % ", ".join("%s=%s" % pair for pair in sorted(options["node_selector"].items()))
            )
    else:
        found["scope"] = nodes
        if found["method"] == HELM:
            _plan_release(found, seen, base)
        elif not is_as_wanted(base, wanted):
            _plan_config_map(found, seen, options, base)
        later_base = wanted if found["change"] else base
    found["after"] = {node: configured(later_base, later_configs, labels.get(node, {})) for node in nodes}
    _check_overrides(found, later_configs)
    hosts = {host["node"]: {"agent": host["routes"]["endpoint_routes"]["agent"]} for host in seen["hosts"]}
    times = {}
    for node, (_value, source) in found["before"].items():
        config = next((c for c in configs if c["metadata"]["name"] == source), None)
        times[node] = changed_at(config, _DEFAULT_PATH) if config else changed_at(config_map, _KEY_PATH)
    found["agents"] = [
        agent
        for agent in judge_agents(agents, found["before"], found["after"], hosts, times)
        if agent["node"] in found["scope"]
    ]
    found["batches"] = batches(found["agents"], options["batch"])


def _plan_config_map(found, seen, options, base):
    wanted, config_map = found["wanted"], seen["config_map"]
    others = owners(config_map, _KEY_PATH)
    if others and not options["force_conflicts"]:
        found["problems"].append(
            "ConfigMap %s: %s is owned by the field manager %s, which would set it back. Change it there, or say "
            "endpoint_routes_force_conflicts=true to take it over"
            % (CONFIG_MAP, KEY, " and ".join(_told_owner(owner) for owner in others))
        )
    _refuse_keeper(found, config_map, options)
    found["change"] = CONFIGMAP
    found["definition"] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "namespace": options["namespace"]},
        "data": {KEY: wanted},
    }
    found["diff"] = "ConfigMap %s: %s: %s -> %s" % (CONFIG_MAP, KEY, _shown(base), wanted)


def _told_owner(owner):
    return "%s (%s at %s)" % (owner["manager"], owner["operation"], owner["time"])


def _refuse_keeper(found, config_map, options):
    for where, mark, keeper in _KEEPERS:
        if mark in (config_map["metadata"].get(where) or {}) and not options["force_conflicts"]:
            found["problems"].append(
                "ConfigMap %s is kept by %s (%s): change it where %s takes it from, or say "
                "endpoint_routes_force_conflicts=true" % (CONFIG_MAP, keeper, mark, keeper)
            )
            return


def _plan_release(found, seen, base):
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
            "(not set)" if value is None else _text(value),
            wanted,
            CONFIG_MAP,
            KEY,
            _shown(base),
            "(not there)" if wanted == "false" else wanted,
        )
    if found["change"] and not wrong_value and wanted == "false":
        others = owners(seen["config_map"], _KEY_PATH)
        found["problems"].append(
            "ConfigMap %s: %s is %s although the release does not ask for it; it was written past Helm%s, and no helm "
            "upgrade takes it back. Say endpoint_routes_method=configmap"
            % (CONFIG_MAP, KEY, _shown(base), " by " + " and ".join(map(_told_owner, others)) if others else "")
        )


def _plan_node_config(found, api, options, base, configs):
    """The CiliumNodeConfigs as they will be. Off is to have none of ours, unless the ConfigMap is on."""
    wanted, name = found["wanted"], options["node_config_name"]
    definition = {
        "apiVersion": api,
        "kind": NODE_CONFIG,
        "metadata": {"name": name, "namespace": options["namespace"], "labels": dict(OWN_LABEL)},
        "spec": {"defaults": {KEY: wanted}, "nodeSelector": {"matchLabels": dict(options["node_selector"])}},
    }
    existing = next((config for config in configs if config["metadata"]["name"] == name), None)
    others = [config for config in configs if config is not existing]
    if existing and not OWN_LABEL.items() <= (existing["metadata"].get("labels") or {}).items():
        found["problems"].append(
            "%s %s is somebody else's: it lacks the label %s=%s. Choose another endpoint_routes_node_config_name"
            % ((NODE_CONFIG, name) + next(iter(OWN_LABEL.items())))
        )
    found["definition"] = definition
    if wanted == "false" and not as_flag(base):
        if existing:
            found["change"] = "remove"
            found["diff"] = "%s %s: %s -> (not there)" % (NODE_CONFIG, name, _shown(_default_of(existing)))
        return others
    selector = (existing or {}).get("spec", {}).get("nodeSelector")
    if not existing or _default_of(existing) != wanted or selector != definition["spec"]["nodeSelector"]:
        found["change"] = NODE_CONFIG_METHOD
        found["diff"] = "%s %s: %s -> %s, for nodes with %s" % (
            NODE_CONFIG,
            name,
            _shown(_default_of(existing) if existing else None),
            wanted,
            ", ".join("%s=%s" % pair for pair in sorted(options["node_selector"].items())),
        )
    return others + [definition]


def _default_of(config):
    return ((config.get("spec") or {}).get("defaults") or {}).get(KEY)


def _shown(value):
    return "(not there)" if value is None else '"%s"' % value


def _check_overrides(found, configs):
    """Nodes that will not have what is asked for, since a CiliumNodeConfig gives them something else."""
    for name in sorted({config["metadata"]["name"] for config in configs}):
        nodes = [
            node
            for node in found["scope"]
            if found["after"][node][1] == name and _text(as_flag(found["after"][node][0])) != found["wanted"]
        ]
        if not nodes:
            continue
        told = "%s %s gives %s another value" % (NODE_CONFIG, name, _few(nodes))
        if found["method"] == NODE_CONFIG_METHOD:
            found["problems"].append(
                told + ", and wins by its name, which comes later; take it away, or choose an "
                "endpoint_routes_node_config_name that comes after it"
            )
        else:
            found["notes"].append(told + ", which stays")
            found["scope"] = [node for node in found["scope"] if node not in nodes]


def _few(names, most=5):
    told = ", ".join(names[:most])
    return told + (" and %d more" % (len(names) - most) if len(names) > most else "")


# ---- caveats ---------------------------------------------------------------------------------------------------------


def _caveats(found, seen, options):
    config = seen["config_map"].get("data") or {}
    values = (seen["helm"] or {}).get("values") or {}
    daemonset = seen["daemonsets"][0]
    if found["wanted"] == "true":
        _check_host_routing(found, config, cilium_version(daemonset))
        _check_filter(found, seen, options)
    elif found["change"]:
        _check_may_be_off(found, config, values)
    template = daemonset["spec"]["template"]["metadata"].get("annotations") or {}
    if found["change"] == HELM and CHECKSUM in template and options["restart"] == "never":
        found["problems"].append(
            "endpoint_routes_restart: is never, but the release's value rollOutCiliumPods makes the upgrade restart "
            "every agent. Consent with endpoint_routes_restart=rolling, or set rollOutCiliumPods to false first"
        )
    missing = []
    if found["change"] == HELM:
        needed = chart_rules((seen["helm"] or {}).get("manifest") or [], options["namespace"])
        missing = missing_rules(needed, allowed(seen["reviews"]))
    if missing:
        # Helm would find out in the middle of the upgrade, and leave a release that failed.
        found["problems"].append(_refusal_for_rights(missing, options["namespace"]))
    if found["change"] == HELM and not options["chart_ref"]:
        found["problems"].append(
            "endpoint_routes_chart_ref: is not set, and a helm upgrade needs the chart that is installed (%s). Name it "
            "as helm does, such as endpoint_routes_chart_ref=cilium with "
            "endpoint_routes_chart_repo=https://helm.cilium.io" % found["chart"]
        )


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
                "away first" % (CONFIG_MAP, key, _shown(config[key]))
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
        if host["node"] not in found["scope"] or not host["rp_filter"]:
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


# ---- what was reached ------------------------------------------------------------------------------------------------


def report(planned, hosts, restarted=(), is_check=False):
    """What holds on the nodes, and what is left to do.

    planned: the plan made anew after acting; hosts: the facts of the nodes after acting; restarted: the nodes whose
    agent was recreated in between.
    """
    wanted = planned["wanted"] == "true"
    agents = [agent for agent in planned["agents"] if agent["state"] == STALE]
    unknown = [agent for agent in planned["agents"] if agent["state"] == UNKNOWN]
    pods, problems, unseen, verified = [], [] if is_check else list(planned["problems"]), [], 0
    if planned["change"] and not is_check:
        problems.append("it was written, and is not what was asked for: %s is still to change" % planned["diff"])
    visited = {host["node"]: host for host in hosts}
    for node in planned["scope"]:
        host = visited.get(node)
        if host is None or host["routes"]["source"] is None and not host["routes"]["endpoints"]:
            unseen.append(node)
            continue
        for endpoint in host["routes"]["endpoints"]:
            if not endpoint["address"]:
                continue
            has_route = endpoint["endpoint_route"]
            if has_route != wanted:
                pods.append({name: endpoint[name] for name in ("address", "device", "pod", "verdict")} | {"node": node})
            elif endpoint["verdict"] == "dropped" and wanted and not is_check:
                problems.append(
                    "%s: %s has a route of its own, and its reply is dropped all the same: %s"
                    % (node, endpoint["pod"] or endpoint["address"], endpoint["reason"])
                )
            elif endpoint["verdict"] == "accepted":
                verified += 1
    for agent in agents:
        if agent["node"] in restarted:
            problems.append("%s: its agent was recreated, but %s" % (agent["node"], agent["reason"]))
    pending = bool(agents or pods)
    result = {
        "state": "pending" if pending else "unknown" if unseen or unknown else "done",
        "problems": problems,
        "agents": agents,
        "unknown": unknown,
        "pods": pods,
        "unseen": unseen,
        "accepted": verified,
        "commands": [],
    }
    result["commands"] = [told for told in (commands.recreate(pod["pod"]) for pod in pods) if told]
    return result


def story(planned, reported, options, is_check=False):
    """The report as lines for people; those that begin with >> are what is left to do."""
    word = "enabled" if planned["wanted"] == "true" else "disabled"
    lines = ["endpoint routes: to be %s by %s (%s)" % (word, planned["method"], planned["found_by"])]
    if planned["diff"]:
        lines.append("   %s     %s" % ("would change" if is_check else "to change   ", planned["diff"]))
    lines += [">> note             %s" % note for note in planned["notes"]]
    if reported is None:
        stale = [agent for batch in planned["batches"] for agent in batch]
        if stale and options["restart"] == "rolling":
            lines.append(
                "   %s    %s"
                % (
                    "would restart" if is_check else "to restart   ",
                    ", then ".join(
                        " and ".join("%s on %s" % (agent["pod"], agent["node"]) for agent in batch)
                        for batch in planned["batches"]
                    ),
                )
            )
        return lines
    # What a check would restart was told with the plan, and would not be pending.
    agents = [] if is_check and options["restart"] == "rolling" else reported["agents"]
    reported = dict(reported, agents=agents)
    lines = ["endpoint routes: %s" % _summary(planned, reported, ("would be " if is_check else "") + word)]
    for agent in agents:
        lines.append(
            ">> agent            %s on %s has to be recreated: %s" % (agent["pod"], agent["node"], agent["reason"])
        )
    if agents:
        lines.append(">> to recreate them  run again with endpoint_routes_restart=rolling")
    for agent in reported["unknown"]:
        lines.append("   agent            %s on %s: %s" % (agent["pod"], agent["node"], agent["reason"]))
    for pod in reported["pods"]:
        told = pod["pod"] or "%s on %s (no source names its pod)" % (pod["address"], pod["device"])
        recreate = commands.recreate(pod["pod"])
        lines.append(
            ">> pod              %s on %s is still on the old path (%s)%s"
            % (told, pod["node"], pod["verdict"], ": " + recreate if recreate else "")
        )
    if reported["unseen"]:
        lines.append(
            "   not seen         %s: not visited, or nothing tells of its endpoints" % _few(reported["unseen"])
        )
    return lines


def _count(things, word):
    return "%d %s%s" % (len(things), word, "" if len(things) == 1 else "s")


def _summary(planned, reported, word):
    if reported["state"] == "done":
        return "%s: every agent (%d) agrees, and every pod is on its path (%d replies accepted)" % (
            word,
            len(planned["agents"]),
            reported["accepted"],
        )
    if reported["state"] == "pending":
        return "%s in the cluster, and pending: %d of %s and %s to be recreated" % (
            word,
            len(reported["agents"]),
            _count(planned["agents"], "agent"),
            _count(reported["pods"], "pod"),
        )
    return "%s in the cluster; not everything could be seen" % word

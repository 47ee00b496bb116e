# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rights the role endpoint_routes needs in a cluster, and how those that are missing are told. Pure."""

import hashlib
import shlex

import yaml
from ansible_collections.nodeward.cilium.plugins.module_utils.text import one_line
from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster.settings import (
    CONFIG_MAP,
    CONFIGMAP,
    HELM,
    NODE_CONFIG_METHOD,
)

# A resource is named as kubectl does: with its API group, where that is not the core group.
_NODE_CONFIGS = "ciliumnodeconfigs.cilium.io"
# Beside the kinds whose name tells it.
_CLUSTER_WIDE = ("APIService", "CSIDriver", "CustomResourceDefinition", "Namespace", "Node", "PersistentVolume")


def rules(method, restart, namespace, node_configs=False):
    """The rights that a method needs, as (resource, namespace or None, name or None, verbs)."""
    found = [
        ("configmaps", namespace, CONFIG_MAP, ["get"]),
        ("daemonsets.apps", namespace, None, ["list"]),
        ("pods", namespace, None, ["list"]),
        ("nodes", None, None, ["list"]),
    ]
    if node_configs or method == NODE_CONFIG_METHOD:
        found += [(_NODE_CONFIGS, namespace, None, ["list"])]
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


def changes(upgrade):
    """What an upgrade of a release would do to its objects: [(verb, kind, namespace or None, name, group)].

    upgrade: {namespace, installed, rendered, hooks, served, looks_up}, the manifests as texts. The verb is create,
    patch or delete, and get for what stays as it is. A chart may render a thing anew each time, such as a certificate.
    """
    before, after = (_objects(upgrade[name], upgrade) for name in ("installed", "rendered"))
    found = []
    for key in sorted(set(before) | set(after), key=str):
        verb = "create" if key not in before else "delete" if key not in after else "patch"
        found.append(("get" if before.get(key) == after.get(key) else verb,) + key)
    return found


_Safe = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Safe):
    """YAML as Kubernetes reads it: without the old type of a lone =, which PyYAML knows and cannot make."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:value"]
        for first, known in _Safe.yaml_implicit_resolvers.items()
    }


def _documents(manifest):
    """The objects of a manifest; of a list, those in it."""
    for document in yaml.load_all(manifest, _Loader):  # noqa: S506, it is a safe one
        if not document:
            continue
        kind, items = document["kind"], document.get("items")
        if kind.endswith("List") and isinstance(items, list):
            for item in items:
                yield dict({"apiVersion": document["apiVersion"], "kind": kind[: -len("List")]}, **item)
        else:
            yield document


def _objects(manifest, upgrade):
    found = {}
    for document in _documents(manifest):
        kind, metadata = document["kind"], document["metadata"]
        group = document["apiVersion"].rpartition("/")[0]
        _resource, is_namespaced, _is_guessed = _resource_of(kind, group, upgrade["served"])
        where = (metadata.get("namespace") or upgrade["namespace"]) if is_namespaced else None
        found[kind, where, metadata["name"], group] = document
    return found


def unreadable(upgrade):
    """Why what helm tells of an upgrade cannot be read, or None. It may hold private keys: only the place is told."""
    manifests = [("installed", upgrade["installed"]), ("rendered", upgrade["rendered"])]
    for what, manifest in manifests + [(f"hook {hook['name']}", hook["manifest"]) for hook in upgrade["hooks"]]:
        try:
            _objects(manifest, upgrade)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            return "%s: no YAML%s" % (what, f" at line {mark.line + 1}" if mark else "")
        except (yaml.YAMLError, ValueError):
            return f"{what}: it holds a value that YAML cannot be"
        except (AttributeError, KeyError, TypeError):
            return f"{what}: an object in it lacks apiVersion, kind or metadata.name"
    return None


def chart_rules(upgrade):
    """The rights that an upgrade of a release needs for its objects, as rules. Helm looks at each."""
    found = []
    for verb, kind, where, name, group in changes(upgrade):
        found += _on_object(upgrade, kind, where, name, group, {"get", verb})
    for hook in hooks(upgrade):
        for kind, where, name, group in _objects(hook["manifest"], upgrade):
            found += _on_object(upgrade, kind, where, name, group, {"create", "delete", "get", "list", "watch"})
    return found


def hooks(upgrade):
    """The chart's hooks that an upgrade runs."""
    return [hook for hook in upgrade["hooks"] if {"pre-upgrade", "post-upgrade"} & set(hook["events"])]


def guessed(upgrade):
    """The resources of an upgrade that the cluster does not serve, so that their names are guessed."""
    manifests = [upgrade["installed"], upgrade["rendered"]] + [hook["manifest"] for hook in hooks(upgrade)]
    kinds = {(key[0], key[3]) for manifest in manifests for key in _objects(manifest, upgrade)}
    found = (_resource_of(kind, group, upgrade["served"]) for kind, group in kinds)
    return {resource for resource, _is_namespaced, is_guessed in found if is_guessed}


def _on_object(upgrade, kind, where, name, group, verbs):
    resource = _resource_of(kind, group, upgrade["served"])[0]
    # What is to be created has no name yet, as far as rights go.
    rules_of_it = [(resource, where, name, sorted(verbs - {"create"}))]
    return rules_of_it + ([(resource, where, None, ["create"])] if "create" in verbs else [])


def template_changes(upgrade, daemonset):
    """Whether the upgrade gives this DaemonSet other pods."""
    key = ("DaemonSet", upgrade["namespace"], daemonset["metadata"]["name"], "apps")
    templates = [
        ((_objects(upgrade[name], upgrade).get(key) or {}).get("spec") or {}).get("template")
        for name in ("installed", "rendered")
    ]
    return templates[0] != templates[1]


def _resource_of(kind, group, served):
    """(resource, whether it is in a namespace, whether that is guessed) of a kind.

    served: what the cluster serves, as {group/version: {kind: {name, namespaced}}}.
    """
    suffix = "." + group if group else ""
    for version in sorted(served):
        if version.rpartition("/")[0] == group and kind in served[version]:
            known = served[version][kind]
            return known["name"] + suffix, known["namespaced"], False
    return _plural(kind) + suffix, not _is_cluster_wide(kind), True


def _is_cluster_wide(kind):
    return kind.startswith("Cluster") or kind.endswith(("Class", "WebhookConfiguration")) or kind in _CLUSTER_WIDE


def _plural(kind):
    """The resource of a kind, as it is called in most cases."""
    word = kind.lower()
    if word.endswith("endpoints"):
        return word
    if word.endswith("s"):
        return word + "es"
    return word[:-1] + "ies" if word.endswith("y") and word[-2:-1] not in "aeiou" else word + "s"


def reviews(namespace, upgrade=None):
    """A SelfSubjectAccessReview for each right that any method may need, or that the upgrade of a release needs."""
    # What cannot be read the plan refuses.
    wanted = chart_rules(upgrade) if upgrade and not unreadable(upgrade) else []
    for method in () if wanted else (HELM, CONFIGMAP, NODE_CONFIG_METHOD):
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
    name = f"nodeward-endpoint-routes-{hashlib.sha256(repr(missing).encode()).hexdigest()[:6]}"
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
        return f"kubectl --namespace {shlex.quote(where)} create rolebinding {name} --role={name} --user=NAME"
    return f"kubectl create clusterrolebinding {name} --clusterrole={name} --user=NAME"


def _told_rule(rule, namespace):
    resource, where, name, verbs = rule
    told = f"{', '.join(verbs)} {resource}" + (" " + name if name else "")
    return told + ("" if where == namespace else f" in namespace {where}" if where else " in the whole cluster")


def refusal(missing, namespace, remark=""):
    """remark: a sentence on it, or nothing."""
    documents = role_manifests(missing)
    return (
        "endpoint_routes_kubeconfig: its account has no permission in namespace %s to: %s. %sApply this, bind it to "
        "the account as the last lines say, and run again\n---\n%s%s"
        % (
            namespace,
            "; ".join(one_line(_told_rule(rule, namespace)) for rule in missing),
            one_line(remark) + " " if remark else "",
            "---\n".join(yaml.safe_dump(document, sort_keys=False) for document in documents),
            "\n".join("# " + one_line(_bind(document)) for document in documents),
        )
    )

# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rights the role endpoint_routes needs in a cluster, and how those that are missing are told. Pure."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import hashlib
import shlex

import yaml
from ansible_collections.nodeward.cilium.plugins.plugin_utils.endpoint_routes_settings import (
    CONFIG_MAP,
    CONFIGMAP,
    HELM,
    NODE_CONFIG_METHOD,
    visible,
)

# A resource is named as kubectl does: with its API group, where that is not the core group.
_NODE_CONFIGS = "ciliumnodeconfigs.cilium.io"
# Beside the kinds whose name tells it.
_CLUSTER_WIDE = ("APIService", "CSIDriver", "CustomResourceDefinition", "Namespace", "Node", "PersistentVolume")

# A chart's annotation by which an upgrade that changes the ConfigMap recreates the agents.
CHECKSUM = "cilium.io/cilium-configmap-checksum"


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
        return "kubectl --namespace %s create rolebinding %s --role=%s --user=NAME" % (shlex.quote(where), name, name)
    return "kubectl create clusterrolebinding %s --clusterrole=%s --user=NAME" % (name, name)


def _told_rule(rule, namespace):
    resource, where, name, verbs = rule
    told = "%s %s" % (", ".join(verbs), resource) + (" " + name if name else "")
    return told + ("" if where == namespace else " in namespace %s" % where if where else " in the whole cluster")


def refusal(missing, namespace):
    documents = role_manifests(missing)
    return (
        "endpoint_routes_kubeconfig: its account has no permission in namespace %s to: %s. Apply this, bind it to the "
        "account as the last lines say, and run again\n---\n%s%s"
        % (
            namespace,
            "; ".join(visible(_told_rule(rule, namespace)) for rule in missing),
            "---\n".join(yaml.safe_dump(document, sort_keys=False) for document in documents),
            "\n".join("# " + visible(_bind(document)) for document in documents),
        )
    )

# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is configured for each node: the ConfigMap, and over it the CiliumNodeConfigs that choose the node. Pure."""

from ansible_collections.nodeward.cilium.plugins.module_utils.text import one_line

CONFIG_MAP = "cilium-config"
KEY = "enable-endpoint-routes"
MANAGER = "nodeward.cilium"
OWN_LABEL = {"app.kubernetes.io/managed-by": MANAGER}
NODE_CONFIG = "CiliumNodeConfig"

HELM = "helm"
CONFIGMAP = "configmap"
NODE_CONFIG_METHOD = "node_config"

# Where the key stands in managedFields.
KEY_PATH = ("f:data", "f:" + KEY)
DEFAULT_PATH = ("f:spec", "f:defaults", "f:" + KEY)
SELECTOR_PATH = ("f:spec", "f:nodeSelector")


def served_node_configs(answers):
    """(API version, CiliumNodeConfigs, whether the API is there) by the answers for each version, the newest last.

    Where the API is there and may not be read, the first two say nothing.
    """
    read = [answer for answer in answers if answer.get("api_found") is True]
    if read:
        return f"cilium.io/{read[-1]['item']}", read[-1]["resources"], True
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


def _owning(document, path):
    """The entries of managedFields that own a field or something in it."""
    for entry in document["metadata"].get("managedFields") or []:
        fields = entry.get("fieldsV1") or {}
        for step in path:
            fields = fields.get(step) if isinstance(fields, dict) else None
        if fields is not None:
            yield entry


def owners(document, path):
    """The other field managers that own a field, as [{manager, operation, time}]; `path` as in managedFields."""
    return [
        {name: entry.get(name) for name in ("manager", "operation", "time")}
        for entry in _owning(document, path)
        if entry.get("manager") != MANAGER
    ]


def changed_at(document, path):
    """When a field was last written, as managedFields tell; of one that is not there they do not."""
    return max((entry.get("time") or "" for entry in _owning(document, path)), default="") or None


def refuse(found, sentence):
    """Add a problem; what nodes and others say in it can be no line of its own, and nothing that cannot be seen."""
    found["problems"].append(one_line(sentence))


def note(found, sentence):
    found["notes"].append(one_line(sentence))


def as_text(flag):
    return "true" if flag else "false"


def shown(value):
    return "(not there)" if value is None else f'"{value}"'


def few(names, most=5):
    told = ", ".join(names[:most])
    return told + (f" and {len(names) - most} more" if len(names) > most else "")

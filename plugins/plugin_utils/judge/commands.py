# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands for people to copy. What they name is for others to choose, and must be no more than a name to a shell."""

import ipaddress
import re
import shlex

# What Ansible takes for a name, and for no pattern of names, option or file.
_HOST = re.compile(r"[A-Za-z0-9_][\w.@+=%-]*\Z", re.ASCII)
# As the API of Kubernetes takes them; what a node says may be anything, an option of kubectl among it.
_OBJECT = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?\Z")


def playbook(name, node, *arguments):
    """A playbook of this collection, for a node; which one is left to say where --limit would take it for no name."""
    limit = shlex.quote(node) if _is_name(node) else "NODE"
    return " ".join((f"ansible-playbook -i INVENTORY nodeward.cilium.{name} --limit {limit}",) + arguments)


def _is_name(node):
    try:
        # Anything may stand behind the % of an address.
        return bool(_HOST.match(node) or "%" not in node and ipaddress.ip_address(node))
    except ValueError:
        return False


def for_node(command, node):
    """A command as the catalogue has it, for this node alone where it is a playbook; a report is of the whole fleet."""
    match = re.match(r"ansible-playbook -i INVENTORY nodeward\.cilium\.(?!audit\b)(\w+)(?: (.*))?\Z", command)
    return playbook(match.group(1), node, *([match.group(2)] if match.group(2) else [])) if match else command


def recreate(pod):
    """What recreates a pod namespace/name; nothing where no pod can be called so."""
    namespace, _slash, name = (pod or "").partition("/")
    if not (_OBJECT.match(namespace) and _OBJECT.match(name)):
        return ""
    return f"kubectl --namespace {namespace} delete pod {name}"

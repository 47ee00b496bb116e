# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse to make an interface strict if the packets that come in by it would then be dropped.

Two sources are asked about: the controller's address, and, on an interface with a default route, an outside one. Policy
routing can send the answers to all of the world by another interface (a VPN's exit node), and then strict drops it all.
"""

import ipaddress
import os

from ansible_collections.nodeward.cilium.plugins.module_utils import devices
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.iproute import Question
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.routes import OUTSIDE
from ansible_collections.nodeward.cilium.plugins.module_utils.text import printable


class LockoutError(Exception):
    """An interface would drop packets that it has to take. Nothing was changed."""


class Guard:
    """Asks the kernel for the routes back, before anything is written.

    :arg addresses: interface → its addresses, as iproute gives them.
    :arg kinds: interface → its kind.
    """

    def __init__(self, iproute, addresses, kinds):
        self.iproute = iproute
        self.addresses = addresses
        self.kinds = kinds

    def check(self, becoming_strict, connection):
        """Raise LockoutError for the first interface that would drop what it has to take; returns warnings.

        :arg connection: (the controller's address, ours), None without one.
        """
        warnings = self._check_controller(becoming_strict, *connection) if connection else []
        self._check_outside(becoming_strict)
        return warnings

    def _check_controller(self, becoming_strict, client, server):
        arrival = next(
            (
                device
                for device, addresses in self.addresses.items()
                if any(address["address"] == server for address in addresses)
            ),
            None,
        )
        if arrival not in becoming_strict:
            if self.kinds.get(arrival) == devices.UPLINK:
                return []
            return [
                "the controller %s reaches %s, which is on %s: by which interface its packets come in is not known. "
                "If the route back leaves by another one, they will be dropped on %s"
                % (
                    client,
                    server,
                    printable(arrival or "no interface"),
                    ", ".join(printable(device) for device in sorted(becoming_strict)),
                )
            ]
        back, refused = self.iproute.verdicts([(client, server, None), (server, client, arrival)])
        if back.route and back.route.get("type") == "local":
            return []  # from this very node: by lo, which is not an uplink
        way = back.route.get("dev") if back.route else None
        if way != arrival or refused.error:
            raise LockoutError(
                "device %s would become strict and drop the packets of the controller %s, which come in by it while "
                "the route back is %s. Nothing was changed. Set uplinks to loose for %s, correct the route, or set "
                "allow_lockout=true"
                % (
                    printable(arrival),
                    client,
                    "by " + printable(way) if way else "missing (%s)" % (back.error or refused.error),
                    printable(arrival),
                )
            )
        return []

    def _check_outside(self, becoming_strict):
        by_default = becoming_strict & _default_route_devices(self.iproute.routes())
        asked = [
            (device, address["address"])
            for device in sorted(by_default)
            for address in self.addresses.get(device, ())
            if address["family"] == "inet" and address["scope"] == "global"
        ]
        # Without an address of its own it takes packets for others: the route back has no source then.
        asked += [(device, None) for device in sorted(by_default - {device for device, _address in asked})]
        answers = self.iproute.matches([Question(OUTSIDE, address) for _device, address in asked]) if asked else []
        for (device, address), answer in zip(asked, answers):
            route = answer.route or {}
            if device not in [hop.get("dev") for hop in route.get("nexthops", [route])]:
                raise LockoutError(self._refusal(device, address, answer))

    def _refusal(self, device, address, answer):
        if answer.route:
            table = str(answer.route.get("table", "main"))
            rule = _rule_to(table, address, self.iproute.rules())
            way = "%s: route '%s'" % (rule or f"table {table}", _route_in_words(answer.route, table))
        else:
            way = f"missing ({answer.error})"
        return (
            "device %s carries a default route and would become strict, but the route from %s back to an outside "
            "source (%s was asked for) does not leave by it: %s. It would drop what comes in from there. Nothing was "
            "changed. Set uplinks to loose for %s, correct the rule or the route, or set allow_lockout=true"
            % (printable(device), address or "it", OUTSIDE, way, printable(device))
        )


def _default_route_devices(routes):
    """The interfaces with a default route in any table."""
    found = set()
    for route in routes:
        if route.get("dst") == "default" and route.get("type", "unicast") == "unicast":
            found.update(hop["dev"] for hop in route.get("nexthops", [route]) if "dev" in hop)
    return found


def _rule_to(table, source, rules):
    """The first policy rule that leads to a table for an answer of this node from that source, in words."""
    for rule in sorted(rules, key=lambda rule: rule.get("priority", 0)):
        if str(rule.get("table")) == table and _applies(rule, source):
            return f"policy rule {rule.get('priority', 0)} '{_rule_in_words(rule)}'"
    return None


def _applies(rule, source):
    # The filter's look-up has no mark (unless src_valid_mark is on), and none of the rest.
    if any(
        rule.get(member) not in (None, 0, "0x0") for member in ("fwmark", "oif", "ipproto", "sport", "dport", "tos")
    ):
        return False
    if rule.get("iif") not in (None, "lo"):
        return False
    try:
        matches = _is_in(source, rule.get("src", "all"), rule.get("srclen", 32))
        matches = matches and _is_in(OUTSIDE, rule.get("dst", "all"), rule.get("dstlen", 32))
    except ValueError:
        return True
    return matches != ("not" in rule)


def _is_in(address, network, length):
    if network == "all":
        return True
    if address is None:
        return False
    return ipaddress.ip_address(address) in ipaddress.ip_network(f"{network}/{length}", strict=False)


def _rule_in_words(rule):
    words = ["not"] if "not" in rule else []
    for word, member, length in (("from", "src", "srclen"), ("to", "dst", "dstlen")):
        if member in rule:
            words.append("%s %s%s" % (word, rule[member], f"/{rule[length]}" if length in rule else ""))
    words += [f"{word} {rule[word]}" for word in ("fwmark", "iif", "oif", "uidrange") if word in rule]
    return printable(" ".join(words + [f"lookup {rule.get('table')}"]))


def _route_in_words(route, table):
    words = [str(route.get("dst", "default"))]
    for hop in route.get("nexthops", [route]):
        words += [f"via {hop['gateway']}"] if "gateway" in hop else []
        words += [f"dev {hop['dev']}"] if "dev" in hop else []
    return printable(" ".join(words + [f"table {table}"]))


def ssh_connection(environment):
    """(controller's address, our address) of the connection that this runs over; None where there is none.

    sudo takes SSH_CONNECTION out of the environment, so the parents are asked too.
    """
    words = environment.get("SSH_CONNECTION", "").split()
    pid = os.getppid()
    while not words and pid > 1:
        try:
            with open(f"/proc/{pid}/environ", "rb") as environ:
                found = [row for row in environ.read().split(b"\0") if row.startswith(b"SSH_CONNECTION=")]
            with open(f"/proc/{pid}/stat", "rb") as stat:
                pid = int(stat.read().rsplit(b")", 1)[1].split()[1])
        except (OSError, ValueError, IndexError):
            break
        if found:
            words = found[0].decode("ascii", "replace").split("=", 1)[1].split()
    if len(words) != 4 or ":" in words[0]:
        return None  # rp_filter is IPv4's
    return words[0], words[2]

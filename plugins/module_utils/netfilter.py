# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Netfilter rules that check the reverse path: they drop the same packets, whatever rp_filter says.

nft's ``fib saddr . iif oif`` (nft(8)), the match ``rpfilter`` of iptables and ip6tables (iptables-extensions(8)), and
so firewalld's IPv6_rpfilter.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os

from ansible_collections.nodeward.cilium.plugins.module_utils.iproute import IpRouteError

NFT = ("/usr/sbin/nft", "/sbin/nft")
#: They list the rules that iptables made for nft, also where nft itself is missing or too old to name its matches.
NFT_SAVE = (
    (("/usr/sbin/iptables-nft-save", "/sbin/iptables-nft-save"), "ip"),
    (("/usr/sbin/ip6tables-nft-save", "/sbin/ip6tables-nft-save"), "ip6"),
)
#: Tables of the old kernel interface. Only where one is in use is the old program called: it would load them.
LEGACY = (
    (
        "/proc/net/ip_tables_names",
        (
            "/usr/sbin/iptables-legacy-save",
            "/sbin/iptables-legacy-save",
            "/usr/sbin/iptables-save",
            "/sbin/iptables-save",
        ),
        "ip",
    ),
    (
        "/proc/net/ip6_tables_names",
        (
            "/usr/sbin/ip6tables-legacy-save",
            "/sbin/ip6tables-legacy-save",
            "/usr/sbin/ip6tables-save",
            "/sbin/ip6tables-save",
        ),
        "ip6",
    ),
)


def observe(run_command, unread):
    """Rules that check the reverse path: dicts of ``family``, ``table``, ``chain`` and ``rule``."""
    rules = []
    nft = next((path for path in NFT if os.path.exists(path)), None)
    unnamed = nft is None
    if nft is not None:
        listed = _ask(run_command, [nft, "-j", "list", "ruleset"], lambda text: [text], unread)
        for text in listed:
            rules += from_nft(text)
            unnamed = has_unnamed_matches(text)
    if unnamed:
        rules += _by_nft_save(run_command, unread)
    for names, programs, family in LEGACY:
        try:
            with open(names) as tables:
                in_use = bool(tables.read().strip())
        except (OSError, IOError) as error:
            if os.path.exists(names):
                unread.append({"what": names, "why": error.strerror})
            continue
        program = next((path for path in programs if os.path.exists(path)), None)
        if in_use and program is None:
            unread.append(
                {
                    "what": "netfilter rules",
                    "why": "%s names tables, and no %s is installed" % (names, os.path.basename(programs[0])),
                }
            )
        elif in_use:
            rules += _ask(run_command, [program], lambda text, family=family: from_save(text, family), unread)
    return rules


def _by_nft_save(run_command, unread):
    rules = []
    for programs, family in NFT_SAVE:
        program = next((path for path in programs if os.path.exists(path)), None)
        if program is None:
            unread.append({"what": "netfilter rules", "why": "no %s is installed" % os.path.basename(programs[0])})
        else:
            rules += _ask(run_command, [program], lambda text, family=family: from_save(text, family), unread)
    return rules


def _ask(run_command, argv, parse, unread):
    try:
        rc, stdout, stderr = run_command(argv)
        if rc != 0:
            raise ValueError("exit %d: %s" % (rc, stderr.strip()[-200:]))
        return parse(stdout)
    except (IpRouteError, ValueError) as error:
        unread.append({"what": "netfilter rules", "why": "'%s': %s" % (" ".join(argv), error)})
        return []


def from_nft(text):
    """The rules in the JSON of ``nft -j list ruleset`` that look a route up by source and compare the device."""
    rules = []
    for entry in json.loads(text or '{"nftables": []}').get("nftables", []):
        rule = entry.get("rule")
        if rule and any(_checks_source(found) for found in _walk(rule.get("expr", []))):
            rules.append(
                {
                    "family": rule.get("family"),
                    "table": rule.get("table"),
                    "chain": rule.get("chain"),
                    "rule": json.dumps(rule.get("expr"), sort_keys=True)[:500],
                }
            )
    return rules


def has_unnamed_matches(text):
    """Whether nft is too old (before 1.0.7) to say what iptables' matches are: it prints them as null."""
    return any("xt" in found and found["xt"] is None for found in _walk(json.loads(text or "{}")))


def _checks_source(found):
    fib = found.get("fib")
    if isinstance(fib, dict) and fib.get("result") in ("oif", "oifname", "type", "check"):
        return "saddr" in fib.get("flags", ()) and fib["result"] != "type"
    match = found.get("xt")
    return isinstance(match, dict) and match.get("name") == "rpfilter"


def _walk(value):
    """Every dict anywhere inside."""
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            yield value
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)


def from_save(text, family):
    """The rules in the output of iptables-save that use the match rpfilter."""
    rules, table = [], None
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        words = line.split()
        if words[:1] == ["-A"] and any(pair == ("-m", "rpfilter") for pair in zip(words, words[1:])):
            rules.append({"family": family, "table": table, "chain": words[1], "rule": line[:500]})
    return rules

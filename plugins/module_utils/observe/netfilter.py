# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Netfilter rules that check the reverse path: they drop the same packets, whatever rp_filter says.

nft's ``fib saddr . iif oif`` (nft(8)), the match ``rpfilter`` of iptables and ip6tables (iptables-extensions(8)), and
so firewalld's IPv6_rpfilter.
"""

import json
import os
import re

from ansible_collections.nodeward.cilium.plugins.module_utils.observe import files
from ansible_collections.nodeward.cilium.plugins.module_utils.runner import CommandError

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


class _Refused(ValueError):
    """A program ended with an error."""


def observe(run_command, unread):
    """Rules that check the reverse path.

    Dicts of ``family``, ``table``, ``chain`` and ``rule``, and of what the rule is for: ``ipv6_only``, and globs of
    devices, ``only_on`` (None: all) and ``not_on``.
    """
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
        except OSError as error:
            if os.path.exists(names):
                unread.append({"what": names, "why": error.strerror, "needs_root": files.root_helps(error)})
            continue
        program = next((path for path in programs if os.path.exists(path)), None)
        if in_use and program is None:
            unread.append(
                {
                    "what": "netfilter rules",
                    "why": f"{names} names tables, and no {os.path.basename(programs[0])} is installed",
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
            unread.append({"what": "netfilter rules", "why": f"no {os.path.basename(programs[0])} is installed"})
        else:
            rules += _ask(run_command, [program], lambda text, family=family: from_save(text, family), unread)
    return rules


def _ask(run_command, argv, parse, unread):
    try:
        rc, stdout, stderr = run_command(argv)
        if rc != 0:
            raise _Refused(f"exit {rc}: {stderr.strip()[-200:]}")
        return parse(stdout)
    except (CommandError, ValueError) as error:
        # They ask the kernel by netlink, which lists rules to root alone.
        needs_root = isinstance(error, _Refused) and os.geteuid() != 0
        why = f"'{' '.join(argv)}': {error}"
        unread.append({"what": "netfilter rules", "why": why, "decides": True, "needs_root": needs_root})
        return []


def from_nft(text):
    """The rules in the JSON of ``nft -j list ruleset`` that look a route up by source and compare the device."""
    rules = []
    for entry in json.loads(text or '{"nftables": []}').get("nftables", []):
        rule = entry.get("rule")
        if rule and any(_checks_source(found) for found in _walk(rule.get("expr", []))):
            found = {name: rule.get(name) for name in ("family", "table", "chain")}
            found["rule"] = json.dumps(rule.get("expr"), sort_keys=True)[:500]
            rules.append(dict(found, **_nft_scope(rule)))
    return rules


def _nft_scope(rule):
    scope = {"ipv6_only": rule.get("family") == "ip6", "only_on": None, "not_on": []}
    for expression in rule.get("expr", []):
        match = expression.get("match") if isinstance(expression, dict) else None
        if not isinstance(match, dict):
            continue
        key = _meta_of(match.get("left"))
        if key == "nfproto":
            scope["ipv6_only"] = scope["ipv6_only"] or (match.get("op"), match.get("right")) == ("==", "ipv6")
        elif key in ("iif", "iifname"):
            names = _nft_names(match.get("right"))
            if names is None:
                continue  # for which devices cannot be told: for all, to be on the safe side
            if match.get("op") == "!=":
                scope["not_on"] += names
            elif match.get("op") in ("==", "in"):
                scope["only_on"] = names
    return scope


def _meta_of(left):
    meta = left.get("meta") if isinstance(left, dict) else None
    return meta.get("key") if isinstance(meta, dict) else None


def _nft_names(right):
    """The devices of a match, as globs; nft writes the wildcard as we do. None for a set with a name, or the like."""
    if isinstance(right, dict):
        right = right.get("set")
    names = [right] if isinstance(right, str) else right
    if not isinstance(names, list) or not all(isinstance(name, str) and name[:1] != "@" for name in names):
        return None
    return names


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
            found = {"family": family, "table": table, "chain": words[1], "rule": line[:500]}
            rules.append(dict(found, **_save_scope(line, family)))
    return rules


def _save_scope(line, family):
    scope = {"ipv6_only": family == "ip6", "only_on": None, "not_on": []}
    for negated, name in re.findall(r"(?:^|\s)(!\s+)?-i\s+(\S+)", line):
        # iptables(8): a + at the end stands for any name that begins so.
        glob = name[:-1] + "*" if name.endswith("+") else name
        if negated:
            scope["not_on"].append(glob)
        else:
            scope["only_on"] = [glob]
    return scope

import json

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import netfilter

NFT = """{"nftables": [{"metainfo": {"version": "1.1.3"}},
{"rule": {"family": "ip", "table": "t", "chain": "c", "handle": 2, "expr": [{"match": {"op": "==", "left":
 {"fib": {"result": "oif", "flags": ["saddr", "iif"]}}, "right": false}}, {"drop": null}]}},
{"rule": {"family": "ip", "table": "t", "chain": "d", "handle": 3, "expr": [{"match": {"op": "==", "left":
 {"fib": {"result": "type", "flags": ["daddr"]}}, "right": "local"}}, {"accept": null}]}},
{"rule": {"family": "ip", "table": "mangle", "chain": "PREROUTING", "handle": 2, "expr": [{"xt": {"type": "match",
 "name": "rpfilter"}}, {"accept": null}]}}]}"""


def test_rules_of_nft_as_it_prints_them():
    assert [(rule["table"], rule["chain"]) for rule in netfilter.from_nft(NFT)] == [
        ("t", "c"),
        ("mangle", "PREROUTING"),
    ]
    assert netfilter.from_nft("") == []


def test_rules_of_iptables_save():
    drop = "-A PREROUTING -m rpfilter --invert -j DROP"
    text = f"*raw\n:PREROUTING ACCEPT [0:0]\n{drop}\n-A INPUT -m comment --comment rpfilter\nCOMMIT\n"
    found = {"family": "ip", "table": "raw", "chain": "PREROUTING", "rule": drop}
    assert netfilter.from_save(text, "ip") == [dict(found, ipv6_only=False, only_on=None, not_on=[])]


@pytest.mark.parametrize("words, family, scope", [
    ("-m rpfilter -j DROP", "ip6", (True, None, [])),
    ("-i eth0 -m rpfilter -j DROP", "ip", (False, ["eth0"], [])),
    ("-i eth+ -m rpfilter -j DROP", "ip", (False, ["eth*"], [])),
    ("! -i lxc+ -m rpfilter -j DROP", "ip", (False, None, ["lxc*"])),
])  # fmt: skip
def test_what_a_rule_of_iptables_is_for(words, family, scope):
    (rule,) = netfilter.from_save(f"*raw\n-A PREROUTING {words}\n", family)
    assert (rule["ipv6_only"], rule["only_on"], rule["not_on"]) == scope


FIB = {"match": {"op": "==", "left": {"fib": {"result": "oif", "flags": ["saddr", "iif"]}}, "right": False}}


def meta(key, right, op="=="):
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": right}}


@pytest.mark.parametrize("expr, family, scope", [
    ([FIB], "inet", (False, None, [])),
    ([FIB], "ip6", (True, None, [])),
    ([meta("nfproto", "ipv6"), FIB], "inet", (True, None, [])),
    ([meta("nfproto", "ipv4"), FIB], "inet", (False, None, [])),
    ([meta("iifname", "eth0"), FIB], "inet", (False, ["eth0"], [])),
    ([meta("iif", "eth0"), FIB], "inet", (False, ["eth0"], [])),
    ([meta("iifname", {"set": ["eth0", "eth1"]}), FIB], "inet", (False, ["eth0", "eth1"], [])),
    ([meta("iifname", "lxc*", "!="), meta("iifname", "cil*", "!="), FIB], "inet", (False, None, ["lxc*", "cil*"])),
    # A set with a name, a range, or what else nft may say: for all, to be on the safe side.
    ([meta("iifname", "@uplinks"), FIB], "inet", (False, None, [])),
    ([meta("iifname", {"range": [1, 2]}), FIB], "inet", (False, None, [])),
    ([meta("iifname", 7), {"match": 7}, 7, FIB], "inet", (False, None, [])),
    ([meta("oifname", "eth0"), FIB], "inet", (False, None, [])),
])  # fmt: skip
def test_what_a_rule_of_nft_is_for(expr, family, scope):
    rule = {"family": family, "table": "t", "chain": "c", "expr": expr}
    (found,) = netfilter.from_nft(json.dumps({"nftables": [{"rule": rule}]}))
    assert (found["ipv6_only"], found["only_on"], found["not_on"]) == scope


def test_an_nft_too_old_to_name_matches_is_known_by_its_null():
    old = NFT.replace('{"type": "match",\n "name": "rpfilter"}', "null")
    assert old != NFT
    assert [rule["table"] for rule in netfilter.from_nft(old)] == ["t"]
    assert netfilter.has_unnamed_matches(old)
    assert not netfilter.has_unnamed_matches(NFT)


def test_without_nft_the_rules_of_iptables_are_asked_for(monkeypatch, tmp_path):
    program = tmp_path / "iptables-nft-save"
    program.write_text("")
    monkeypatch.setattr(netfilter, "NFT", ())
    monkeypatch.setattr(netfilter, "LEGACY", ())
    monkeypatch.setattr(netfilter, "NFT_SAVE", (((str(program),), "ip"), (("/nowhere/ip6tables-nft-save",), "ip6")))
    unread = []
    saved = "*mangle\n-A PREROUTING -m rpfilter -j ACCEPT\n"
    rules = netfilter.observe(lambda argv: (0, saved if argv == [str(program)] else "", ""), unread)
    assert [(rule["family"], rule["table"]) for rule in rules] == [("ip", "mangle")]
    assert unread == [{"what": "netfilter rules", "why": "no ip6tables-nft-save is installed"}]


def test_with_an_old_nft_the_rules_of_iptables_are_asked_for_too(monkeypatch, tmp_path):
    nft, program = tmp_path / "nft", tmp_path / "iptables-nft-save"
    nft.write_text("")
    program.write_text("")
    monkeypatch.setattr(netfilter, "NFT", (str(nft),))
    monkeypatch.setattr(netfilter, "LEGACY", ())
    monkeypatch.setattr(netfilter, "NFT_SAVE", (((str(program),), "ip"),))
    said = {
        str(nft): NFT.replace('{"type": "match",\n "name": "rpfilter"}', "null"),
        str(program): "*mangle\n-A PREROUTING -m rpfilter -j ACCEPT\n",
    }
    rules = netfilter.observe(lambda argv: (0, said[argv[0]], ""), [])
    assert [rule["table"] for rule in rules] == ["t", "mangle"]

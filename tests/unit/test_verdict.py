"""The kernel's table as a function, and the same table asked of the real kernel."""

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.iproute import IpRoute
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.verdict import (
    ACCEPTED,
    DROPPED,
    UNKNOWN,
    RouteBack,
    Verdict,
    explain,
    leaving,
    predict,
)
from ansible_collections.nodeward.cilium.plugins.module_utils.runner import bounded_runner
from scratch_node import ip, needs_root, on_scratch_node, rp_filter, sysctl

# route back: accepted at off, strict, loose with an address on the device, loose without one
TABLE = {
    "own": (True, True, True, True),
    "other": (True, False, True, False),
    "default": (True, False, True, False),
    "none": (True, False, False, False),
    "blackhole": (True, False, False, False),
    "local": (False, False, False, False),
    "local, accepted": (True, False, True, False),
}
COLUMNS = {"off": (0, True), "strict": (1, True), "loose": (2, True), "loose, no address": (2, False)}
BACK = {
    "own": RouteBack("unicast", ("lxc1",)),
    "other": RouteBack("unicast", ("eth0",)),
    "default": RouteBack("unicast", ("eth0",)),
    "none": RouteBack("none", ()),
    "blackhole": RouteBack("none", ()),
    "local": RouteBack("local", ("lo",)),
    "local, accepted": RouteBack("local", ("lo",)),
}
CASES = [(back, column, accepted) for back, row in TABLE.items() for column, accepted in zip(COLUMNS, row, strict=True)]


@pytest.mark.parametrize(("back", "column", "accepted"), CASES)
def test_prediction(back, column, accepted):
    value, has_address = COLUMNS[column]
    answer = predict(value, BACK[back], "lxc1", has_address, accept_local=back == "local, accepted")
    assert answer.verdict == (ACCEPTED if accepted else DROPPED)
    assert "lxc1" in answer.reason
    assert "None" not in answer.reason


@needs_root
@pytest.mark.parametrize("column", COLUMNS)
def test_real_kernel(column):
    """The same cells, each asked of the kernel that this runs on."""
    value, has_address = COLUMNS[column]

    def body():
        for device, peer in (("lxc1", "peer1"), ("eth0", "peer0")):
            ip("link", "add", device, "type", "veth", "peer", "name", peer)
            ip("link", "set", device, "up")
            ip("link", "set", peer, "up")
        ip("addr", "add", "192.0.2.1/32", "dev", "lo")
        if has_address:
            ip("addr", "add", "192.0.2.77/32", "dev", "lxc1")
        ip("route", "add", "10.0.0.1", "dev", "lxc1")
        ip("route", "add", "10.0.0.2", "dev", "eth0")
        ip("route", "add", "blackhole", "10.0.0.3")
        ip("addr", "add", "10.0.0.4/32", "dev", "eth0")
        rp_filter("all", 0)
        rp_filter("lxc1", value)
        real = IpRoute(bounded_runner(10))

        def accepts(source):
            return real.route_get("192.0.2.1", source, "lxc1").error is None

        answers = {"own": accepts("10.0.0.1"), "other": accepts("10.0.0.2"), "blackhole": accepts("10.0.0.3")}
        answers["none"], answers["local"] = accepts("10.0.0.5"), accepts("10.0.0.4")
        sysctl("net/ipv4/conf/lxc1/accept_local", 1)
        answers["local, accepted"] = accepts("10.0.0.4")
        ip("route", "add", "default", "dev", "eth0")
        answers["default"] = accepts("10.0.0.5")
        return answers

    index = list(COLUMNS).index(column)
    assert on_scratch_node(body) == {back: row[index] for back, row in TABLE.items()}


def test_several_next_hops():
    back = RouteBack("unicast", ("eth0", "lxc1"))
    assert predict(1, back, "lxc1", False).verdict == ACCEPTED
    assert predict(1, back, "lxc2", False).verdict == DROPPED


def test_every_other_positive_number_is_loose():
    assert predict(3, BACK["other"], "lxc1", True).verdict == ACCEPTED
    assert predict(3, BACK["other"], "lxc1", False).verdict == DROPPED


CILIUM = RouteBack("unicast", ("cilium_host",))
OLD, NEW = "RTNETLINK answers: Invalid cross-device link", "RTNETLINK answers: Invalid argument"


@pytest.mark.parametrize("refusal", [OLD, NEW])
def test_explained_drop(refusal):
    answer = explain(refusal, 2, CILIUM, "lxc1", False)
    assert answer.verdict == DROPPED
    assert answer.reason == (
        "the filter is loose (2) on lxc1, which has no IPv4 address, and the route back leaves by cilium_host"
    )


@pytest.mark.parametrize("refusal", [OLD, NEW])
def test_a_refusal_at_0_is_not_the_filter(refusal):
    answer = explain(refusal, 0, CILIUM, "lxc1", False)
    assert answer.verdict == DROPPED
    assert "another reason, not rp_filter" in answer.reason


def test_the_kernels_word_stands_against_the_prediction():
    assert explain(None, 2, CILIUM, "lxc1", False) == (
        ACCEPTED,
        "the kernel accepts it, against what was expected: "
        "the filter is loose (2) on lxc1, which has no IPv4 address, and the route back leaves by cilium_host",
    )
    assert explain(OLD, 2, BACK["own"], "lxc1", False) == (
        DROPPED,
        "the kernel refuses its source address on lxc1, against what was expected: the route back leaves by lxc1",
    )


def test_explained_without_knowing_the_device():
    assert explain(None, None, None, "lxc1", False).verdict == ACCEPTED
    assert explain(OLD, None, CILIUM, "lxc1", False).verdict == DROPPED


@pytest.mark.parametrize(
    "words",
    [
        "RTNETLINK answers: No route to host",
        "RTNETLINK answers: Network is unreachable",
        "RTNETLINK answers: Permission denied",
    ],
)
def test_other_refusals_are_not_the_filter(words):
    answer = explain(words, 2, CILIUM, "lxc1", False)
    assert answer.verdict == UNKNOWN
    assert "not because of the filter" in answer.reason
    assert words in answer.reason


@pytest.mark.parametrize("words", ['Cannot find device "lxc1"', "RTNETLINK answers: No such device"])
def test_a_device_that_vanished(words):
    assert explain(words, 2, CILIUM, "lxc1", False) == (UNKNOWN, "the device lxc1 is gone")


REFUSAL = Verdict(DROPPED, "the filter is strict (1) on lxc1 and the route back leaves by cilium_host")


def test_a_refusal_of_what_leaves_the_node_holds_for_legacy_host_routing_only():
    assert leaving(REFUSAL, "legacy") == REFUSAL
    assert leaving(REFUSAL, "bpf") == (
        ACCEPTED,
        "with BPF host routing it leaves the node before the kernel's check",
    )
    unknown = leaving(REFUSAL, None)
    assert unknown.verdict == UNKNOWN
    assert "the mode of host routing is not known" in unknown.reason
    assert REFUSAL.reason in unknown.reason


@pytest.mark.parametrize("mode", ["legacy", "bpf", None])
@pytest.mark.parametrize("word", [ACCEPTED, UNKNOWN])
def test_other_answers_on_what_leaves_the_node_stay(mode, word):
    assert leaving(Verdict(word, "a reason"), mode) == (word, "a reason")

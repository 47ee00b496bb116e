"""The lock-out guard against the real kernel: policy rules, several next hops, and what it says of them."""

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import iproute
from ansible_collections.nodeward.cilium.plugins.module_utils.runner import bounded_runner
from ansible_collections.nodeward.cilium.plugins.module_utils.write import lockout
from scratch_node import ip, needs_root, on_scratch_node, rp_filter


def _uplinks(*commands):
    ip("link", "add", "eth0", "type", "veth", "peer", "name", "up0")
    ip("link", "add", "tun0", "type", "veth", "peer", "name", "up1")
    for device in ("eth0", "up0", "tun0", "up1"):
        ip("link", "set", device, "up")
    ip("address", "add", "192.0.2.1/24", "dev", "eth0")
    ip("address", "add", "100.100.1.1/32", "dev", "tun0")
    ip("route", "add", "default", "via", "192.0.2.10")
    for command in commands:
        ip(*command.split())


def _checked(becoming_strict, *commands):
    """What the guard says, and whether the kernel itself drops an outside packet on eth0 once it is strict."""
    _uplinks(*commands)
    kernel = iproute.IpRoute(bounded_runner(20))
    guard = lockout.Guard(kernel, kernel.addresses(), {"eth0": "uplink", "tun0": "uplink"})
    try:
        guard.check(set(becoming_strict), None)
        said = None
    except lockout.LockoutError as error:
        said = str(error)
    rp_filter("all", 0)
    rp_filter("eth0", 1)
    answer = kernel.route_get("192.0.2.1", lockout.OUTSIDE, "eth0")
    return said, answer.error is not None


EXIT_NODE = ("route add default dev tun0 table 52", "rule add pref 5270 lookup 52")


@needs_root
@pytest.mark.parametrize(
    ("commands", "words"),
    [
        ((), None),
        (EXIT_NODE, "policy rule 5270 'from all lookup 52': route 'default dev tun0 table 52'"),
        # as Tailscale has it: what bears its mark does not take its table
        (("rule add pref 5210 fwmark 0x80000/0xff0000 lookup main",) + EXIT_NODE, "policy rule 5270"),
        (("route add default dev tun0 table 7", "rule add pref 9 from 192.0.2.0/24 lookup 7"), "from 192.0.2.0/24"),
        (("route add default dev tun0 table 7", "rule add pref 9 from 198.51.100.0/24 lookup 7"), None),
        (("route add default dev tun0 table 7", "rule add pref 9 iif eth0 lookup 7"), None),
        # as OpenVPN has it: the two halves of the world
        (("route add 0.0.0.0/1 dev tun0", "route add 128.0.0.0/1 dev tun0"), "route '128.0.0.0/1 dev tun0 table main'"),
        (("rule add pref 9 blackhole from 192.0.2.0/24",), "missing"),
        (("route replace default nexthop via 192.0.2.10 dev eth0 nexthop dev tun0",), None),
    ],
)
def test_the_guard_refuses_what_the_kernel_would_drop(commands, words):
    said, dropped = on_scratch_node(_checked, ["eth0"], *commands)
    assert dropped is (words is not None)
    if words is None:
        assert said is None
    else:
        for expected in ("device eth0", "192.0.2.1", words, "allow_lockout=true", "Nothing was changed"):
            assert expected in said


@needs_root
def test_the_interface_of_the_exit_node_itself_may_become_strict():
    said, _dropped = on_scratch_node(_checked, ["tun0"], *EXIT_NODE)
    assert said is None


@needs_root
def test_an_interface_without_a_default_route_is_not_asked_about():
    said, _dropped = on_scratch_node(_checked, ["tun0"])
    assert said is None

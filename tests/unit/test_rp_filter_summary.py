"""What harden says of a node: one or two lines, always, and the same as data."""

from ansible_collections.nodeward.cilium.plugins.plugin_utils.render.rp_filter_summary import summary

POD = {"pod": "shop/cart", "address": "10.0.0.7", "device": "lxc1", "verdict": "accepted", "reason": None}
NAMELESS = {"pod": None, "address": "10.0.0.8", "device": "lxc2", "verdict": "dropped", "reason": "filtered"}
KEPT = ("pod", "address", "device", "reason")
DROPIN = "/etc/sysctl.d/99-override_cilium_rp_filter.conf"


def result(**change):
    made = {
        "changed": False,
        "applied": True,
        "diff": [],
        "exempt_interfaces": ["cilium_host", "lxc1"],
        "uplinks": {"eth1": "loose", "eth0": "strict"},
        "healed": [],
        "unhealed": [],
        "conflicts": [],
        "cilium_signs": ["interface cilium_host"],
        "not_applied": None,
    }
    return {**made, **change}


def lines(conflicts="fail", state="present", check_mode=False, **change):
    return summary(result(**change), "node1", state, conflicts, check_mode)["lines"]


def test_a_node_on_which_nothing_changes_says_so():
    assert lines() == [
        "node1: no change; 2 interfaces exempt (cilium_host, lxc1); uplinks: eth0 strict, eth1 loose",
    ]


def test_what_changed_and_which_pods_it_helped():
    diff = [
        {"before_header": "/dev/null", "after_header": DROPIN, "before": "", "after": "x"},
        {
            "before_header": "running values",
            "after_header": "running values",
            "before": "net.ipv4.conf.lxc1.rp_filter = 2\nnet.ipv4.conf.all.rp_filter = 1\n",
            "after": "net.ipv4.conf.lxc1.rp_filter = 0\nnet.ipv4.conf.all.rp_filter = 0\n",
        },
    ]
    made = summary(result(changed=True, diff=diff, healed=[POD]), "node1", "present", "fail", False)
    assert made["lines"] == [
        f"node1: changed: 2 running values, {DROPIN}; 2 interfaces exempt (cilium_host, lxc1); "
        "uplinks: eth0 strict, eth1 loose; accepted again: 1 endpoint (shop/cart)"
    ]
    assert made["files"] == [DROPIN]
    assert made["running_values"] == {"net.ipv4.conf.lxc1.rp_filter": 0, "net.ipv4.conf.all.rp_filter": 0}
    assert made["accepted_again"] == [{"name": "shop/cart", **{key: POD[key] for key in KEPT}}]
    assert lines(changed=True, diff=diff, check_mode=True)[0].startswith("node1: would change: 2 running values, ")


def test_what_is_pending_is_marked():
    overriding = [{"path": "/etc/sysctl.d/zz.conf", "line": 3}]
    assert lines(unhealed=[NAMELESS], conflicts="report")[1:] == [
        ">> node1: pending: the replies of 1 endpoint (10.0.0.8) are still dropped",
    ]
    made = summary(result(conflicts=overriding), "node1", "present", "report", False)
    assert made["pending"] == ["the drop-in is overridden by /etc/sysctl.d/zz.conf:3"]
    assert summary(result(conflicts=overriding), "node1", "present", "disable", False)["pending"] == []
    assert lines(applied=False, not_applied="this is a chroot", cilium_signs=[], exempt_interfaces=[], uplinks={}) == [
        "node1: no change",
        ">> node1: pending: running values are not set (this is a chroot); the next boot sets them",
    ]


def test_the_health_endpoint_is_named_so():
    health = {**NAMELESS, "device": "lxc_health", "is_health": True}
    assert lines(unhealed=[health])[1:] == [
        ">> node1: pending: the replies of 1 endpoint (health endpoint) are still dropped",
    ]


def test_a_node_without_cilium_is_named():
    assert "no sign of Cilium on this node" in lines(cilium_signs=[], exempt_interfaces=[])[1]
    assert len(lines(cilium_signs=[], state="absent")) == 1


def test_a_rollback_names_what_is_dropped_without_the_drop_in():
    assert lines(unhealed=[NAMELESS], state="absent") == [
        "node1: no change; uplinks: eth0 strict, eth1 loose",
        ">> node1: pending: the replies of 1 endpoint (10.0.0.8) are dropped",
    ]


def test_names_of_interfaces_cannot_write_to_the_terminal():
    assert "\x1b" not in "".join(lines(uplinks={"eth\x1b[2J": "strict"}))

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils import devices


@pytest.mark.parametrize(
    ("device", "link_kind", "uplink", "expected"),
    [
        ("lxc3c160d6c7aa0", "veth", False, "cilium"),
        ("lxc_health", "veth", False, "cilium"),
        ("cilium_host", "veth", True, "cilium"),  # its address does not make it an uplink
        ("cilium_vxlan", "vxlan", False, "cilium"),
        ("lxcbr0", "bridge", True, "uplink"),
        ("lxcbr0", "bridge", False, "other"),
        ("eth0", None, True, "uplink"),
        ("veth12", "veth", False, "other"),
        ("xlxc0", "veth", False, "other"),
    ],
)
def test_kind(device, link_kind, uplink, expected):
    assert devices.kind(device, link_kind, uplink=uplink) == expected


def address(scope, family="inet"):
    return {"family": family, "scope": scope, "address": "192.0.2.1", "prefixlen": 24}


def test_uplinks_have_a_global_address_or_a_default_route_and_no_dummy_is_one():
    links = [
        {"ifname": name, "kind": kind}
        for name, kind in [
            ("lo", None),
            ("eth0", None),
            ("eth1", None),
            ("eth2", None),
            ("eth3", None),
            ("wg0", "wireguard"),
            ("kube-ipvs0", "dummy"),
            ("cilium_host", "veth"),
            ("lxcbr0", "bridge"),
        ]
    ]
    addresses = {
        "lo": [address("global")],
        "eth0": [address("global")],
        "eth1": [],
        "eth2": [address("link")],
        "eth3": [address("global", "inet6")],
        "kube-ipvs0": [address("global")],
        "cilium_host": [address("global")],
        "lxcbr0": [address("global")],
    }
    routes = [
        {"dst": "default", "dev": "wg0"},
        {"dst": "10.0.0.0/24", "dev": "eth2"},
        {"dst": "default", "nexthops": [{"dev": "eth1"}, {"dev": "eth0"}], "table": "100"},
        {"dst": "default", "type": "blackhole", "dev": "eth2"},
    ]
    assert devices.found_uplinks(links, addresses, routes) == {"eth0", "eth1", "wg0", "lxcbr0"}


@pytest.mark.parametrize(
    "pattern", ["lxc/x", "lxc *", "lxc\n", "..", "lxc..", "a b", "", "lxc{a,b}", "#x", "-x", "lxc=0", "$(id)"]
)
def test_a_pattern_that_is_no_glob_for_devices_is_named_so(pattern):
    assert "is no glob" in devices.pattern_error(pattern)


@pytest.mark.parametrize("pattern", ["*", "a*", "de*", "?*", "[ad]*"])
def test_a_pattern_that_would_exempt_everything_is_refused(pattern):
    assert "every device" in devices.pattern_error(pattern)


@pytest.mark.parametrize("pattern", ["lxc*", "cilium_*", "eni*", "[l]xc*", "eth0.*", "lxc?"])
def test_patterns_that_are_well(pattern):
    assert devices.pattern_error(pattern) is None


@pytest.mark.parametrize("device", ["", "a/b", "a b", "eth0\n", "0123456789abcdef", ".", "..", "all", "default", "a:b"])
def test_names_that_no_device_can_have(device):
    assert devices.device_error(device)


@pytest.mark.parametrize("device", ["eth0", "eth0.100", "br-lan", "it's", "[x]", "ü"])
def test_names_that_a_device_can_have(device):
    assert devices.device_error(device) is None


@pytest.mark.parametrize(
    ("device", "writable"),
    [
        ("eth0", True),
        ("eth0.100", True),
        ("wan@home", True),
        ("ü", True),
        ('a"b', True),
        ("a*", False),
        ("[a]", False),
        ("a=b", False),
        ("a\\b", False),
        ("a#", False),
        ("\udcff", False),
        ("a;b", False),
    ],
)
def test_names_that_can_stand_in_a_file(device, writable):
    assert devices.writable_in_a_file(device) is writable


@pytest.mark.parametrize("pattern", ["lxc*", "cilium_*", "eni?*", "[l]xc*", "[!a]x*", "lxc12"])
def test_a_device_to_come_matches_its_pattern(pattern):
    assert devices.matches(devices.to_come(pattern), [pattern])

"""What is gathered of the filter, on a real cluster's dumps and on files of our own."""

import json
from pathlib import Path

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils import observe_filter, transaction
from ansible_collections.nodeward.cilium.plugins.module_utils.iproute import IpRoute

FIXTURES = Path(__file__).parent.parent / "fixtures"


def replay(state):
    """A run_command that answers with what a real cluster's node said."""
    folder = FIXTURES / "captures" / state
    files = {"netconf": "ip-netconf.json", "link": "ip-link.json", "addr": "ip-addr.json", "route": "ip-route.json"}

    def run_command(argv, data=None):
        (name,) = [name for name in files if name in argv]
        return 0, (folder / files[name]).read_text(), ""

    return run_command


@pytest.mark.parametrize(("state", "lxc"), [("broken", 2), ("exempt", 0), ("routes-mixed", 2), ("routes", 2)])
def test_devices_of_a_real_node(state, lxc):
    seen = observe_filter.see_devices(IpRoute(replay(state)), ("lxc*", "cilium_*"), None)
    names = {
        entry["interface"] for entry in json.loads((FIXTURES / "captures" / state / "ip-netconf.json").read_text())
    }
    assert set(seen.kinds) == {name for name in names if name not in ("all", "default")}
    assert {device for device, kind in seen.kinds.items() if kind == "uplink"} == {"eth0"}
    assert {device for device, kind in seen.kinds.items() if kind == "other"} == {"lo"}
    assert {seen.running[device] for device in seen.kinds if device.startswith("lxc")} == {lxc}
    assert seen.running["all"] == 0


def udev(tmp_path, files):
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return observe_filter.reload_on_add(str(tmp_path))


RULE = """# systemd-sysctl and /net/ipv4/conf/ in a comment
ACTION=="add", RUN+="/usr/lib/systemd/systemd-sysctl --prefix=/net/ipv4/conf/$name"
"""


def test_the_rule_by_which_udev_runs_the_loader(tmp_path):
    assert udev(tmp_path, {"usr/lib/udev/rules.d/99-systemd.rules": RULE}) == {
        "path": "/usr/lib/udev/rules.d/99-systemd.rules",
        "line": 2,
        "cleared_by": None,
    }


def test_our_own_rule_takes_it_back(tmp_path):
    ours = transaction.udev_rule(["lxc*", "cilium_*"])
    found = udev(tmp_path, {"usr/lib/udev/rules.d/99-systemd.rules": RULE, observe_filter.UDEV_RULE[1:]: ours})
    assert found["cleared_by"] == {"path": observe_filter.UDEV_RULE, "line": 4}


def test_a_masked_rule_is_no_rule(tmp_path):
    assert (
        udev(tmp_path, {"usr/lib/udev/rules.d/99-systemd.rules": RULE, "etc/udev/rules.d/99-systemd.rules": ""}) is None
    )


def test_no_rule_at_all(tmp_path):
    assert udev(tmp_path, {"etc/udev/rules.d/99-other.rules": "# nothing\n", "etc/udev/rules.d/x.txt": RULE}) is None


def test_counters_are_read_from_this_kernel():
    unread = []
    assert observe_filter.counters(unread)["ip_reverse_path_filter"] >= 0
    assert unread == []


@pytest.mark.parametrize(
    ("line", "cleared_by", "running_all", "expected"),
    [
        (2, None, 0, 2),
        (2, {"path": "x.rules", "line": 4}, 0, 0),
        (2, {"path": "x.rules", "line": 4}, 1, 1),
        (0, None, 2, 2),
        (None, None, 0, 0),
    ],
)
def test_what_the_next_device_will_be_filtered_with(line, cleared_by, running_all, expected):
    decided_by = None if line is None else {"value": line}
    rule = {"path": "99-systemd.rules", "line": 73, "cleared_by": cleared_by}
    assert observe_filter._of_the_next(decided_by, rule, {"all": running_all}) == expected


def test_without_a_rule_the_next_device_keeps_what_cilium_set():
    assert observe_filter._of_the_next({"value": 2}, None, {"all": 0}) == 0

"""What is gathered of the filter, on a real cluster's dumps and on files of our own."""

import json
import os
import types
from pathlib import Path

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils import dropin, facts_version, sysctl_d
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import filter as observe_filter
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.iproute import IpRoute
from ansible_collections.nodeward.cilium.plugins.module_utils.write import plan

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


PATH = "/etc/sysctl.d/99-override_cilium_rp_filter.conf"
COMPOSED = dropin.compose(
    plan.present(
        plan.Options(["lxc*", "cilium_*"], "keep", None),
        plan.Observed(
            {"all": 1, "default": 0, "eth0": 0},
            {"eth0": "uplink"},
            lambda _name: None,
            lambda _name: None,
            dropin.parse(None),
            None,
        ),
    )
)


def dropin_with(tmp_path, text):
    if text is not None:
        (tmp_path / "etc/sysctl.d").mkdir(parents=True)
        (tmp_path / PATH[1:]).write_text(text)
    unread = []
    return observe_filter.read_dropin(PATH, unread, str(tmp_path)), unread


def test_the_drop_in_as_it_was_written(tmp_path):
    found, unread = dropin_with(tmp_path, COMPOSED)
    assert {**found, "assignments": None} == {
        "path": PATH,
        "present": True,
        "format": 1,
        "intact": True,
        "assignments": None,
    }
    assert [(each["name"], each["value"]) for each in found["assignments"]] == [
        *(("default", 1), ("lxc*", 0), ("cilium_*", 0), ("eth0", 1), ("all", 0)),
    ]
    rows = COMPOSED.splitlines()
    assert all(f"rp_filter = {each['value']}" in rows[each["line"] - 1] for each in found["assignments"])
    assert unread == []


@pytest.mark.parametrize(
    ("text", "present", "number", "intact"),
    [
        (None, False, None, None),
        ("", True, None, None),
        ("net.ipv4.conf.lxc*.rp_filter = 0\n", True, None, None),
        (COMPOSED.replace("eth0.rp_filter = 1", "eth0.rp_filter = 2"), True, 1, False),
        (COMPOSED + "kernel.sysrq = 1\n", True, 1, False),
        (COMPOSED + "# a word\n\n", True, 1, True),
        (COMPOSED.replace(dropin.DIGEST, "# "), True, 1, None),
        (COMPOSED.replace("format 1", "format 0"), True, 0, True),
    ],
)
def test_the_drop_in_otherwise(tmp_path, text, present, number, intact):
    found, unread = dropin_with(tmp_path, text)
    assert (found["present"], found["format"], found["intact"]) == (present, number, intact)
    assert unread == []


def test_a_drop_in_that_is_none_is_named(tmp_path):
    (tmp_path / PATH[1:]).mkdir(parents=True)
    found, unread = dropin_with(tmp_path, None)
    assert found["present"] is None
    assert [entry["what"] for entry in unread] == [PATH]


def conf(tmp_path, **devices):
    for device, (src_valid_mark, accept_local) in devices.items():
        (tmp_path / device).mkdir()
        (tmp_path / device / "src_valid_mark").write_text(f"{src_valid_mark}\n")
        (tmp_path / device / "accept_local").write_text(f"{accept_local}\n")
    return str(tmp_path)


KINDS = {"lxc1": "cilium", "lxc2": "cilium", "cilium_host": "cilium", "eth0": "uplink"}


def test_source_marks_of_devices_are_read_where_they_matter(tmp_path):
    root = conf(tmp_path, all=(1, 0), default=(0, 0), lxc1=(0, 1), cilium_host=(0, 1), eth0=(1, 0))
    unread = []
    assert observe_filter.source_marks(KINDS, unread, root) == {
        "all": {"src_valid_mark": 1, "accept_local": 0},
        "default": {"src_valid_mark": 0, "accept_local": 0},
        "devices": {"lxc1": {"src_valid_mark": 0, "accept_local": 1}},  # lxc2 is gone
    }
    assert unread == []


def test_source_marks_of_devices_are_not_read_where_they_do_not(tmp_path):
    root = conf(tmp_path, all=(0, 0), default=(0, 0), lxc1=(1, 0))
    assert observe_filter.source_marks(KINDS, [], root)["devices"] == {}


def test_more_source_marks_than_a_node_has_pods(tmp_path, monkeypatch):
    monkeypatch.setattr(observe_filter, "MOST_MARKED", 1)
    root = conf(tmp_path, all=(0, 0), default=(1, 0), lxc1=(1, 0), lxc2=(1, 0))
    unread = []
    assert list(observe_filter.source_marks(KINDS, unread, root)["devices"]) == ["lxc1"]
    assert len(unread) == 1


def test_source_marks_that_cannot_be_read(tmp_path):
    unread = []
    assert observe_filter.source_marks(KINDS, unread, str(tmp_path))["all"] is None
    assert len(unread) == 1


def test_lines_that_matter_to_the_loader_alone(tmp_path):
    folder = tmp_path / "etc/sysctl.d"
    folder.mkdir(parents=True)
    (folder / "10.conf").write_text("net.ipv4.conf.lxc*.rp_filter = 0\nnet.ipv4.conf.lxc*.forwarding = 1\n")
    (folder / "20.conf").write_text(
        "net.ipv4.conf.[!l]*.rp_filter = 2\nnet.ipv4.conf.lxc*.rp_filter = 0\nnet.ipv4.conf.lxc*.forwarding = 1\n"
    )
    loader = sysctl_d.SystemdSysctl(sysctl_d.read_tree(str(tmp_path)), 245)
    first = {"value": 0, "path": "/etc/sysctl.d/10.conf", "line": 1, "key": "net.ipv4.conf.lxc*.rp_filter"}
    second = {"value": 2, "path": "/etc/sysctl.d/20.conf", "line": 1, "key": "net.ipv4.conf.[!l]*.rp_filter"}
    by_key = sorted(observe_filter.globs_without_dash(loader, KINDS), key=lambda found: found["key"])
    assert by_key == [{**second, "matches": ["cilium", "reserved", "uplink"]}, {**first, "matches": ["cilium"]}]
    assert {found["matches"] for found in observe_filter.globs_without_dash(loader, None)} == {None}
    repeated = {**first, "path": "/etc/sysctl.d/20.conf", "line": 2}
    assert observe_filter.repeated_lines(loader) == [{**repeated, "first": {"path": first["path"], "line": 1}}]
    assert observe_filter.repeated_lines(None) == observe_filter.globs_without_dash(None, KINDS) == []


def test_counters_are_read_from_this_kernel():
    unread = []
    found = observe_filter.counters(unread)
    assert found["ip_reverse_path_filter"] >= 0
    assert found["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert unread == []


@pytest.mark.parametrize("answer", ["", "BusyBox v1.36.1 multi-call binary"])
def test_a_loader_that_does_not_tell_its_version_is_named(tmp_path, monkeypatch, answer):
    program = tmp_path / "program"
    program.write_text("")
    monkeypatch.setattr(observe_filter, "SYSTEMD_SYSCTL", (str(program),))
    monkeypatch.setattr(observe_filter, "PROCPS_SYSCTL", (str(program),))

    def run_command(argv, data=None):
        return 0, answer if argv[0] == str(program) else "", ""

    facts = observe_filter.observe(IpRoute(replay("broken")), run_command)
    named = [entry for entry in facts["unread"] if entry["what"] == str(program)]
    assert [entry["decides"] for entry in named] == [True, True]
    # That of busybox reads other files, and nobody is surprised.
    program.rename(tmp_path / "busybox")
    program.symlink_to("busybox")
    facts = observe_filter.observe(IpRoute(replay("broken")), run_command)
    assert [entry["decides"] for entry in facts["unread"] if entry["what"] == str(program)] == [False, False]


@pytest.mark.parametrize("said, version", [("systemd 254 (254.5-1)", 254), ("", None)])
def test_other_writers_are_those_of_this_systemd(tmp_path, monkeypatch, said, version):
    program = tmp_path / "systemd-sysctl"
    program.write_text("")
    monkeypatch.setattr(observe_filter, "SYSTEMD_SYSCTL", (str(program),))
    asked = []

    def find(_reader, _units, *known):
        asked.append(known)
        return [], []

    def run_command(argv, data=None):
        if argv[:2] == ["systemctl", "list-units"]:
            return 0, "ufw.service loaded active exited Firewall\n", ""
        return 0, said, ""

    monkeypatch.setattr(observe_filter.writers, "find", find)
    observe_filter.observe(IpRoute(replay("broken")), run_command)
    ((found, running, altnames, _rules),) = asked
    assert (found, running, altnames["eth0"]) == (version, {"ufw.service"}, [])


def test_root_is_said_to_help_where_permissions_are_the_reason(tmp_path, monkeypatch):
    def denied(path, *_arguments, **_options):
        raise PermissionError(13, "Zugriff verweigert", path)  # whatever the words are

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(observe_filter.os, "open", denied)
    _found, unread = dropin_with(tmp_path, COMPOSED)
    assert [entry["needs_root"] for entry in unread] == [True]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    _found, unread = dropin_with(tmp_path, None)
    assert [entry["needs_root"] for entry in unread] == [False]


def test_each_thing_unread_says_whether_it_needs_root(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(observe_filter.netfilter, "NFT", (str(tmp_path),))
    facts = observe_filter.observe(IpRoute(replay("broken")), lambda argv, data=None: (1, "", "denied"))
    assert facts["unread"] and all(isinstance(entry["needs_root"], bool) for entry in facts["unread"])
    assert {entry["needs_root"] for entry in facts["unread"] if entry["what"] == "netfilter rules"} >= {True}


IMAGE = "this is a chroot: /proc/sys is the build host's"


def test_an_image_is_observed_by_its_files_alone():
    asked = []

    def run_command(argv, data=None):
        asked.append(argv)
        return 0, "systemd 257 (257.9)\nsysctl from procps-ng 4.0.4", ""

    facts = observe_filter.observe(IpRoute(run_command), run_command, not_observed=IMAGE)
    assert facts["running_system"] == {"observed": False, "why": IMAGE}
    # The binaries are asked for their version; nothing is asked of the kernel, systemd or the agent.
    assert {argv[1] for argv in asked} <= {"--version"}
    assert facts["devices"] == {} and facts["netfilter"] == []
    assert {facts[name]["running"] for name in ("all", "default")} == {None}
    assert set(facts["counters"].values()) == {None}
    assert facts["source_marks"] == {"all": None, "default": None, "devices": {}}
    assert not facts["agent"]["answers"]
    assert set(facts["horizons"]) == {"all", "default", "lxc*", "cilium_*"}


def test_a_running_system_is_observed_as_such():
    facts = observe_filter.observe(IpRoute(replay("broken")), lambda argv, data=None: (0, "", ""))
    assert facts["running_system"] == {"observed": True, "why": None}
    assert facts["schema_version"] == facts_version.RP_FILTER


@pytest.mark.parametrize(
    "chroot, systemd, flags, why",
    [
        (False, True, 0, None),
        (None, True, 0, None),
        (True, True, 0, "chroot"),
        (False, False, 0, "no systemd"),
        (False, True, os.ST_RDONLY, "read-only"),
    ],
)
def test_why_a_running_system_is_left_alone(monkeypatch, chroot, systemd, flags, why):
    monkeypatch.setattr(observe_filter, "in_chroot", lambda: chroot)
    monkeypatch.setattr(observe_filter.os.path, "isdir", lambda path: systemd)
    monkeypatch.setattr(observe_filter.os, "statvfs", lambda path: types.SimpleNamespace(f_flag=flags))
    said = observe_filter.why_not_observed()
    assert said is None if why is None else why in said
    assert observe_filter.why_not_observed("always") is None


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("net.ipv4.conf.lxc[0-7]*.rp_filter = 2\n", [1]),
        ("net.ipv4.conf.lxc[8-f]*.rp_filter = 2\n", [1]),
        ("net.ipv4.conf.lxc[8-9a-f]*.rp_filter = 2\n", [1]),
        ("net.ipv4.conf.*.rp_filter = 2\nnet.ipv4.conf.lxc[!e]*.rp_filter = 0\n", [1]),
        ("net.ipv4.conf.lxc[0-7]*.rp_filter = 0\n", []),
        ("net.ipv4.conf.lxc*.rp_filter = 2\n", []),
        ("net.ipv4.conf.lxc_*.rp_filter = 2\nnet.ipv4.conf.lxc_health.rp_filter = 2\n", []),
        ("net.ipv4.conf.lxc[0-7]*.rp_filter = 2\nnet.ipv4.conf.lxc*.rp_filter = 0\n", []),
    ],
)
def test_lines_for_some_of_a_pattern_s_interfaces(tmp_path, text, lines):
    (tmp_path / "etc/sysctl.d").mkdir(parents=True)
    (tmp_path / "etc/sysctl.d/60-x.conf").write_text(text)
    systemd = sysctl_d.SystemdSysctl(sysctl_d.read_tree(str(tmp_path)), 257)
    assert [line["line"] for line in observe_filter.of_some(systemd, "lxc*")] == lines


@pytest.mark.parametrize("order, overrides", [("ExecStartPre", False), ("ExecStartPost", True)])
def test_whether_what_the_unit_sets_overrides_a_drop_in(tmp_path, order, overrides):
    place = {"optional": False, "path": "/etc/x.conf", "line": 2, "text": f"{order}=sysctl"}
    loader = dict(place, loader="systemd_sysctl", files=None, prefixes=[])
    steps = [dict(place, names=["all"], value="1"), loader]
    unit = {"state": "runs", "path": None, "line": None, "text": None, "credential": None}
    unit["steps"] = steps[::-1] if overrides else steps
    systemd = observe_filter.Loader("/usr/lib/systemd/systemd-sysctl", 257)
    tree = sysctl_d.read_tree(str(tmp_path))
    resolve = observe_filter.Resolver(tree, systemd, None, unit, None, PATH, ["lxc*"])
    assert resolve("all")["unit"]["overrides"] is overrides
    assert resolve("eth0")["unit"] is None

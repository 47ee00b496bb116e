"""The prediction of the five horizons, with and without an agent that writes too."""

import copy

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils import devices, horizons
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge import horizons as judged

CIS = {"value": 1, "path": "/etc/sysctl.d/90-cis.conf", "line": 2, "key": "net.ipv4.conf.all.rp_filter"}
GLOB = {"value": 2, "path": "/usr/lib/sysctl.d/50-default.conf", "line": 26, "key": "net.ipv4.conf.*.rp_filter"}
AGENT = {"seen": True, "by": "socket", "answers": True, "version": "1.20.0", "reconciles_after": 600}


def configured(line=None, procps="same"):
    return {"systemd_sysctl": line, "procps": line if procps == "same" else procps, "unit": line}


def node(all_line=None, glob=None, agent=None, running_all=0, writers=()):
    def device(kind, running):
        effective = max(running, running_all)
        return {"kind": kind, "running": running, "effective": effective, "configured": configured(glob)}

    return {
        "agent": agent,
        "all": {"running": running_all, "configured": configured(all_line)},
        "default": {"running": 0, "configured": configured()},
        "devices": {
            "lxc1": device("cilium", 0),
            "cilium_host": device("cilium", 0),
            "eth0": device("uplink", 2 if glob else 0),
        },
        "patterns": {"lxc*": {"configured": configured(glob)}, "cilium_*": {"configured": configured(glob)}},
        "loaders": {"systemd_sysctl": {"version": 257}, "procps": {"version": "4.0.4"}},
        "reload_on_add": {"path": "/usr/lib/udev/rules.d/99-systemd.rules", "line": 72, "cleared_by": None},
        "other_writers": [copy.deepcopy(writer) for writer in writers],
    }


def writer(by, **known):
    base = {"by": by, "path": "/etc/x", "line": 3, "text": "x", "names": ["all"], "value": "1", "sets": 1}
    return dict(base, narrowed=False, not_on=[], **known)


def test_with_an_agent_the_boot_ends_at_0_although_a_baseline_sets_all():
    state = horizons.at(node(CIS, agent=AGENT), "lxc*", "boot")
    assert state["effective"] == 0
    assert state["before"]["effective"] == 1
    assert state["before"]["sources"][0]["path"] == CIS["path"]


def test_without_an_agent_the_baseline_stands_after_a_boot():
    state = horizons.at(node(CIS), "lxc*", "boot")
    assert (state["effective"], state["before"]) == (1, None)
    assert [source["path"] for source in state["sources"]] == [CIS["path"]]


@pytest.mark.parametrize("horizon", ["restart", "sysctl_system"])
def test_the_agent_ends_what_a_loader_puts_on_all_within_ten_minutes(horizon):
    state = horizons.at(node(CIS, agent=AGENT), "lxc1", horizon)
    assert state["effective"] == 1
    assert state["ends"] == {"by": "agent", "value": 0, "seconds": 600}


@pytest.mark.parametrize("horizon", ["restart", "sysctl_system"])
def test_nothing_ends_what_a_loader_puts_on_a_pods_interface(horizon):
    state = horizons.at(node(glob=GLOB, agent=AGENT), "lxc1", horizon)
    assert (state["effective"], state["ends"]) == (2, None)


def test_the_agent_writes_its_host_interfaces_after_udev_and_leaves_the_next_pods_interface_to_udev():
    facts = node(glob=GLOB, agent=AGENT)
    assert horizons.at(facts, "cilium_*", "interface")["effective"] == 0
    assert horizons.at(facts, "cilium_*", "boot")["effective"] == 0
    assert horizons.at(facts, "lxc*", "interface")["effective"] == 2
    assert horizons.at(node(glob=GLOB), "cilium_*", "boot")["effective"] == 2


@pytest.mark.parametrize("horizon", ["interface", "boot"])
def test_networkd_may_write_a_host_interface_before_or_after_the_agent(horizon):
    networkd = writer("networkd", names=["*"], when=["boot", "interface"], sets=2)
    state = horizons.at(node(agent=AGENT, writers=[networkd]), "cilium_*", horizon)
    assert (state["effective"], state["possible"]) == (None, [0, 2])
    assert [place["path"] for place in state["unknown"]] == ["/etc/x"]
    assert horizons.at(node(writers=[networkd]), "cilium_*", horizon)["effective"] == 2


def test_a_line_that_names_a_host_interface_counts_at_boot_and_one_that_names_a_pods_does_not():
    facts = node(glob=GLOB)
    named = dict(GLOB, value=1, key="net.ipv4.conf.cilium_host.rp_filter")
    for name in ("cilium_host", "lxc1"):
        facts["devices"][name]["configured"] = configured(named)
    assert horizons.at(facts, "cilium_host", "boot")["value"] == 1
    assert horizons.at(facts, "lxc1", "boot")["value"] == 2


@pytest.mark.parametrize("glob, effective", [(2, None), (1, 1)])
def test_a_unit_that_writes_default_may_reach_an_uplink_that_no_loader_wrote(glob, effective):
    """A loader leaves a value alone that is there already: here that of `default`."""
    facts = node(
        glob=dict(GLOB, value=glob), writers=[writer("unit", names=["default"], when=["boot"], sets=0, value="0")]
    )
    facts["default"]["configured"] = configured(dict(GLOB, key="net.ipv4.conf.default.rp_filter"))
    state = horizons.at(facts, "eth0", "boot")
    assert state["effective"] == effective
    assert [place["path"] for place in state["unknown"]] == ([] if effective else ["/etc/x"])


def test_an_uplink_loses_at_boot_what_it_had_through_all():
    assert horizons.at(node(CIS, agent=AGENT), "eth0", "boot")["effective"] == 0
    assert horizons.at(node(CIS), "eth0", "boot")["effective"] == 1
    assert horizons.at(node(CIS, GLOB, agent=AGENT), "eth0", "boot")["effective"] == 2


def test_masked_rules_leave_the_next_interface_alone_and_a_restart_does_not():
    facts = dict(node(glob=GLOB), reload_on_add=None)
    assert horizons.at(facts, "lxc*", "interface")["effective"] == 0
    assert horizons.at(facts, "lxc*", "boot")["effective"] == 0
    assert horizons.at(facts, "lxc1", "restart")["effective"] == 2


@pytest.mark.parametrize("state, boot, restart", [("masked", 0, 0), ("disabled", 0, 1), ("skipped", 0, 0)])
def test_a_unit_that_does_not_run_sets_nothing(state, boot, restart):
    facts = node(CIS)
    facts["loaders"]["systemd_sysctl"]["unit_file"] = {"state": state, "path": "/etc/x", "line": None, "text": None}
    assert horizons.at(facts, "all", "boot")["value"] == boot
    assert horizons.at(facts, "all", "restart")["value"] == restart


def test_a_unit_that_cannot_be_predicted_makes_the_horizon_unknown_and_is_named():
    facts = node(CIS)
    unit = {"state": "unknown", "path": "/etc/y.conf", "line": 2, "text": "ExecStart=/usr/local/sbin/tune"}
    facts["loaders"]["systemd_sysctl"]["unit_file"] = unit
    state = horizons.at(facts, "all", "restart")
    assert state["value"] is None
    assert [place["path"] for place in state["unknown"]] == ["/etc/y.conf"]


def test_a_script_makes_the_next_interface_unknown_unless_what_it_writes_is_there_already():
    script = writer("networkd-dispatcher", certain=False, when=["interface"], names=["*"], sets=None)
    state = horizons.at(node(writers=[script]), "lxc*", "interface")
    assert (state["effective"], state["possible"]) == (None, [0, 1, 2])
    assert state["unknown"][0]["path"] == "/etc/x"
    agrees = dict(script, sets=0)
    assert horizons.at(node(writers=[agrees]), "lxc*", "interface")["effective"] == 0
    assert horizons.at(node(writers=[dict(script, active=False)]), "lxc*", "interface")["effective"] == 0


def test_a_unit_that_sets_all_at_boot_has_the_last_word_only_without_an_agent():
    unit = writer("tuned", when=["boot"])
    assert horizons.at(node(writers=[unit]), "lxc*", "boot")["effective"] == 1
    assert horizons.at(node(agent=AGENT, writers=[unit]), "lxc*", "boot")["effective"] == 0
    old = dict(AGENT, version="1.15.1", reconciles_after=None)
    assert horizons.at(node(agent=old, writers=[unit]), "lxc*", "boot")["effective"] is None


def test_what_is_unknown_of_all_does_not_matter_to_an_interface_that_is_loose_anyway():
    script = writer("cron", certain=False, when=["periodic"], sets=None)
    state = horizons.at(node(glob=GLOB, writers=[script]), "lxc*", "boot")
    assert (state["effective"], state["unknown"]) == (2, [])


def test_networkd_writes_the_next_interface_after_udev():
    network = writer("networkd", names=["*"])
    assert horizons.at(node(glob=GLOB, writers=[network]), "lxc*", "interface")["effective"] == 1


def step(**known):
    base = {"runs": None, "names": ["lxc0"], "value": "1", "sets": 1, "certain": True}
    return dict(base, path="/etc/udev/rules.d/99-zz.rules", line=2, text="RUN", **known)


def with_steps(*steps, agent=None):
    facts = node(glob=GLOB, agent=agent)
    for name, pattern in facts["patterns"].items():
        pattern["on_add"] = [dict(each, names=[devices.to_come(name)]) for each in steps]
    return facts


def test_a_step_of_udev_that_may_run_the_loader_makes_the_next_interface_unknown():
    loads = step(runs="systemd_sysctl")
    assert horizons.at(with_steps(loads), "lxc*", "interface")["effective"] == 2
    state = horizons.at(with_steps(dict(loads, certain=False)), "lxc*", "interface")
    assert (state["effective"], state["possible"]) == (None, [0, 2])
    assert [place["path"] for place in state["unknown"]] == ["/etc/udev/rules.d/99-zz.rules"]


def test_a_step_of_udev_after_the_loader_has_the_last_word():
    state = horizons.at(with_steps(step(runs="systemd_sysctl"), step()), "lxc*", "boot")
    assert (state["effective"], state["sources"][0]["line"]) == (1, 2)


@pytest.mark.parametrize(("agent", "ends"), [(None, None), (AGENT, 600)])
def test_a_step_of_udev_for_all_counts_for_all_and_comes_after_the_agent_s_start(agent, ends):
    facts = with_steps(agent=agent)
    facts["patterns"]["lxc*"]["on_add"] = [dict(step(), names=["all"])]
    for horizon in ("interface", "boot"):
        state = horizons.at(facts, "all", horizon)
        assert state["effective"] == 1
        assert (state["ends"] and state["ends"]["seconds"]) == ends
    assert horizons.at(facts, "lxc*", "interface")["value"] == 0


def test_what_stands_after_the_agent_s_reset_is_unknown_if_the_interface_s_own_value_is():
    facts = with_steps(dict(step(), sets=2, certain=False), agent=AGENT)
    facts["patterns"]["lxc*"]["on_add"].append(dict(step(), names=["all"]))
    state = horizons.at(facts, "lxc*", "interface")
    assert state["possible"] == [1, 2]
    assert state["ends"] == {"by": "agent", "value": None, "seconds": 600}
    words = judged.duration(state["ends"])
    assert words == "for up to 10 minutes, until the agent resets it, after which it is unknown"
    assert not judged.judged(facts, "lxc*", "interface", [1])["ends"]


def test_an_uplink_is_unknown_after_the_reset_if_its_own_value_is():
    facts = node(CIS, agent=AGENT)
    perhaps = writer("unit", names=["eth0"], sets=2, when=["restart"], unit="late.service", certain=False)
    facts["other_writers"].append(perhaps)
    to_come = judged.uplink_to_come(facts, "eth0")
    assert to_come["restart"]["value"] is None
    assert to_come["sysctl_system"]["value"] == 0


def test_a_hook_for_interfaces_that_writes_all_counts_for_the_next_interface():
    hook = writer("networkmanager-dispatcher", when=["boot", "interface"], certain=False)
    state = horizons.at(node(writers=[hook]), "all", "interface")
    assert (state["effective"], state["possible"]) == (None, [0, 1])


def test_a_full_run_of_the_loader_for_each_interface_applies_the_lines_for_all():
    facts = with_steps(agent=AGENT)
    facts["patterns"]["lxc*"]["on_add"] = [dict(step(runs="systemd_sysctl"), names=None, sets=None)]
    facts["all"]["configured"] = configured(CIS)
    for horizon in ("interface", "boot"):
        state = horizons.at(facts, "all", horizon)
        assert (state["effective"], state["ends"]["seconds"]) == (1, 600)
    facts["patterns"]["lxc*"]["on_add"][0]["names"] = [devices.to_come("lxc*")]
    assert horizons.at(facts, "all", "interface")["effective"] == 0


@pytest.mark.parametrize("agent, pod, host", [
    (None, [0, 2], [0, 2]), (AGENT, [0, 2], [0]), (dict(AGENT, reconciles_after=None), [0, 2], [0, 2])
])  # fmt: skip
def test_what_runs_at_boot_may_run_when_pods_have_interfaces(agent, pod, host):
    """As a timer with OnBootSec=2min, or a unit that sleeps."""
    late = writer("unit", names=["lxc*", "cilium_*"], sets=2, when=["boot"], unit="late.service")
    facts = node(agent=agent, writers=[late])
    assert horizons.at(facts, "lxc*", "boot")["possible"] == pod
    assert horizons.at(facts, "cilium_host", "boot")["possible"] == host
    assert horizons.at(facts, "lxc*", "interface")["effective"] == 0
    assert horizons.at(node(writers=[writer("udev", when=["boot"], certain=False)]), "all", "boot")["possible"] == [
        0,
        1,
    ]


def test_a_unit_that_restarts_with_the_loader_counts_then():
    bound = writer("unit", when=["boot", "restart"], unit="bound.service")
    state = horizons.at(node(writers=[bound]), "lxc1", "restart")
    assert (state["possible"], state["unknown"][0]["by"]) == ([0, 1], "bound.service")
    assert horizons.at(node(writers=[bound]), "lxc*", "sysctl_system")["effective"] == 0


def test_a_line_that_sets_0_is_no_source_of_a_value_that_another_writes():
    loop = writer("unit", names=["*"], sets=2, when=["boot"], unit="loop.service")
    state = horizons.at(node(glob=dict(GLOB, value=0), writers=[loop]), "lxc*", "boot")
    assert (state["effective"], [source["by"] for source in state["sources"]]) == (2, ["loop.service"])


def test_what_is_written_for_some_interfaces_of_a_pattern_may_reach_the_next_one():
    rule = writer("udev", names=["lxcn*"], sets=2, when=["boot", "interface"])
    for horizon in ("interface", "boot"):
        assert horizons.at(node(writers=[rule]), "lxc*", horizon)["possible"] == [0, 2]
        assert horizons.at(node(writers=[rule]), "cilium_*", horizon)["effective"] == 0
    for harmless in (dict(rule, not_on=["lxc*"]), dict(rule, names=["lxcbr0"]), dict(rule, before_loader=True)):
        assert horizons.at(node(writers=[harmless]), "lxc*", "interface")["effective"] == 0


def test_a_line_below_run_decides_until_the_boot_alone():
    line = dict(GLOB, value=0, path="/run/sysctl.d/99-x.conf", line=1)
    for facts, subject in ((node(glob=line), "lxc*"), (node(line), "all"), (node(glob=line), "eth0")):
        assert horizons.at(facts, subject, "restart")["effective"] == 0
        state = horizons.at(facts, subject, "boot")
        assert (state["possible"], state["unknown"][0]["path"]) == ([0, 1, 2], "/run/sysctl.d/99-x.conf")
    credential = dict(line, path="/run/credentials/@system/sysctl.extra")
    assert horizons.at(node(credential), "all", "boot")["effective"] == 0
    facts = node(CIS)
    mask = {
        "state": "masked",
        "path": "/run/systemd/system/systemd-sysctl.service",
        "line": None,
        "text": "-> /dev/null",
    }
    facts["loaders"]["systemd_sysctl"]["unit_file"] = mask
    assert horizons.at(facts, "all", "boot")["possible"] == [0, 1]


def test_a_unit_before_the_loader_is_overridden_by_a_line():
    early = writer("unit", when=["boot"], unit="early.service", before_loader=True)
    assert horizons.at(node(writers=[early]), "all", "boot")["effective"] == 1
    off = dict(CIS, value=0)
    assert horizons.at(node(off, writers=[early]), "all", "boot")["effective"] == 0


def of_tuned(path, sets, **known):
    known = dict({"when": ["boot"], "unit": "tuned.service", "reapplied": True, "active": True}, **known)
    return dict(writer("tuned", **known), path=path, sets=sets, value=str(sets))


PROFILE, MAIN_FILE = "/etc/tuned/profiles/k/tuned.conf", "/etc/sysctl.conf"


@pytest.mark.parametrize(
    ("writers", "expected", "source"),
    [
        ([of_tuned(MAIN_FILE, 1)], 1, MAIN_FILE),
        ([of_tuned(PROFILE, 1)], 1, PROFILE),
        ([of_tuned(PROFILE, 1), of_tuned("/etc/sysctl.d/99-x.conf", 0)], 0, "/etc/sysctl.d/99-x.conf"),
        ([of_tuned(PROFILE, 0), of_tuned("/etc/sysctl.d/99-x.conf", 0), of_tuned(MAIN_FILE, 1)], 1, MAIN_FILE),
        ([of_tuned(PROFILE, 1, reapplied=None), of_tuned(MAIN_FILE, 0)], None, None),
        ([of_tuned(PROFILE, 1), of_tuned("/run/sysctl.d/99-x.conf", 0, certain=False)], None, None),
        ([of_tuned(PROFILE, 1), dict(of_tuned(MAIN_FILE, 0), names=["default"])], 1, PROFILE),
    ],
)
def test_the_last_line_that_tuned_applies_decides(writers, expected, source):
    off = {"value": 0, "path": "/etc/sysctl.d/99-x.conf", "line": 3, "key": "net.ipv4.conf.all.rp_filter"}
    state = horizons.at(node(off, writers=writers), "all", "boot")
    assert state["effective"] == expected
    if source:
        assert [place["path"] for place in state["sources"]] == [source]


def test_what_tuned_applies_as_the_loader_does_is_not_past_the_loaders():
    line = {"value": 1, "path": "/etc/sysctl.d/99-x.conf", "line": 3, "key": "net.ipv4.conf.all.rp_filter"}
    same, last = of_tuned(line["path"], 1), of_tuned(MAIN_FILE, 2)
    own = of_tuned(PROFILE, 1)
    unknown = dict(same, names=["eth9"])
    assert horizons.past_loaders(node(line, writers=[own, same, unknown])) == [own]
    assert horizons.past_loaders(node(line, writers=[of_tuned("/etc/sysctl.d/10-x.conf", 0), last])) == [last]


@pytest.mark.parametrize("horizon", ["interface", "boot", "restart", "sysctl_system"])
@pytest.mark.parametrize("glob, value", [(GLOB, 2), (None, 0)])
def test_an_image_is_predicted_from_its_next_boot(horizon, glob, value):
    facts = dict(node(glob=glob), devices={}, running_system={"observed": False, "why": "this is a chroot"})
    for name in ("all", "default"):
        facts[name]["running"] = None
    state = horizons.at(facts, "lxc*", horizon)
    assert (state["effective"], state["unknown"]) == (value, [])


def test_a_glob_for_some_pods_makes_the_next_interface_unknown():
    facts = node()
    facts["patterns"]["lxc*"]["of_some"] = [dict(GLOB, key="net.ipv4.conf.lxc[0-7]*.rp_filter")]
    state = horizons.at(facts, "lxc*", "interface")
    assert (state["effective"], state["possible"]) == (None, [0, 2])
    assert [place["key"] for place in state["unknown"]] == ["net.ipv4.conf.lxc[0-7]*.rp_filter"]


def test_what_a_mask_below_run_hides_may_be_back_after_a_boot():
    hidden = writer("systemd-sysctl", certain=False, when=["boot"], before_loader=True)
    hidden.update(names=["lxc*"], sets=2, value="2", active=True)
    facts = node(writers=[hidden])
    assert horizons.at(facts, "lxc*", "interface")["effective"] == 0
    assert horizons.at(facts, "lxc*", "boot")["possible"] == [0, 2]


def test_what_a_timer_writes_after_a_boot_comes_after_the_agent_or_before_it():
    known = {"unit": "a.service", "when": ["boot"], "certain": True, "active": True, "runs": None}
    early = horizons.at(node(agent=AGENT, writers=[writer("unit", **known)]), "lxc*", "boot")
    assert early["effective"] == 0
    late = horizons.at(node(agent=AGENT, writers=[writer("unit", late=True, **known)]), "lxc*", "boot")
    assert (late["effective"], late["possible"], late["ends"]["seconds"]) == (None, [0, 1], 600)
    assert [place["path"] for place in late["unknown"]] == ["/etc/x"]
    assert horizons.at(node(agent=AGENT, writers=[writer("unit", late=True, **known)]), "lxc*", "interface") == (
        horizons.at(node(agent=AGENT), "lxc*", "interface")
    )


def test_a_text_that_stands_for_no_number_sets_nothing():
    known = {"when": ["boot"], "active": True, "runs": None}
    refused = dict(writer("unit", certain=True, **known), value="strict", sets=None)
    state = horizons.at(node(running_all=2, writers=[refused]), "all", "boot")
    assert (state["effective"], state["unknown"]) == (0, [])
    unsure = dict(refused, certain=False)
    assert horizons.at(node(writers=[unsure]), "all", "boot")["effective"] is None


def test_what_cron_writes_to_all_may_stand_when_the_next_interface_comes():
    cron = writer("cron", certain=True, when=["periodic"], active=True, runs=None)
    state = horizons.at(node(agent=AGENT, writers=[cron]), "lxc*", "interface")
    assert (state["effective"], state["possible"], state["ends"]["seconds"]) == (None, [0, 1], 600)
    assert horizons.at(node(agent=AGENT, writers=[cron]), "lxc*", "restart")["effective"] == 0


def perhaps(runs, **known):
    known = dict({"when": ["boot"], "active": True, "unit": "a.service"}, **known)
    return dict(writer("unit", certain=False, runs=runs, **known), names=None, value=None, sets=None)


OFF = dict(CIS, value=0, path="/etc/sysctl.d/99-zzz-cilium.conf")


@pytest.mark.parametrize("runs", ["procps", "systemd_sysctl", "unit"])
@pytest.mark.parametrize("agent", [None, AGENT])
def test_a_run_of_a_loader_that_may_come_changes_nothing_where_its_files_decide_the_same(runs, agent):
    facts = node(OFF, glob=dict(OFF, key="net.ipv4.conf.lxc*.rp_filter"), agent=agent, writers=[perhaps(runs)])
    for subject in ("all", "lxc*", "lxc1", "cilium_*"):
        for horizon in horizons.HORIZONS:
            state = horizons.at(facts, subject, horizon)
            assert (state["effective"], state["unknown"]) == (0, [])


def test_a_run_that_may_come_over_a_file_that_only_procps_reads_makes_the_boot_unknown():
    line = dict(CIS, path="/etc/sysctl.conf")
    facts = node(writers=[perhaps("procps")])
    facts["all"]["configured"] = {"systemd_sysctl": None, "procps": line, "unit": None}
    state = horizons.at(facts, "all", "boot")
    assert (state["effective"], state["possible"]) == (None, [0, 1])
    assert [place["path"] for place in state["unknown"]] == ["/etc/x"]
    assert horizons.at(dict(facts, other_writers=[perhaps("unit")]), "all", "boot")["possible"] == [0]


def test_a_run_of_a_loader_that_is_not_installed_writes_nothing():
    facts = node(writers=[perhaps("procps")])
    facts["loaders"]["procps"] = None
    assert horizons.at(facts, "all", "boot")["possible"] == [0]


def test_a_start_of_the_unit_gives_what_the_unit_gives_and_not_its_program_alone():
    facts = node(writers=[perhaps("unit", when=["periodic"])])
    facts["all"]["configured"] = {"systemd_sysctl": OFF, "procps": OFF, "unit": CIS}
    assert horizons.at(facts, "all", "interface")["possible"] == [0, 1]

"""The plan against a model of the kernel: what is written, in which order, and that no step weakens a device."""

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils import dropin, values
from ansible_collections.nodeward.cilium.plugins.module_utils.write import plan
from hypothesis import given, settings
from hypothesis import strategies as st

OPTIONS = plan.Options(["lxc*", "cilium_*"], "keep", None)
FRESH = dropin.parse(None)


def decider(tree):
    """name → the deciding line; line 7 of a file is as good as any."""
    lines = {name: plan.DecidingLine(value, "/etc/sysctl.d/60-tree.conf", 7) for name, value in (tree or {}).items()}
    return lines.get


def observed(running, kinds=None, tree=None, tree_with_cilium=None, standing=FRESH, loosened_by=None):
    """An observation; devices are uplinks, Cilium's by their names, or others if called o…."""

    def kind_of(device):
        if device.startswith(("lxc", "cilium_")):
            return "cilium"
        return "other" if device.startswith("o") else "uplink"

    kinds = {**{name: kind_of(name) for name in running if name not in ("all", "default")}, **(kinds or {})}
    after = tree if tree_with_cilium is None else tree_with_cilium
    return plan.Observed(running, kinds, decider(tree), decider(after), standing, loosened_by)


def file_lines(planned):
    return [(item.name, item.to) for item in planned.items if item.line]


def strength(value):
    return {0: 0, 2: 1, 1: 2}[value]


class Kernel:
    """rp_filter as the kernel keeps it: writing default reaches every device that nobody ever wrote."""

    def __init__(self, running, never_written):
        self.values = dict(running)
        self.never_written = set(never_written)

    def write(self, name, value):
        self.values[name] = value
        self.never_written.discard(name)
        if name == "default":
            self.values.update(dict.fromkeys(self.never_written, value))

    def effective(self, device):
        return max(self.values["all"], self.values[device])


# what the file gets


def test_an_ubuntu_node_as_it_comes():
    seen = observed({"all": 2, "default": 2, "eth0": 0, "lxc1": 0, "cilium_host": 2}, tree={"all": 2, "default": 2})
    planned = plan.present(OPTIONS, seen)
    assert file_lines(planned) == [("default", 2), ("lxc*", 0), ("cilium_*", 0), ("eth0", 2), ("all", 0)]
    assert planned.writes == [("cilium_host", 0), ("eth0", 2), ("all", 0)]


def test_a_healthy_node_needs_no_write():
    text = dropin.compose(
        plan.present(OPTIONS, observed({"all": 0, "default": 2, "eth0": 2, "lxc1": 0}, tree={"default": 2}))
    )
    seen = observed({"all": 0, "default": 2, "eth0": 2, "lxc1": 0}, standing=dropin.parse(text))
    planned = plan.present(OPTIONS, seen)
    assert planned.writes == []
    assert dropin.compose(planned) == text


def test_strict_is_stronger_than_loose_whichever_number_is_larger():
    # running gives loose, the tree gives strict through all
    seen = observed({"all": 2, "default": 0, "eth0": 0}, tree={"all": 1})
    assert ("eth0", 1) in file_lines(plan.present(OPTIONS, seen))
    # with its own loose, all=1 makes it loose
    seen = observed({"all": 0, "default": 0, "eth0": 2}, tree={"all": 1})
    assert ("eth0", 2) in file_lines(plan.present(OPTIONS, seen))
    # the kernel's own max(): all=2 makes a device's strict loose, and that is what it had
    seen = observed({"all": 2, "default": 0, "eth0": 1})
    assert ("eth0", 2) in file_lines(plan.present(OPTIONS, seen))


def test_what_cilium_s_own_file_took_is_given_back():
    seen = observed({"all": 0, "default": 0, "eth0": 0}, tree={"all": 1}, tree_with_cilium={"all": 0})
    planned = plan.present(OPTIONS, seen)
    assert file_lines(planned) == [("default", 1), ("lxc*", 0), ("cilium_*", 0), ("eth0", 1), ("all", 0)]
    (warning,) = planned.warnings
    for words in ("eth0", "off (0)", "strict (1)", "all = 1", "/etc/sysctl.d/60-tree.conf:7"):
        assert words in warning


# a value that was lowered at run time is left as it runs


@pytest.mark.parametrize("tree", [{"eth0": 1}, {"eth0": 2}, {"eth0": 2, "default": 1}])
def test_an_own_value_below_its_line_is_left_as_it_runs_without_a_pin(tree):
    planned = plan.present(OPTIONS, observed({"all": 0, "default": 0, "eth0": 0}, tree=tree))
    assert "eth0" not in dict(file_lines(planned))
    assert "eth0" not in [item.name for item in planned.items]
    assert ("eth0", 0) in planned.writes or "eth0" not in dict(planned.writes)
    (warning,) = planned.warnings
    words = f"{values.WORDS[tree['eth0']]} ({tree['eth0']})"
    for expected in ("uplink eth0", "off (0)", words, "/etc/sysctl.d/60-tree.conf:7", "left as it runs"):
        assert expected in warning


def test_loose_at_run_time_below_a_strict_line_is_left_loose():
    planned = plan.present(OPTIONS, observed({"all": 0, "default": 2, "eth0": 2}, tree={"eth0": 1}))
    assert "eth0" not in dict(file_lines(planned))
    assert planned.writes == []
    assert "loose (2)" in planned.warnings[0]


def test_default_of_the_tree_says_nothing_of_an_uplink_that_exists():
    planned = plan.present(OPTIONS, observed({"all": 0, "default": 1, "eth0": 0}, tree={"default": 1}))
    assert ("eth0", 0) in file_lines(planned)
    assert "default = 1" in planned.warnings[0]
    assert "/etc/sysctl.d/60-tree.conf:7" in planned.warnings[0]


def test_what_all_lends_is_pinned_although_the_own_line_is_stronger():
    # Before: max(all 2, own line 1) is loose after a boot as well; without a pin it would be strict then.
    planned = plan.present(OPTIONS, observed({"all": 2, "default": 0, "eth0": 0}, tree={"all": 2, "eth0": 1}))
    assert ("eth0", 2) in file_lines(planned)
    assert ("eth0", 2) in planned.writes


def test_a_bridge_that_an_exempt_glob_would_hit_has_a_line_whatever_runs():
    seen = observed({"all": 0, "default": 0, "lxcbr0": 0}, {"lxcbr0": "uplink"}, tree={"lxcbr0": 2})
    assert ("lxcbr0", 0) in file_lines(plan.present(OPTIONS, seen))


def test_the_stronger_of_the_running_value_and_the_pin():
    standing = dropin.parse(dropin.HEADER + "\n-net.ipv4.conf.eth0.rp_filter = 2\n")
    planned = plan.present(OPTIONS, observed({"all": 0, "default": 0, "eth0": 1}, standing=standing))
    assert ("eth0", 1) in file_lines(planned)
    assert planned.warnings == []


def test_what_all_gives_counts_beside_a_pin():
    standing = dropin.parse(dropin.HEADER + "\n-net.ipv4.conf.eth0.rp_filter = 0\n")
    planned = plan.present(OPTIONS, observed({"all": 0, "default": 0, "eth0": 0}, tree={"all": 1}, standing=standing))
    assert ("eth0", 1) in file_lines(planned)


def test_drift_from_a_pin_is_announced_with_its_place():
    path = "/etc/sysctl.d/99-override_cilium_rp_filter.conf"
    standing = dropin.parse(dropin.HEADER + "\n-net.ipv4.conf.eth0.rp_filter = 1\n", path)
    planned = plan.present(OPTIONS, observed({"all": 0, "default": 0, "eth0": 2}, standing=standing))
    assert ("eth0", 1) in planned.writes
    (warning,) = planned.warnings
    for words in ("eth0", "loose (2)", "strict (1)", path + ":2"):
        assert words in warning


def test_an_option_that_makes_an_uplink_stricter_says_so_in_the_plan():
    planned = plan.present(
        OPTIONS._replace(uplinks={"eth0": "strict"}), observed({"all": 0, "default": 0, "eth0": 2, "eth1": 2})
    )
    (item,) = [item for item in planned.items if item.name == "eth0"]
    assert "uplinks is strict" in item.why
    assert "loose (2)" in item.why


@pytest.mark.parametrize(
    ("tree", "pin", "words"),
    [
        ({}, None, "no line in sysctl.d sets its filter"),
        ({"eth0": 0}, None, "/etc/sysctl.d/60-tree.conf:7 sets it to 0"),
        ({"all": 0}, None, "no line in sysctl.d sets its filter"),
        ({}, 0, "/etc/sysctl.d/99-x.conf:2"),
    ],
)
def test_the_cause_of_an_unprotected_uplink_is_the_true_one(tree, pin, words):
    text = None if pin is None else dropin.HEADER + f"\n-net.ipv4.conf.eth0.rp_filter = {pin}\n"
    standing = dropin.parse(text, "/etc/sysctl.d/99-x.conf")
    planned = plan.present(OPTIONS, observed({"all": 0, "default": 0, "eth0": 0}, tree=tree, standing=standing))
    (warning,) = planned.warnings
    assert "uplink eth0 is unprotected" in warning
    assert words in warning
    if "no line" not in words:
        assert "no line" not in warning


def test_uplinks_that_a_pin_names_have_a_line_where_nothing_is_read():
    standing = dropin.parse(dropin.HEADER + "\n-net.ipv4.conf.eth0.rp_filter = 2\n")
    seen = plan.Observed({}, {}, {}.get, {}.get, standing, None)
    planned = plan.present(OPTIONS._replace(uplinks="strict"), seen)
    assert ("eth0", 1) in file_lines(planned)
    assert not any("none gets a line" in warning for warning in planned.warnings)


def test_a_pin_stands_whatever_the_running_value_is():
    standing = dropin.parse(dropin.HEADER + "\n-net.ipv4.conf.eth0.rp_filter = 1\n")
    planned = plan.present(OPTIONS, observed({"all": 0, "default": 0, "eth0": 0}, standing=standing))
    assert ("eth0", 1) in file_lines(planned)
    assert ("eth0", 1) in planned.writes


@pytest.mark.parametrize("kinds", [{}, {"eth0": "other"}])
def test_an_absent_or_addressless_device_keeps_its_pin(kinds):
    standing = dropin.parse(
        dropin.HEADER + "\n-net/ipv4/conf/eth0.100/rp_filter = 1\n-net.ipv4.conf.eth0.rp_filter = 2\n"
    )
    running = {"all": 0, "default": 0, **({"eth0": 0} if kinds else {})}
    lines = file_lines(plan.present(OPTIONS, observed(running, kinds, standing=standing)))
    assert ("eth0", 2) in lines
    assert ("eth0.100", 1) in lines


def test_only_an_option_takes_a_pin_away():
    standing = dropin.parse(dropin.HEADER + "\n-net.ipv4.conf.eth0.rp_filter = 1\n-net.ipv4.conf.eth1.rp_filter = 1\n")
    seen = observed({"all": 0, "default": 0, "eth0": 1, "eth1": 1}, {"eth1": "other"}, standing=standing)
    lines = dict(file_lines(plan.present(OPTIONS._replace(uplink_devices=["eth0"]), seen)))
    assert "eth1" not in lines
    assert lines["eth0"] == 1
    assert dict(file_lines(plan.present(OPTIONS._replace(uplinks="loose"), seen)))["eth0"] == 2


def test_an_uplink_that_ends_unprotected_is_named():
    planned = plan.present(OPTIONS, observed({"all": 0, "default": 0, "eth0": 0}))
    assert ("eth0", 0) in file_lines(planned)
    assert any("eth0 is unprotected" in warning for warning in planned.warnings)
    # who asks for off is not warned
    assert plan.present(OPTIONS._replace(uplinks="off"), observed({"all": 0, "default": 0, "eth0": 2})).warnings == []


def test_other_devices_keep_what_all_gave_them_and_get_no_line():
    planned = plan.present(OPTIONS, observed({"all": 1, "default": 1, "odocker": 0, "lxc1": 0}))
    assert ("odocker", 1) in planned.writes
    assert "odocker" not in dict(file_lines(planned))


def test_a_bridge_that_an_exempt_glob_would_hit_is_pinned():
    planned = plan.present(OPTIONS, observed({"all": 0, "default": 0, "lxcbr0": 2, "lxc1": 2}, {"lxcbr0": "other"}))
    assert ("lxcbr0", 2) in file_lines(planned)
    assert ("lxcbr0", 0) not in planned.writes
    assert ("lxc1", 0) in planned.writes


def test_default_keeps_what_all_and_default_gave_together():
    assert file_lines(plan.present(OPTIONS, observed({"all": 1, "default": 0})))[0] == ("default", 1)
    assert file_lines(plan.present(OPTIONS, observed({"all": 0, "default": 0}, tree={"all": 2, "default": 1})))[0] == (
        "default",
        2,
    )


def test_where_nothing_runs_the_tree_alone_decides():
    planned = plan.present(OPTIONS, plan.Observed({}, {}, decider({"all": 1, "default": 2}), {}.get, FRESH, None))
    assert file_lines(planned) == [("default", 1), ("lxc*", 0), ("cilium_*", 0), ("all", 0)]
    assert planned.writes == []
    assert planned.records == {}


def test_uplinks_by_mapping():
    options = OPTIONS._replace(uplinks={"eth0": "strict", "eth9": "loose"}, allow_absent=True)
    planned = plan.present(options, observed({"all": 0, "default": 0, "eth0": 2, "eth1": 2}))
    lines = dict(file_lines(planned))
    assert (lines["eth0"], lines["eth1"], lines["eth9"]) == (1, 2, 2)
    assert any("eth9 does not exist" in warning for warning in planned.warnings)


def test_cilium_s_mode_is_reported_and_left_alone():
    standing = dropin.parse(dropin.HEADER + "\n-net.ipv4.conf.eth0.rp_filter = 1\n")
    seen = observed({"all": 0, "default": 0, "eth0": 2}, standing=standing, loosened_by="the egress gateway")
    planned = plan.present(OPTIONS, seen)
    assert ("eth0", 1) in file_lines(planned)
    assert planned.writes == []
    assert any("egress gateway" in warning for warning in planned.warnings)


def test_a_name_that_no_file_can_hold_is_kept_now_and_named():
    planned = plan.present(OPTIONS, observed({"all": 1, "default": 0, "et*h": 0}))
    assert "et*h" not in dict(file_lines(planned))
    assert ("et*h", 1) in planned.writes
    assert any("et*h" in warning for warning in planned.warnings)


# what is refused


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"exempt": ["lxc*", "cilium_*", "a b"]}, "exempt: 'a b'"),
        ({"exempt": ["lxc*"]}, "'cilium_*' is missing"),
        ({"uplinks": "Strict"}, "uplinks: found 'Strict'"),
        ({"uplinks": {"eth0": 1}}, "uplinks: found '1' for device eth0"),
        ({"uplinks": {"eth0/1": "keep"}}, "uplinks: 'eth0/1'"),
        ({"uplinks": ["eth0"]}, "uplinks: found '['eth0']'"),
        ({"uplinks": {"eth0": ["strict"]}}, "for device eth0; expected keep, strict, loose or off"),
        ({"uplinks": False}, "uplinks: found 'False' (YAML reads off as false: write it in quotes)"),
        ({"uplinks": None}, "uplinks: found 'None'"),
        ({"uplinks": {0: "strict", "eth0": "loose"}}, "uplinks: '0' is no device name"),
        ({"uplink_devices": ["all"]}, "uplink_devices: 'all'"),
        ({"uplink_devices": ["eth7"]}, "device 'eth7' does not exist"),
        ({"uplinks": {"eth7": "keep"}}, "uplinks: device 'eth7' does not exist"),
        ({"uplink_devices": ["lxc1"]}, "'lxc1' is one of Cilium's"),
    ],
)
def test_options_that_cannot_be_right(options, words):
    with pytest.raises(dropin.DropinError) as refused:
        plan.present(OPTIONS._replace(**options), observed({"all": 0, "default": 0, "eth0": 2, "lxc1": 0}))
    assert words in str(refused.value)


# the text


def test_the_text_and_what_is_remembered_of_it():
    seen = observed({"all": 1, "default": 0, "eth0.100": 0, "lxc1": 2})
    text = dropin.compose(plan.present(OPTIONS, seen))
    assert [line for line in text.splitlines() if line and not line.startswith("#")] == [
        "net.ipv4.conf.default.rp_filter = 1",
        "-net.ipv4.conf.[l]xc*.rp_filter = 0",
        "-net.ipv4.conf.[c]ilium_*.rp_filter = 0",
        "-net/ipv4/conf/eth0.100/rp_filter = 1",
        "net.ipv4.conf.all.rp_filter = 0",
    ]
    assert "Plainly: lxc*, cilium_*" in text
    standing = dropin.parse(text, "/x.conf")
    assert standing._replace(others=None) == dropin.Standing(
        True,
        {"eth0.100": 1},
        1,
        {"all": 1, "default": 0, "eth0.100": 0},
        {"eth0.100": "/x.conf:%d" % (text.splitlines().index("-net/ipv4/conf/eth0.100/rp_filter = 1") + 1)},
        {"default": 1, "lxc*": 0, "cilium_*": 0, "eth0.100": 1, "all": 0},
        None,
        None,
        "/x.conf",
    )
    assert [line.value for line in standing.others] == ["0", "0", "0"]


def test_the_header_is_never_updated():
    first = dropin.compose(plan.present(OPTIONS, observed({"all": 1, "default": 0, "eth0": 0})))
    second = plan.present(
        OPTIONS, observed({"all": 0, "default": 1, "eth0": 1, "eth1": 2}, standing=dropin.parse(first))
    )
    assert second.records == {"all": 1, "default": 0, "eth0": 0}


def test_somebody_else_s_file_at_our_path_is_no_memory_of_records():
    standing = dropin.parse(
        "-net.ipv4.conf.lxc*.rp_filter = 0\nnet.ipv4.conf.eth0.rp_filter = 1\n# before: net.ipv4.conf.all.rp_filter=1\n"
    )
    assert standing[:4] == (False, {"eth0": 1}, None, {})


def planned_ubuntu():
    return plan.present(OPTIONS, observed({"all": 2, "default": 2, "eth0": 0, "lxc1": 0}))


@pytest.mark.parametrize(
    ("comments", "words"),
    [
        ("# ours\nnet.ipv4.ip_forward = 1", "header: line 2: found 'net.ipv4.ip_forward = 1'"),
        ("# ours\r-net.ipv4.conf.*.rp_filter = 2", "header: line 2"),
        ("# ours\0x = 1", "header: line 2"),
        ("# before: net.ipv4.conf.all.rp_filter=0", "header: line 1"),
        (dropin.HEADER, "header: line 1"),
        (" # x", "header: line 1"),
    ],
)
def test_only_comments_stand_above_the_header(comments, words):
    with pytest.raises(dropin.DropinError) as refused:
        dropin.check_comments(comments)
    assert words in str(refused.value)


def test_comments_stand_above_the_header():
    comments = "# managed by ansible\n\n# ask ops@example.org"
    dropin.check_comments(comments)
    assert dropin.compose(planned_ubuntu(), comments + "\n").startswith(comments + "\n" + dropin.HEADER)


# the order of writes

filter_values = st.sampled_from([0, 1, 2])
names = st.sampled_from(["lxc1", "lxc2", "cilium_host", "eth0", "eth1", "oveth", "odocker"])
nodes = st.builds(
    lambda running, all_, default: {**running, "all": all_, "default": default},
    st.dictionaries(names, filter_values),
    filter_values,
    filter_values,
)
trees = st.dictionaries(st.sampled_from(["all", "default", "eth0", "lxc1", "cilium_host", "oveth"]), filter_values)
modes = st.one_of(
    st.sampled_from(["keep", "strict", "loose", "off"]),
    st.dictionaries(st.sampled_from(["eth0", "eth1"]), st.sampled_from(["strict", "loose", "off"])),
)


def run(kernel, writes):
    """Write one by one; every state on the way, before and after included, as device → effective."""
    devices = [name for name in kernel.values if name not in ("all", "default")]
    states = [{device: kernel.effective(device) for device in devices}]
    for name, value in writes:
        kernel.write(name, value)
        states.append({device: kernel.effective(device) for device in devices})
    return states


def never_weaker(states):
    for state in states:
        for device, value in state.items():
            least = min(strength(states[0][device]), strength(states[-1][device]))
            assert strength(value) >= least, (device, states)


@settings(max_examples=600, deadline=None)
@given(nodes, trees, modes, st.sets(names), st.booleans())
def test_no_step_leaves_a_device_weaker_than_before_or_than_planned(running, tree, uplinks, never_written, remembered):
    options = OPTIONS._replace(uplinks=uplinks, allow_absent=True)
    standing = (
        dropin.parse(dropin.compose(plan.present(OPTIONS, observed(running, tree=tree)))) if remembered else FRESH
    )
    # the kernel: a device that nobody wrote has default's value
    never_written = {device for device in never_written & set(running) if running[device] == running["default"]}
    seen = observed(running, tree=tree, standing=standing)
    planned = plan.present(options, seen)
    kernel = Kernel(running, never_written)
    states = run(kernel, planned.writes)
    never_weaker(states)
    lines = dict(file_lines(planned))
    for device, value in states[-1].items():
        mode = uplinks if isinstance(uplinks, str) else uplinks.get(device, "keep")
        if seen.kinds[device] == "cilium":
            assert value == 0
        elif seen.kinds[device] == "other" or device not in lines:
            assert value == states[0][device]  # exactly what it had
        else:
            assert value == lines[device]
            if mode == "keep" and not remembered:
                through_all = max(tree.get("all", 0), running[device])
                assert strength(value) <= max(strength(states[0][device]), strength(through_all))
            if uplinks == "keep" and not remembered:
                assert strength(value) >= strength(states[0][device])
    assert kernel.values["default"] == lines["default"]
    assert kernel.values["all"] == 0
    # the second run writes nothing
    again = plan.present(
        options, observed({**kernel.values}, tree=tree, standing=dropin.parse(dropin.compose(planned)))
    )
    assert again.writes == []
    assert dropin.compose(again) == dropin.compose(planned)


@settings(max_examples=600, deadline=None)
@given(nodes, trees, st.sets(names))
def test_removal_is_never_weaker_on_the_way_and_ends_where_the_tree_or_the_records_say(running, tree, never_written):
    text = dropin.compose(plan.present(OPTIONS, observed(running, tree=tree)))
    hardened = {**running}
    kernel = Kernel(
        hardened, {device for device in never_written & set(running) if running[device] == running["default"]}
    )
    run(kernel, plan.present(OPTIONS, observed(running, tree=tree)).writes)
    seen = observed(dict(kernel.values), tree=tree, standing=dropin.parse(text))
    planned = plan.absent(seen, True)
    never_weaker(run(kernel, planned.writes))
    pinned = dropin.parse(text).pins
    for name in ("all", "default", *pinned):
        assert kernel.values[name] == tree.get(name, running[name]), name
    for device, kind in seen.kinds.items():
        if kind == "uplink" and device not in pinned:
            assert kernel.values[device] == running[device]  # it was never written
        elif device.startswith("cilium_"):
            assert kernel.values[device] == 0  # where the agent keeps it
        elif kind == "cilium":
            assert kernel.values[device] == tree.get(device, 0)


def test_rollback_leaves_cilium_s_host_interfaces_as_the_agent_keeps_them():
    text = dropin.compose(plan.present(OPTIONS, observed({"all": 0, "default": 0, "lxc1": 2, "cilium_host": 0})))
    tree = {"lxc1": 2, "cilium_host": 2, "cilium_net": 2}
    running = {"all": 0, "default": 0, "lxc1": 0, "cilium_host": 0, "cilium_net": 0}
    planned = plan.absent(observed(running, tree=tree, standing=dropin.parse(text)), True)
    assert planned.writes == [("lxc1", 2)]
    assert planned.warnings == []


@pytest.mark.parametrize("tree", [{}, {"lo": 2}])
def test_harden_then_absent_leaves_lo_as_it_was(tree):
    before = {"all": 1, "default": 1, "lo": 0, "eth0": 0}
    first = plan.present(OPTIONS, observed(before, {"lo": "other"}, tree=tree))
    kernel = Kernel(before, [])
    run(kernel, first.writes)
    assert kernel.values["lo"] == 1
    standing = dropin.parse(dropin.compose(first))
    run(kernel, plan.absent(observed(kernel.values, {"lo": "other"}, tree=tree, standing=standing), True).writes)
    assert kernel.values["lo"] == 0


def test_lo_is_left_as_it_runs_if_a_drop_in_has_no_record_of_it():
    standing = dropin.parse(dropin.HEADER + "\nnet.ipv4.conf.default.rp_filter = 1\n")
    seen = observed({"all": 0, "default": 1, "lo": 1}, {"lo": "other"}, tree={"lo": 2}, standing=standing)
    assert plan.absent(seen, True).writes == []


@settings(max_examples=600, deadline=None)
@given(nodes, nodes, trees, modes, st.sets(names))
def test_no_step_is_weaker_either_where_values_have_drifted(before, now, tree, uplinks, never_written):
    """The drop-in was made on other values than those that run now."""
    standing = dropin.parse(dropin.compose(plan.present(OPTIONS, observed(before, tree=tree))))
    never_written = {device for device in never_written & set(now) if now[device] == now.get("default")}
    seen = observed(now, tree=tree, standing=standing)
    options = OPTIONS._replace(uplinks=uplinks, allow_absent=True)
    never_weaker(run(Kernel(now, never_written), plan.present(options, seen).writes))
    kernel = Kernel(now, never_written)
    never_weaker(run(kernel, plan.absent(seen, True).writes))
    for device, kind in seen.kinds.items():
        if kind == "other":  # nothing of it is ours to take back, whatever becomes of default
            assert kernel.values[device] == now[device]


def test_without_a_drop_in_there_is_nothing_to_take_back():
    assert plan.absent(observed({"all": 0, "default": 0, "eth0": 0}, tree={"all": 1}), False).writes == []


def test_what_nobody_decides_or_recorded_is_left_alone_and_named():
    standing = dropin.parse(
        dropin.HEADER + "\nnet.ipv4.conf.default.rp_filter = 1\n-net.ipv4.conf.eth0.rp_filter = 1\n"
    )
    planned = plan.absent(observed({"all": 0, "default": 1, "eth0": 1}, standing=standing), True)
    assert planned.writes == []
    assert "net.ipv4.conf.eth0.rp_filter=1" in planned.warnings[0]


def test_what_somebody_else_s_file_gives_at_the_next_boot_is_not_lost():
    theirs = dropin.parse("net.ipv4.conf.default.rp_filter = 1\nnet.ipv4.conf.eth0.rp_filter = 1\n")
    lines = dict(file_lines(plan.present(OPTIONS, observed({"all": 0, "default": 0, "eth0": 0}, standing=theirs))))
    assert (lines["default"], lines["eth0"]) == (1, 1)

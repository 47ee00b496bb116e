"""What overrides the drop-in: lines on real folders of sysctl.d files, and the other writers."""

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils import dropin, sysctl_d
from ansible_collections.nodeward.cilium.plugins.module_utils.write import conflicts, plan

DROPIN = "/etc/sysctl.d/99-override_cilium_rp_filter.conf"
CILIUM = "/etc/sysctl.d/99-zzz-override_cilium.conf"
CILIUM_TEXT = (
    "-net.ipv4.conf.lxc*.rp_filter = 0\n-net.ipv4.conf.cilium_*.rp_filter = 0\nnet.ipv4.conf.all.rp_filter = 0\n"
)
OPTIONS = plan.Options(["lxc*", "cilium_*"], "keep", None)
RUNNING = {"all": 1, "default": 1, "eth0": 1, "lxc1": 0, "cilium_host": 0, "lxcbr0": 1}
KINDS = {"eth0": "uplink", "lxc1": "cilium", "cilium_host": "cilium", "lxcbr0": "other"}


def planned():
    nothing = {}.get
    return plan.present(OPTIONS, plan.Observed(RUNNING, KINDS, nothing, nothing, dropin.parse(None), None))


def found(tmp_path, files, links=(), procps=(4, 0, 4)):
    for path, text in {DROPIN: dropin.compose(planned()), **files}.items():
        (tmp_path / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path[1:]).write_text(text)
    for path, target in links:
        (tmp_path / path[1:]).symlink_to(target)
    tree = sysctl_d.read_tree(str(tmp_path))
    loaders = {
        conflicts.SYSTEMD: sysctl_d.SystemdSysctl(tree, 257),
        conflicts.PROCPS: sysctl_d.Procps(tree, procps),
    }
    return [
        (conflict.path, conflict.line, conflict.loaders, conflict.overrides)
        for conflict in conflicts.find(planned(), DROPIN, tree, loaders, KINDS)[0]
    ]


BOTH = ["sysctl --system", "systemd-sysctl"]
ALL = "net.ipv4.conf.all.rp_filter"


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("a=1\nb=1\nc=1\n", [2]),
        ("a=1\nb=1\nb=1\n", [2, 3]),
        ("b=1\nb = 1\nc=1", [1, 2]),
        ("b=1", [1]),
        ("a=1\n\n" + conflicts.MARK + "b=1\nb=1\nc=1\n", [4]),
    ],
)
def test_the_lines_that_were_disabled_are_found_again(text, numbers):
    after = text
    while any(row.startswith("b") for row in after.split("\n")):
        after = conflicts.disable(
            after, [number for number, row in enumerate(after.split("\n"), 1) if row.startswith("b")][-1:]
        )
    assert conflicts.disabled_lines(text, after) == numbers


def test_nothing_beats_it(tmp_path):
    assert (
        found(tmp_path, {"/usr/lib/sysctl.d/50-default.conf": "net.ipv4.conf.*.rp_filter = 2\n" + ALL + " = 1\n"}) == []
    )


@pytest.mark.parametrize("name", ["99-zzz-hard.conf", "zz-main-hardening.conf", "99-sysctl.conf"])
def test_a_later_file(tmp_path, name):
    path = "/etc/sysctl.d/" + name
    assert found(tmp_path, {path: "# baseline\n" + ALL + " = 1\n"}) == [(path, 2, BOTH, [ALL])]


def test_an_earlier_file_with_an_explicit_key_beats_our_glob(tmp_path):
    path = "/etc/sysctl.d/10-x.conf"
    assert found(tmp_path, {path: "net.ipv4.conf.lxcabc.rp_filter = 1\nnet.ipv4.conf.cilium_host.rp_filter=2\n"}) == [
        (path, 1, BOTH, ["net.ipv4.conf.lxc*.rp_filter"]),
        (path, 2, BOTH, ["net.ipv4.conf.cilium_*.rp_filter"]),
    ]


def test_procps_reads_sysctl_conf_last(tmp_path):
    assert found(tmp_path, {"/etc/sysctl.conf": ALL + " = 1\n"}) == [
        ("/etc/sysctl.conf", 1, ["sysctl --system"], [ALL])
    ]


def test_the_link_shows_where_the_file_is(tmp_path):
    rows = found(tmp_path, {"/etc/sysctl.conf": ALL + " = 1\n"}, [("/etc/sysctl.d/99-sysctl.conf", "../sysctl.conf")])
    assert rows == [
        ("/etc/sysctl.conf", 1, ["sysctl --system"], [ALL]),
        ("/etc/sysctl.d/99-sysctl.conf", 1, ["systemd-sysctl"], [ALL]),
    ]


def test_a_later_glob_and_a_narrow_one(tmp_path):
    path = "/etc/sysctl.d/99-sysctl.conf"
    assert found(tmp_path, {path: "net.ipv4.conf.*.rp_filter = 1\n"})[0][:2] == (path, 1)
    assert found(tmp_path, {path: "net.ipv4.conf.lxcab*.rp_filter = 1\n"}) == [
        (path, 1, BOTH, ["net.ipv4.conf.lxc*.rp_filter"])
    ]


def test_cilium_s_own_file_agrees_and_saves_us_from_a_glob_between(tmp_path):
    assert found(tmp_path, {CILIUM: CILIUM_TEXT}) == []
    assert (
        found(tmp_path, {CILIUM: CILIUM_TEXT, "/etc/sysctl.d/99-sysctl.conf": "net.ipv4.conf.*.rp_filter = 1\n"}) == []
    )


def test_a_loader_without_globs_has_no_conflict_with_globs(tmp_path):
    path = "/etc/sysctl.d/99-sysctl.conf"
    rows = found(tmp_path, {path: "net.ipv4.conf.*.rp_filter = 1\n"}, procps=(3, 3, 17))
    assert rows == [(path, 1, ["systemd-sysctl"], ["net.ipv4.conf.cilium_*.rp_filter", "net.ipv4.conf.lxc*.rp_filter"])]


def test_a_pin_that_is_beaten(tmp_path):
    path = "/etc/sysctl.d/zz.conf"
    assert found(tmp_path, {path: "net/ipv4/conf/eth0/rp_filter = 0\nnet.ipv4.conf.eth9.rp_filter=0\n"}) == [
        (path, 1, BOTH, ["net.ipv4.conf.eth0.rp_filter"])
    ]


def test_a_line_for_lxc_s_bridge_is_no_line_for_cilium_s_devices(tmp_path):
    rows = found(tmp_path, {"/etc/sysctl.d/zz.conf": "net.ipv4.conf.lxcbr0.rp_filter = 1\n"})
    assert rows == []


def test_disabling_and_restoring():
    text = "a = 1\nnet.ipv4.conf.all.rp_filter = 1\n# end"
    once = conflicts.disable(text, [2])
    assert once == "a = 1\n" + conflicts.MARK + "net.ipv4.conf.all.rp_filter = 1\n# end"
    assert conflicts.disable(once, [2]) == once
    assert conflicts.restore(once) == text


def test_what_a_baseline_adds_again_is_dropped_and_the_file_does_not_grow():
    text = "a = 1\nnet.ipv4.conf.all.rp_filter = 1\n"
    once = conflicts.disable(text, [2])
    assert conflicts.disable(once + "net/ipv4/conf/all/rp_filter=1\n", [3]) == once
    # another value is another line, and two alike are two
    assert conflicts.disable(once + "net.ipv4.conf.all.rp_filter=2\n", [3]).count(conflicts.MARK) == 2
    twice = "net.ipv4.conf.all.rp_filter=1\n" * 2
    assert conflicts.restore(conflicts.disable(twice, [1, 2])) == twice


def test_a_description_names_it_all():
    conflict = conflicts.Conflict(
        "/etc/sysctl.d/99-sysctl.conf", "/etc/sysctl.conf", 12, ALL, 1, ["systemd-sysctl"], [ALL], 0
    )
    assert conflicts.describe(conflict) == (
        "/etc/sysctl.d/99-sysctl.conf:12 (-> /etc/sysctl.conf) 'net.ipv4.conf.all.rp_filter = 1' overrides "
        "net.ipv4.conf.all.rp_filter = 0 under systemd-sysctl"
    )


def test_lines_are_dropped_from_the_end_so_that_their_numbers_stay_right():
    again = "net.ipv4.conf.all.rp_filter = 1\n"
    text = conflicts.MARK + again + again + "a = 1\n" + again + "b = 2\n"
    assert conflicts.disable(text, [2, 4]) == conflicts.MARK + again + "a = 1\nb = 2\n"


# `default`


def planned_default(value):
    seen = plan.Observed({"all": 0, "default": value}, {}, {}.get, {}.get, dropin.parse(None), None)
    return plan.present(OPTIONS, seen)


@pytest.mark.parametrize(
    ("running", "line", "all_before", "conflict"),
    [
        (2, 1, 0, False),
        (0, 1, 0, False),
        # Weaker, but as it is without the drop-in.
        (2, 0, 0, False),
        (1, 2, 0, False),
        (1, 2, 2, False),
        # Weaker because `all`, which the drop-in sets to 0, protected it.
        (2, 0, 2, True),
        (2, 0, 1, True),
    ],
)
def test_a_default_is_a_conflict_only_if_all_made_up_for_it(tmp_path, running, line, all_before, conflict):
    item = planned_default(running)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/sysctl.conf").write_text(f"# role\nnet.ipv4.conf.default.rp_filter = {line}\n")
    tree = sysctl_d.read_tree(str(tmp_path))
    arguments = (item, DROPIN, tree, {conflicts.PROCPS: sysctl_d.Procps(tree, (4, 0, 4))}, {})
    found, notes = conflicts.find(*arguments, given_all={conflicts.PROCPS: all_before})
    assert [each.path for each in found] == (["/etc/sysctl.conf"] if conflict else [])
    assert [note[:18] for note in notes] == ([] if conflict else ["/etc/sysctl.conf:2"])


def test_a_weaker_default_is_a_conflict_if_all_ran_before_the_first_run(tmp_path):
    seen = plan.Observed({"all": 1, "default": 0}, {}, {}.get, {}.get, dropin.parse(None), None)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/sysctl.conf").write_text("net.ipv4.conf.default.rp_filter = 0\n")
    tree = sysctl_d.read_tree(str(tmp_path))
    loaders = {conflicts.PROCPS: sysctl_d.Procps(tree, (4, 0, 4))}
    found, notes = conflicts.find(plan.present(OPTIONS, seen), DROPIN, tree, loaders, {})
    assert ([each.path for each in found], notes) == (["/etc/sysctl.conf"], [])


# other writers


def writer(by, **members):
    found = {
        "by": by,
        "path": "/etc/x",
        "line": 3,
        "text": "a line",
        "unit": None,
        "when": ["boot", "interface"],
        "names": ["*"],
        "value": None,
        "sets": None,
        "certain": True,
        "narrowed": False,
        "not_on": [],
        "runs": None,
        "active": True,
    }
    found.update(members)
    return found


def of_writers(writers):
    tree = sysctl_d.Tree({path: sysctl_d.Folder(None, {}) for path in sysctl_d.FOLDERS}, None, [])
    return conflicts.find(planned(), DROPIN, tree, {}, KINDS, writers)


LXC, HOST = "net.ipv4.conf.lxc*.rp_filter", "net.ipv4.conf.cilium_*.rp_filter"
PIN = "net.ipv4.conf.eth0.rp_filter"
DEFAULT = "net.ipv4.conf.default.rp_filter"
TUNED = {"names": ["all"], "sets": 1, "value": "1", "when": ["boot"], "unit": "tuned.service"}
SCRIPT = {"names": None, "certain": False}
RUN = {"names": ["*"], "sets": 1, "value": "1", "path": "/etc/udev/rules.d/99-zz-rpfilter.rules", "text": 'RUN+="x"'}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (writer("tuned", **TUNED), {ALL}),
        (writer("ufw", **TUNED), {ALL}),
        # tuned does not apply the line of a pin again, since that begins with a dash
        (writer("tuned", reapplied=True, **dict(TUNED, names=["eth0"], sets=2)), {PIN}),
        (writer("networkd", sets=2, value="loose"), {LXC, HOST, PIN, "net.ipv4.conf.lxcbr0.rp_filter"}),
        (writer("networkd", sets=2, value="loose", names=["eth0"]), {PIN}),
        (writer("networkd", sets=2, value="loose", not_on=["lxc*", "cilium_*", "eth*"]), set()),
        (writer("networkd", sets=1, value="strict", names=["lxcab*"]), {LXC}),
        (writer("udev", **RUN), {LXC, HOST}),
        (writer("udev", **dict(RUN, text="RUN+=\"sh -c 'for i in /proc/sys/net/ipv4/conf/*'\"")), {LXC, HOST, ALL}),
        (writer("cron", when=["periodic"], names=["lxc?*"], sets=1, value="1"), {LXC}),
        (writer("networkd", sets=1, value="strict", names=["lxcbr0", "eth0"]), set()),
        (
            writer("networkmanager-dispatcher", **SCRIPT),
            {ALL, LXC, HOST, PIN, DEFAULT, "net.ipv4.conf.lxcbr0.rp_filter"},
        ),
        # It may run late, when pods have interfaces.
        (writer("unit", when=["boot"], names=["lxc*"], sets=1, value="1"), {LXC}),
        (
            writer("unit", when=["boot"], names=["*"], sets=0, value="0"),
            {PIN, DEFAULT, "net.ipv4.conf.lxcbr0.rp_filter"},
        ),
    ],
)
def test_a_writer_that_overrides_a_planned_key(found, expected):
    given, _notes = of_writers([found])
    assert {key for conflict in given for key in conflict.overrides} == expected
    for conflict in given:
        assert (conflict.path, conflict.line, conflict.by) == (found["path"], 3, found["by"])
        assert "/etc/" in conflicts.describe(conflict)
        assert f"{found['path']}:3" in conflicts.remediation(conflict)


@pytest.mark.parametrize(
    "found",
    [
        writer("tuned", **dict(TUNED, sets=0, value="0")),
        writer("tuned", reapplied=True, **TUNED),
        writer("unit", before_loader=True, **TUNED),
        writer("unit", runs="procps", names=None),
        writer("cron", runs="systemd_sysctl", names=None, when=["periodic"]),
        writer("rc.local", runs="procps", names=None, certain=False),
        writer("unit", runs="unit", names=None, certain=False),
        writer("udev", when=["boot", "interface"], names=["lxc*"], sets=1, value="1", before_loader=True),
        writer("networkd", value="sometimes"),  # networkd ignores it
        writer("cron", names=["all"], sets=0, value="0", certain=False, when=["periodic"]),
    ],
)
def test_a_writer_that_agrees_or_comes_before_the_loader_is_neither_a_conflict_nor_a_note(found):
    assert of_writers([found]) == ([], [])


def of_tuned(path, sets=1, name="all"):
    return writer("tuned", reapplied=True, **dict(TUNED, path=path, sets=sets, value=str(sets), names=[name]))


BEFORE, AFTER = "/etc/sysctl.d/10-cis.conf", "/etc/sysctl.d/zz-cis.conf"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([of_tuned("/etc/sysctl.conf")], ["/etc/sysctl.conf"]),
        ([of_tuned(AFTER)], [AFTER]),
        ([of_tuned(BEFORE)], []),
        ([of_tuned(DROPIN)], []),  # it is replaced
        ([of_tuned(BEFORE, name="eth0", sets=2)], [BEFORE]),  # the line of a pin begins with a dash
        ([of_tuned(BEFORE, name="eth0", sets=2), of_tuned(DROPIN, name="eth0")], [BEFORE]),
        ([of_tuned(BEFORE, name="eth0", sets=2), of_tuned(AFTER, name="eth0", sets=1)], []),
        ([of_tuned(AFTER), of_tuned("/etc/sysctl.conf", 0)], []),
        ([of_tuned(AFTER, 0), of_tuned("/etc/sysctl.conf")], ["/etc/sysctl.conf"]),
    ],
)
def test_of_the_lines_that_tuned_applies_again_those_after_the_drop_in_are_conflicts(found, expected):
    given, _notes = of_writers(found)
    assert [conflict.path for conflict in given] == expected
    for conflict in given:
        assert "tuned applies at its start" in conflicts.remediation(conflict)
        assert "profile" not in conflicts.remediation(conflict)


def test_a_writer_that_does_not_run_is_a_note():
    given, notes = of_writers([writer("tuned", active=False, **TUNED)])
    assert given == []
    assert "/etc/x:3" in notes[0]
    assert "does not run now" in notes[0]


def test_an_unknown_key_of_a_networkmanager_connection_may_override_the_drop_in():
    (conflict,), notes = of_writers(
        [writer("networkmanager", names=["lxc1"], not_on=["all", "default"], certain=False, value=None, sets=None)]
    )
    assert (conflict.overrides, conflict.certain, conflict.value, notes) == ([LXC], False, None, [])


def test_networkmanager_loosens_strict_interfaces_and_that_is_a_note():
    given, notes = of_writers([writer("networkmanager", names=None, sets=2, certain=False)])
    assert given == []
    (note,) = notes
    assert "strict interface loose" in note
    assert PIN in note


def test_a_writer_of_default_that_is_not_weaker_is_a_note():
    given, notes = of_writers([writer("tuned", **dict(TUNED, names=["default"], sets=1))])
    assert (given, notes) == ([], [])
    given, notes = of_writers([writer("tuned", **dict(TUNED, names=["default"], sets=2))])
    assert [conflict.overrides for conflict in given] == [[DEFAULT]]


@pytest.mark.parametrize(
    ("rule", "overridden"),
    [
        (dict(RUN, names=["all"]), {ALL}),
        (dict(RUN, sets=2, value="2", not_on=["lxc*", "cilium_*"]), {PIN}),
        (dict(RUN, not_on=["*"]), set()),
        (dict(RUN, names=["*"], not_on=["all", "default", "eth0"]), {LXC, HOST}),
    ],
)
def test_what_a_rule_of_udev_leaves_out_is_no_conflict(rule, overridden):
    given, _notes = of_writers([writer("udev", **rule)])
    assert {key for conflict in given for key in conflict.overrides} == overridden


@pytest.mark.parametrize(
    ("text", "is_cured"),
    [
        ('RUN+="x"', True),
        ('RUN{program}="x"', True),
        ('RUN:="x"', False),
        ('SYSCTL{net/ipv4/conf/$name/rp_filter}="1"', False),
        ('PROGRAM="x"', False),
    ],
)
def test_the_collection_s_rule_is_offered_only_if_it_cures(text, is_cured):
    (first, *_others), _notes = of_writers([writer("udev", **dict(RUN, text=text))])
    assert ("udev=always" in conflicts.remediation(first)) is is_cured


def test_a_writer_s_description_says_what_is_known_of_its_value():
    (first,), _notes = of_writers([writer("tuned", **TUNED)])
    assert conflicts.describe(first) == (
        "/etc/x:3 'a line' (tuned, tuned.service) overrides net.ipv4.conf.all.rp_filter = 0 with 1"
    )
    (first,), _notes = of_writers([writer("cron", certain=False, names=["all"], when=["periodic"])])
    assert "may override net.ipv4.conf.all.rp_filter = 0 with a value that cannot be predicted" in conflicts.describe(
        first
    )


def test_what_a_writer_says_comes_back_printable():
    (first,), _notes = of_writers([writer("tuned", **dict(TUNED, text="x\udcff"))])
    str(conflicts.as_dict(first)).encode("utf-8")
    conflicts.describe(first).encode("utf-8")

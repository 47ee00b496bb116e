"""Whose line beats the drop-in, on real folders of sysctl.d files."""

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils import conflicts, plan, sysctl_d

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
    return plan.present(OPTIONS, plan.Observed(RUNNING, KINDS, nothing, nothing, plan.standing(None), None))


def found(tmp_path, files, links=(), procps=(4, 0, 4)):
    for path, text in {DROPIN: plan.compose(planned()), **files}.items():
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
        (conflict.path, conflict.line, conflict.loaders, conflict.beats)
        for conflict in conflicts.find(planned(), DROPIN, tree, loaders, KINDS)
    ]


BOTH = ["sysctl --system", "systemd-sysctl"]
ALL = "net.ipv4.conf.all.rp_filter"


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
        "/etc/sysctl.d/99-sysctl.conf:12 (-> /etc/sysctl.conf) 'net.ipv4.conf.all.rp_filter = 1' beats "
        "net.ipv4.conf.all.rp_filter = 0 under systemd-sysctl"
    )


def test_lines_are_dropped_from_the_end_so_that_their_numbers_stay_right():
    again = "net.ipv4.conf.all.rp_filter = 1\n"
    text = conflicts.MARK + again + again + "a = 1\n" + again + "b = 2\n"
    assert conflicts.disable(text, [2, 4]) == conflicts.MARK + again + "a = 1\nb = 2\n"

"""The commands of findings and of the diagnosis have what harden needs on that node."""

import shlex

import pytest
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge import overriding, remediation
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.catalogue import DIAGNOSE, HARDEN
from test_findings import BY_FILTER, DROPIN, HEALTHY, LATER, WRITER, both, changed, judge, ours

ALL_LATER = {("all", "configured"): both({**LATER, "key": "net.ipv4.conf.all.rp_filter"})}
EDITED = {("dropin", "intact"): False}
UDEV = {
    **WRITER,
    "by": "udev",
    "path": "/etc/udev/rules.d/99-zz.rules",
    "names": ["*"],
    "when": ["interface"],
    "text": "RUN+=\"/bin/sh -c 'echo 1 > /proc/sys/net/ipv4/conf/%k/rp_filter'\"",
}
NETWORKD = {
    **WRITER,
    "by": "networkd",
    "path": "/etc/systemd/network/zz.network",
    "names": ["*"],
    "when": ["interface"],
}


CREDENTIAL = {
    "value": 1,
    "path": "/etc/credstore/sysctl.extra",
    "line": 1,
    "key": "net.ipv4.conf.all.rp_filter",
    "overrides": True,
}


@pytest.mark.parametrize("overrides", [True, False])
def test_what_the_unit_sets_after_sysctl_d_is_named_before_harden_is_offered(overrides):
    line = {**CREDENTIAL, "overrides": overrides}
    rp_filter = changed(HEALTHY, {("all", "configured"): {"systemd_sysctl": None, "procps": None, "unit": line}})
    assert overriding.is_overridden(rp_filter) == overrides
    document = {"state": "dropping", "stories": [], "next": {}, "between_nodes": None}
    document["endpoint_routes"] = {"agent": False}
    titles = [each["title"] for each in remediation.remediations("node", rp_filter, document)]
    assert any("/etc/credstore/sysctl.extra:1" in title for title in titles) == overrides
    assert not any("disable systemd-sysctl.service" in title for title in titles)


def test_a_line_that_a_program_loads_as_well_is_one_that_harden_disables():
    loaded = {**WRITER, "by": "rc.local", "path": LATER["path"], "line": LATER["line"], "names": ["all"], "sets": 1}
    rp_filter = changed(HEALTHY, {**ALL_LATER, ("other_writers",): [{**loaded, "when": ["boot"]}]})
    assert overriding.harden_options(rp_filter) == {"rp_filter_conflicts": "disable"}
    assert not overriding.is_overridden(rp_filter)


@pytest.mark.parametrize(
    "path, overrides", [("/etc/sysctl.d/10-cis.conf", False), ("/etc/sysctl.conf", True)], ids=["earlier", "main file"]
)
def test_a_line_that_tuned_applies_after_the_drop_in_is_named_before_harden_is_offered(path, overrides):
    line = {**WRITER, "by": "tuned", "path": path, "names": ["all"], "value": "1", "sets": 1, "when": ["boot"]}
    rp_filter = changed(HEALTHY, {("other_writers",): [{**line, "reapplied": True, "active": True}]})
    assert overriding.is_overridden(rp_filter) == overrides


def test_a_command_of_the_unit_that_is_not_known_is_named_before_harden_is_offered():
    place = {"state": "unknown", "path": "/etc/x.conf", "line": 2, "text": "ExecStartPost=/sbin/tune"}
    unit = {("loaders", "systemd_sysctl"): {**HEALTHY["loaders"]["systemd_sysctl"], "unit_file": place}}
    plain = {("all", "configured"): {"systemd_sysctl": None, "procps": None}}
    assert not overriding.is_overridden(changed(HEALTHY, {**unit, **plain}))
    rp_filter = changed(HEALTHY, {**unit, ("all", "configured"): {**plain[("all", "configured")], "unit": None}})
    assert [(each.path, each.line) for each in overriding.writers(rp_filter)] == [("/etc/x.conf", 2)]


def stricter(path):
    return {("devices", "eth0", "configured"): both({**ours("eth0", 3, 1), "path": path})}


@pytest.mark.parametrize("changes, options", [
    ({}, {}),
    (ALL_LATER, {"rp_filter_conflicts": "disable"}),
    (EDITED, {"rp_filter_edited": "restore"}),
    ({**EDITED, **ALL_LATER}, {"rp_filter_conflicts": "disable", "rp_filter_edited": "restore"}),
    ({**EDITED, ("dropin", "format"): None}, {}),
    ({("other_writers",): [UDEV]}, {"rp_filter_udev": "always"}),
    ({("other_writers",): [NETWORKD]}, {}),
    ({("other_writers",): [UDEV, NETWORKD]}, {}),
    (stricter("/etc/sysctl.d/zz.conf"), {"rp_filter_conflicts": "disable", "rp_filter_uplinks": {"eth0": "strict"}}),
    (stricter("/etc/sysctl.d/10-a.conf"), {}),
    # No option ends what systemd-sysctl.service sets after the files of sysctl.d.
    ({("all", "configured"): {"systemd_sysctl": None, "procps": None, "unit": CREDENTIAL}}, {}),
    # It runs strict, and harden keeps that.
    ({**stricter("/etc/sysctl.d/zz.conf"), ("devices", "eth0", "effective"): 1}, {}),
])  # fmt: skip
def test_what_harden_has_to_be_given(changes, options):
    assert overriding.harden_options(changed(HEALTHY, changes)) == options


@pytest.mark.parametrize("changes, command", [
    ({}, HARDEN),
    (ALL_LATER, HARDEN + " --extra-vars rp_filter_conflicts=disable"),
    (EDITED, HARDEN + " --extra-vars rp_filter_edited=restore"),
    ({("other_writers",): [UDEV]}, HARDEN + " --extra-vars rp_filter_udev=always"),
    ({("other_writers",): [NETWORKD]}, DIAGNOSE),
    ({("loaders", "systemd_sysctl"): None}, DIAGNOSE),
])  # fmt: skip
def test_a_finding_prints_what_harden_does_not_refuse(changes, command):
    (found,) = [each for each in judge({**BY_FILTER, **changes}) if each["id"] == "RPF001"]
    assert found["remedy"]["command"] == command
    assert (found["remedy"]["variable"] or "none") in command + " none rp_filter_state"


def test_an_edited_drop_in_is_restored_and_a_foreign_file_replaced():
    (found,) = [each for each in judge(EDITED) if each["id"] == "RPF017"]
    assert found["remedy"] == {
        "variable": "rp_filter_edited",
        "command": HARDEN + " --extra-vars rp_filter_edited=restore",
    }
    (found,) = [each for each in judge({**EDITED, ("dropin", "format"): None}) if each["id"] == "RPF017"]
    assert found["subject"] == DROPIN and found["remedy"]["command"] == HARDEN


def test_arguments_are_quoted_for_a_shell():
    options = {"rp_filter_uplinks": {"eth0; reboot": "strict"}, "rp_filter_conflicts": "disable"}
    arguments = overriding.as_arguments(options, "-e")
    assert arguments[0] == "-e rp_filter_conflicts=disable"
    assert shlex.split(arguments[1]) == ["-e", '{"rp_filter_uplinks": {"eth0; reboot": "strict"}}']


def test_the_diagnosis_names_the_role_s_variable_and_the_order():
    def titles(writer, **loader):
        facts = changed(HEALTHY, {("other_writers",): [writer] if writer else []})
        facts["loaders"].update(loader)
        document = {"stories": [], "state": "dropping", "next": {}, "between_nodes": None}
        document["endpoint_routes"] = {"agent": None}
        return [(each["title"], each["commands"]) for each in remediation.remediations("node1", facts, document)]

    (by_udev, _none), (exempting, commands), _routing = titles(UDEV)
    assert "or set rp_filter_udev=always" in by_udev and not exempting.startswith("after that")
    assert all("-e rp_filter_udev=always" in command for command in commands)
    (_of_networkd, _none), (exempting, _commands), _routing = titles(NETWORKD)
    assert exempting.startswith("after that, ")
    (missing, _none), (exempting, _commands), _routing = titles(None, systemd_sysctl=None)
    assert missing.startswith("install systemd") and exempting.startswith("after that, ")

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import jobs
from observed_tree import node, places


@pytest.mark.parametrize("line, names, sets", [
    ("net.ipv4.conf.all.rp_filter=1", ["all"], 1), ("net/ipv4/conf/eth0.100/rp_filter=0", ["eth0.100"], 0),
    ("net.ipv4.conf.eth0/100.rp_filter=2", ["eth0.100"], 2), ("net.ipv4.conf.*.rp_filter = strict", ["*"], None),
])  # fmt: skip
def test_what_a_line_of_ufw_sets(tmp_path, line, names, sets):
    (writer,) = jobs.ufw(node(tmp_path, {"/etc/ufw/sysctl.conf": line + "\n"}))
    assert (writer["names"], writer["sets"]) == (names, sets)


def test_ufw_reads_its_own_file_or_the_one_that_is_configured(tmp_path):
    line = "# rp\nnet/ipv4/conf/all/rp_filter=1\nnet/ipv4/conf/all/accept_source_route=0\n"
    found = node(tmp_path / "a", {"/etc/ufw/sysctl.conf": line})
    assert places(jobs.ufw(found)) == [("ufw", "/etc/ufw/sysctl.conf", 2, "1")]
    found = node(tmp_path / "b", {"/etc/default/ufw": 'IPT_SYSCTL="/etc/mine.conf"\n', "/etc/mine.conf": line})
    assert places(jobs.ufw(found)) == [("ufw", "/etc/mine.conf", 2, "1")]


def test_ufw_without_a_configured_file_sets_nothing(tmp_path):
    files = {
        "/etc/default/ufw": "#IPT_SYSCTL=/etc/ufw/sysctl.conf\n",
        "/etc/ufw/sysctl.conf": "net/ipv4/conf/all/rp_filter=1\n",
    }
    assert jobs.ufw(node(tmp_path, files)) == []


def test_lines_of_tmpfiles_that_write_are_not_certain(tmp_path):
    path = "/proc/sys/net/ipv4/conf/%s/rp_filter"
    lines = [
        "# x",
        f"w {path} - - - - 2" % "all",
        f"w+! {path} - - - - 1" % "eth*",
        f"f {path} - - - - 1" % "all",
    ]
    files = {
        "/usr/lib/tmpfiles.d/a.conf": f"w {path} - - - - 1\n" % "all",
        "/etc/tmpfiles.d/a.conf": "\n".join(lines),
        "/etc/tmpfiles.d/b.txt": f"w {path} - - - - 1\n" % "all",
    }
    found = jobs.tmpfiles(node(tmp_path, files))
    assert [(each["path"], each["line"], each["names"], each["sets"]) for each in found] == [
        ("/etc/tmpfiles.d/a.conf", 2, ["all"], 2),
        ("/etc/tmpfiles.d/a.conf", 3, ["eth*"], 1),
    ]
    assert {(each["by"], each["certain"], each["active"], tuple(each["when"])) for each in found} == {
        ("tmpfiles", False, True, ("boot",))
    }


def test_the_commands_of_wg_quick(tmp_path):
    text = "[Interface]\nPostUp = sysctl -w net.ipv4.conf.%i.rp_filter=2\nPostDown = sysctl -w vm.swappiness=1\n"
    files = {"/etc/wireguard/wg0.conf": text, "/etc/wireguard/wg1.conf.bak": text}
    (writer,) = jobs.wireguard(node(tmp_path, files, enabled=["wg-quick@wg0.service"]))
    assert (writer["line"], writer["names"], writer["sets"], writer["unit"]) == (2, ["wg0"], 2, "wg-quick@wg0.service")
    assert (writer["by"], writer["active"], writer["when"]) == ("wg-quick", True, ["boot"])
    (writer,) = jobs.wireguard(node(tmp_path, files))
    assert writer["active"] is False


def test_scripts_that_cloud_init_runs_at_each_boot(tmp_path):
    path = "/var/lib/cloud/scripts/per-boot/a.sh"
    files = {path: "#!/bin/sh\nsysctl -w net.ipv4.conf.all.rp_filter=1\n"}
    for modes, active in (([path], True), ([], False)):
        (tmp_path / path[1:]).unlink(missing_ok=True)
        (writer,) = jobs.cloud_init(node(tmp_path, files, modes, enabled=["cloud-final.service"]))
        assert (writer["by"], writer["names"], writer["active"]) == ("cloud-init", ["all"], active)


@pytest.mark.parametrize("path", [
    "/etc/cloud/cloud.cfg", "/etc/cloud/cloud.cfg.d/99-hardening.cfg", "/var/lib/cloud/instance/cloud-config.txt",
])  # fmt: skip
@pytest.mark.parametrize("command", [
    "- sysctl -w net.ipv4.conf.all.rp_filter=1", "- [ sysctl, -w, net.ipv4.conf.all.rp_filter=1 ]",
    '- ["sysctl", "-w", "net.ipv4.conf.all.rp_filter=1"]', "- |\n    echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter",
    "- - sysctl\n    - -w\n    - net.ipv4.conf.all.rp_filter=1",
])  # fmt: skip
def test_the_commands_that_cloud_init_runs_at_each_boot_are_not_certain(tmp_path, path, command):
    text = f"#cloud-config\npackages: [x]\nbootcmd:\n  # filter\n  {command}\nruncmd:\n  - sysctl --system\n"
    files = {path: text}
    (writer,) = jobs.cloud_init(node(tmp_path, files, enabled=["cloud-init.service"]))
    assert (writer["by"], writer["path"], writer["when"], writer["active"]) == ("cloud-init", path, ["boot"], True)
    assert writer["names"] in (None, ["all"]) and not writer["certain"]
    assert writer["line"] == text[: text.index("rp_filter")].count("\n") + 1
    files["/etc/cloud/cloud-init.disabled"] = ""
    (writer,) = jobs.cloud_init(node(tmp_path, files, enabled=["cloud-init.service"]))
    assert writer["active"] is False


@pytest.mark.parametrize("conf, enabled, active", [
    ("ENABLED=yes\n", ["ufw.service"], True), ("ENABLED=no\n", ["ufw.service"], False), ("ENABLED=yes\n", [], False),
])  # fmt: skip
def test_ufw_is_active_if_its_unit_and_its_configuration_enable_it(tmp_path, conf, enabled, active):
    files = {"/etc/ufw/ufw.conf": conf, "/etc/ufw/sysctl.conf": "net/ipv4/conf/all/rp_filter=1\n"}
    (writer,) = jobs.ufw(node(tmp_path, files, enabled=enabled))
    assert (writer["active"], writer["when"]) == (active, ["boot"])


PROFILE = "[main]\nsummary=node\n\n[sysctl]\nvm.swappiness=10\nnet.ipv4.conf.all.rp_filter=1\n"


def test_the_active_profile_of_tuned_and_what_it_includes(tmp_path):
    files = {
        "/etc/tuned/active_profile": "mine\n",
        "/etc/tuned/mine/tuned.conf": "[main]\ninclude=base, ../../evil\n[sysctl]\nnet.ipv4.conf.all.rp_filter=2\n",
        "/usr/lib/tuned/base/tuned.conf": "[main]\ninclude=mine\n[sysctl]\nnet.ipv4.conf.default.rp_filter = 1\n",
        "/usr/lib/tuned/other/tuned.conf": "[sysctl]\nnet.ipv4.conf.default.rp_filter=1\n",
    }
    # The included profile is applied first.
    assert places(jobs.tuned(node(tmp_path, files))) == [
        ("tuned", "/usr/lib/tuned/base/tuned.conf", 4, "1"),
        ("tuned", "/etc/tuned/mine/tuned.conf", 4, "2"),
    ]


@pytest.mark.parametrize("main, reapplied", [
    ("daemon = 1\nreapply_sysctl = 0\n", None), ("reapply_sysctl = 1\n", True), ("", True),
    ("reapply_sysctl_exclude = vm.*, net.ipv4.conf.*\n", None), ("reapply_sysctl_exclude = vm.*\n", True),
])  # fmt: skip
def test_whether_tuned_applies_sysctl_d_after_its_own_line(tmp_path, main, reapplied):
    files = {
        "/etc/tuned/active_profile": "k8s-node\n",
        "/etc/tuned/tuned-main.conf": main,
        "/etc/tuned/profiles/k8s-node/tuned.conf": PROFILE,
    }
    (writer,) = jobs.tuned(node(tmp_path, files, enabled=["tuned.service"]))
    assert places([writer]) == [("tuned", "/etc/tuned/profiles/k8s-node/tuned.conf", 6, "1")]
    assert (writer.get("reapplied"), writer["active"], writer["certain"]) == (reapplied, True, True)


SYSCTL_D = {
    "/run/sysctl.d/20-x.conf": "net.ipv4.conf.all.rp_filter = 2\n",
    "/etc/sysctl.d/20-x.conf": "net.ipv4.conf.all.rp_filter = 1\n",
    "/etc/sysctl.d/10-a.conf": "# x\n;net.ipv4.conf.all.rp_filter=1\nnet/ipv4/conf/default/rp_filter=1 # strict\n"
    "-net.ipv4.conf.eth0.rp_filter = 1\nnet.ipv4.conf.*.rp_filter = 1\nnet.ipv4.conf.eth0.rp_filter=x\n-net.ipv4\n",
    "/etc/sysctl.d/30-x": "net.ipv4.conf.all.rp_filter = 1\n",
    "/usr/lib/sysctl.d/50-default.conf": "net.ipv4.conf.all.rp_filter = 1\n",
    "/etc/sysctl.conf": "vm.swappiness=1\nnet.ipv4.conf.all.rp_filter = 1\n",
}
REAPPLIED = [
    ("/etc/sysctl.d/10-a.conf", 3, ["default"], 1, True),
    ("/run/sysctl.d/20-x.conf", 1, ["all"], 2, False),
    ("/etc/sysctl.conf", 2, ["all"], 1, True),
]


@pytest.mark.parametrize("main, profile, expected", [
    ("", "[sysctl]\nvm.swappiness=10\n", REAPPLIED), ("", "[x]\ntype=sysctl\n", REAPPLIED),
    ("", "[sysctl]\nenabled=0\nvm.swappiness=10\n", []), ("", "[cpu]\ngovernor=performance\n", []),
    ("reapply_sysctl=0\n", "[sysctl]\nvm.swappiness=10\n", []),
    ("reapply_sysctl_exclude=net.ipv4.conf.all.*\n", "[sysctl]\nvm.swappiness=10\n", REAPPLIED[:1]),
])  # fmt: skip
def test_any_sysctl_section_of_tuned_applies_the_literal_lines_of_sysctl_d_again(tmp_path, main, profile, expected):
    files = {"/etc/tuned/active_profile": "k\n", "/etc/tuned/tuned-main.conf": main}
    files["/etc/tuned/profiles/k/tuned.conf"] = profile
    writers = jobs.tuned(node(tmp_path, dict(files, **SYSCTL_D), enabled=["tuned.service"]))
    found = [(each["path"], each["line"], each["names"], each["sets"], each["certain"]) for each in writers]
    assert found == expected
    for each in writers:
        assert (each["by"], each["unit"], each["when"], each["active"]) == ("tuned", "tuned.service", ["boot"], True)
        assert each["reapplied"]


def test_what_tuned_applies_again_follows_its_own_lines(tmp_path):
    files = {"/etc/tuned/active_profile": "k\n", "/etc/tuned/profiles/k/tuned.conf": PROFILE}
    writers = jobs.tuned(node(tmp_path, dict(files, **SYSCTL_D)))
    assert [each["path"] for each in writers] == [
        "/etc/tuned/profiles/k/tuned.conf", *(path for path, *_rest in REAPPLIED)
    ]  # fmt: skip


def test_an_option_of_a_tuned_profile_replaces_that_of_an_included_one(tmp_path):
    files = {
        "/etc/tuned/active_profile": "mine\n",
        "/etc/tuned/mine/tuned.conf": "[main]\ninclude=base\n[sysctl]\nnet.ipv4.conf.all.rp_filter=>1\n",
        "/usr/lib/tuned/base/tuned.conf": "[sysctl]\nnet.ipv4.conf.all.rp_filter=2 # x\n"
        "net.ipv4.conf.${if}.rp_filter=2\n",
    }
    writers = jobs.tuned(node(tmp_path, files))
    # ">1" depends on the running value, a variable may be any interface.
    assert [(each["value"], each["names"], each["certain"]) for each in writers] == [
        (">1", ["all"], False),
        ("2", None, False),
    ]


def test_the_script_of_a_tuned_profile_is_read(tmp_path):
    script = "/etc/tuned/mine/script.sh"
    files = {
        "/etc/tuned/active_profile": "mine\n",
        "/etc/tuned/mine/tuned.conf": "[script]\nscript=${i:PROFILE_DIR}/script.sh\n",
        script: "#!/bin/sh\nsysctl -w net.ipv4.conf.all.rp_filter=1\n",
    }
    (writer,) = jobs.tuned(node(tmp_path, files, [script], ["tuned.service"]))
    assert places([writer]) == [("tuned", script, 2, "1")]
    assert writer["active"] is True


GENERATOR = "/usr/lib/systemd/system-generators/systemd-%s-generator"


@pytest.mark.parametrize("executable, masked, active", [
    (True, False, True), (False, False, False), (True, True, False),
])  # fmt: skip
def test_rc_local_runs_at_boot_if_it_is_executable_and_not_masked(tmp_path, executable, masked, active):
    files = {"/etc/rc.local": "#!/bin/sh\nsysctl -w net.ipv4.conf.all.rp_filter=1\n", GENERATOR % "rc-local": ""}
    if masked:
        files["/etc/systemd/system/rc-local.service"] = ""
    (writer,) = jobs.rc_local(node(tmp_path, files, ["/etc/rc.local"] if executable else []))
    assert (writer["by"], writer["line"], writer["sets"], writer["active"]) == ("rc.local", 2, 1, active)
    assert writer["when"] == ["boot"]


@pytest.mark.parametrize("linked, native, active", [(True, False, True), (False, False, False), (True, True, None)])
def test_an_init_script_runs_if_it_is_linked_and_no_unit_has_its_name(tmp_path, linked, native, active):
    path = "/etc/init.d/rpf"
    files = {path: "#!/bin/sh\nsysctl -w net.ipv4.conf.all.rp_filter=1\n", GENERATOR % "sysv": ""}
    if native:
        files["/usr/lib/systemd/system/rpf.service"] = "[Service]\n"
    found = node(tmp_path, files, [path])
    if linked:
        (tmp_path / "etc/rc3.d").mkdir()
        (tmp_path / "etc/rc3.d/S01rpf").symlink_to("../init.d/rpf")
    expected = [] if native else [("init.d", 2, active)]  # Debian's procps: its native unit is systemd-sysctl.service
    assert [(each["by"], each["line"], each["active"]) for each in jobs.init_d(found)] == expected


CRONTAB = """\
SHELL=/bin/sh
# * * * * * root sysctl -w net.ipv4.conf.all.rp_filter=9
*/5 * * * *  root  sysctl -w net.ipv4.conf.all.rp_filter=1
@reboot root echo 2 > /proc/sys/net/ipv4/conf/default/rp_filter
17 * * * * root sysctl net.ipv4.conf.all.rp_filter
0 4 * * * root /usr/sbin/sysctl --system
1 1 * * * www-data sysctl -w net.ipv4.conf.all.rp_filter=3
"""


def test_crontabs_with_a_field_for_the_user(tmp_path):
    writers = jobs.cron(node(tmp_path, {"/etc/crontab": CRONTAB}, enabled=["cron.service"]))
    assert [(e["line"], e["names"], e["sets"], e["runs"], e["when"], e["active"]) for e in writers] == [
        (3, ["all"], 1, None, ["periodic"], True),
        (4, ["default"], 2, None, ["boot"], True),
        (6, None, None, "procps", ["periodic"], True),
        (7, ["all"], 3, None, ["periodic"], None),
    ]


def test_rc_local_that_perhaps_runs_a_loader(tmp_path):
    text = "#!/bin/sh\nif [ -e /proc/sys/net/bridge ]; then sysctl --system; fi\nexit 0\n"
    found = node(tmp_path, {"/etc/rc.local": text}, running=["rc-local.service"])
    assert [(each["line"], each["runs"], each["names"], each["certain"]) for each in jobs.rc_local(found)] == [
        (2, "procps", None, False)
    ]


def test_crontabs_of_users_have_no_field_for_the_user(tmp_path):
    line = "* * * * * sysctl -w net.ipv4.conf.all.rp_filter=1\n"
    files = {"/var/spool/cron/crontabs/root": line, "/var/spool/cron/joe": line}
    writers = jobs.cron(node(tmp_path, files, running=["crond.service"]))
    assert [(each["path"], each["active"]) for each in writers] == [
        ("/var/spool/cron/crontabs/root", True),
        ("/var/spool/cron/joe", None),
    ]


def test_folders_of_cron_need_a_name_and_a_mode_that_run_parts_takes(tmp_path):
    text = "#!/bin/sh\nsysctl -w net.ipv4.conf.all.rp_filter=1\n"
    names = ["/etc/cron.daily/c.sh", "/etc/cron.hourly/a", "/etc/cron.hourly/b"]
    files = dict(dict.fromkeys(names, text), **{"/etc/debian_version": "13"})
    writers = jobs.cron(node(tmp_path, files, names[:2], ["cron.service"]))
    assert {each["path"]: each["active"] for each in writers} == {names[0]: False, names[1]: True, names[2]: False}


def test_anacrontab_and_the_folders_that_a_table_names(tmp_path):
    script = "#!/bin/sh\nsysctl -w net.ipv4.conf.all.rp_filter=2\n"
    files = {
        "/etc/anacrontab": "SHELL=/bin/sh\n# 1 5 x sysctl -w net.ipv4.conf.all.rp_filter=1\n"
        "1\t5\tcis.daily\tsysctl -w net.ipv4.conf.all.rp_filter=1\n",
        "/etc/crontab": "*/5 * * * * root cd / && run-parts --report /etc/cron.five\n",
        "/etc/cron.five/cis": script,
    }
    writers = jobs.cron(node(tmp_path, files, ["/etc/cron.five/cis"], ["cron.service"]))
    assert [(each["path"], each["line"], each["sets"], each["when"]) for each in writers] == [
        ("/etc/anacrontab", 3, 1, ["periodic"]),
        ("/etc/cron.five/cis", 2, 2, ["periodic"]),
    ]


def test_kernel_parameters_are_applied_before_the_loader(tmp_path):
    text = "ro sysctl.net.ipv4.conf.all.rp_filter=1 sysctl/net/ipv4/conf/eth0/rp_filter=2 sysctl.vm.swappiness=1\n"
    found = jobs.kernel(node(tmp_path, {"/proc/cmdline": text}))
    assert [(each["names"], each["sets"], each["certain"], each["before_loader"]) for each in found] == [
        (["all"], 1, True, True),
        (["eth0"], 2, False, True),
    ]
    assert found[0]["text"] == "sysctl.net.ipv4.conf.all.rp_filter=1"

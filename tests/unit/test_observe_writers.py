import os

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import network, scripts, writers
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.files import Reader
from observed_tree import EnabledUnits, lay

WRITE = "#!/bin/sh\nsysctl -w net.ipv4.conf.all.rp_filter=1\n"
FILES = {
    "/etc/crontab": "@reboot root sysctl -w net.ipv4.conf.all.rp_filter=1\n* * * * * root sysctl --system\n",
    "/etc/rc.local": WRITE,
    "/etc/tuned/active_profile": "mine\n",
    "/etc/tuned/mine/tuned.conf": "[sysctl]\nnet.ipv4.conf.all.rp_filter=1\n",
    "/etc/network/interfaces": "auto eth0\niface eth0 inet dhcp\n up sysctl -w net.ipv4.conf.eth0.rp_filter=1\n",
    "/etc/systemd/network/a.network": "[Network]\nIPv4ReversePathFilter=no\n",
    "/etc/ufw/sysctl.conf": "net/ipv4/conf/all/rp_filter=1\n",
    "/etc/udev/rules.d/99-zz.rules": 'ACTION=="add", SUBSYSTEM=="net", '
    "RUN+=\"/bin/sh -c 'echo 1 > /proc/sys/net/ipv4/conf/%k/rp_filter'\"\n",
}
MEMBERS = set(scripts.writer("unit", "/x", 1, "x"))


def unit(path, line, when, **known):
    return scripts.writer("unit", path, line, "ExecStart=", when=when, names=["all"], value="1", sets=1, **known)


def find(root, files=FILES, executable=(), enabled=(), in_units=(), running=()):
    lay(root, dict(files), executable)
    reader = Reader(str(root))
    found, suspects = writers.find(reader, EnabledUnits(enabled, in_units), running=frozenset(running))
    assert reader.unread == []
    return found, suspects


def test_writers_are_in_the_order_in_which_they_write_at_boot(tmp_path):
    in_units = [unit("/p.timer", 1, ["periodic"], unit="p.service"), unit("/b.service", 2, ["boot"], unit="b.service")]
    found, _suspects = find(tmp_path, in_units=in_units)
    assert [(each["by"], each["when"]) for each in found] == [
        ("udev", found[0]["when"]),
        ("ufw", ["boot"]),
        ("networkd", ["boot", "interface"]),
        ("ifupdown", ["boot"]),
        ("unit", ["boot"]),
        ("tuned", ["boot"]),
        ("rc.local", ["boot"]),
        ("cron", ["boot"]),
        ("unit", ["periodic"]),
        ("cron", ["periodic"]),
    ]
    assert all(set(each) >= MEMBERS for each in found)


def test_a_writer_runs_if_its_unit_runs_now(tmp_path):
    in_units = [unit("/b.service", 2, ["boot"], unit="b.service", active=False)]
    found, _suspects = find(tmp_path, in_units=in_units, running=["b.service", "ufw.service"])
    assert {each["unit"] for each in found if each["active"] and each["by"] != "udev"} == {"b.service", "ufw.service"}


def test_a_script_that_its_unit_and_its_folder_name_is_one_writer(tmp_path):
    by_unit = dict(unit("/etc/rc.local", 2, ["boot"], unit="rc-local.service"), by="unit", active=True)
    found, _suspects = find(tmp_path, {"/etc/rc.local": WRITE}, in_units=[by_unit])
    assert found == [by_unit]


def test_a_mention_in_a_folder_that_nothing_runs_is_a_suspect_and_not_a_writer(tmp_path):
    files = {
        "/usr/local/sbin/manage.sh": "#!/bin/sh\n# rp_filter\necho 1 > /proc/sys/net/ipv4/conf/$1/rp_filter\n",
        "/opt/vendor/bin/tool": "x = 'rp_filter'\n",
        "/opt/vendor/comment": "# rp_filter\n",
    }
    lay(tmp_path, files)
    (tmp_path / "opt/vendor/binary").write_bytes(b"\x7fELF\0rp_filter\n")
    os.mkfifo(tmp_path / "opt/fifo")
    (tmp_path / "opt/loop").symlink_to("/opt")
    assert find(tmp_path, files) == (
        [],
        [
            {
                "path": "/usr/local/sbin/manage.sh",
                "line": 3,
                "text": "echo 1 > /proc/sys/net/ipv4/conf/$1/rp_filter",
            },
            {"path": "/opt/vendor/bin/tool", "line": 1, "text": "x = 'rp_filter'"},
        ],
    )


@pytest.mark.parametrize("path", ["/etc/modprobe.d/x.conf", "/etc/keepalived/up.sh", "/etc/libvirt/hooks/network"])
def test_a_mention_among_the_commands_of_other_events_is_a_suspect(tmp_path, path):
    found, suspects = find(tmp_path, {path: "install x /sbin/sysctl -w net.ipv4.conf.all.rp_filter=1\n"})
    assert (found, [each["path"] for each in suspects]) == ([], [path])


def test_a_script_that_a_writer_was_found_in_is_not_a_suspect(tmp_path):
    files = {"/usr/local/bin/x": WRITE, "/etc/crontab": "@daily root /usr/local/bin/x\n"}
    found, suspects = find(tmp_path, files)
    assert ([(each["by"], each["path"]) for each in found], suspects) == ([("cron", "/usr/local/bin/x")], [])


def test_folders_deeper_than_the_bound_are_noted(tmp_path):
    lay(tmp_path, {"/opt/a/b/c/x": "rp_filter\n", "/opt/a/b/c/d/y": "rp_filter\n"})
    reader = Reader(str(tmp_path))
    _found, suspects = writers.find(reader, EnabledUnits())
    assert [each["path"] for each in suspects] == ["/opt/a/b/c/x"]
    assert [entry["what"] for entry in reader.unread] == ["/opt/a/b/c/d"]


@pytest.mark.parametrize("version, expected", [(254, []), (255, ["networkd"]), (None, ["networkd"])])
def test_networkd_knows_the_setting_from_255(tmp_path, version, expected):
    lay(tmp_path, {"/etc/systemd/network/a.network": "[Network]\nIPv4ReversePathFilter=no\n"})
    found, _suspects = writers.find(Reader(str(tmp_path)), EnabledUnits(), version)
    assert [each["by"] for each in found] == expected
    assert network.NETWORKD_SINCE == 255

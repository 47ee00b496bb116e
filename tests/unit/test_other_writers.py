import os

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils import other_writers


def find(tmp_path, files):
    for path, text in files.items():
        (tmp_path / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path[1:]).write_text(text)
    writers, unread = other_writers.find(str(tmp_path))
    assert unread == []
    return [(writer["by"], writer["path"], writer["line"], writer["value"]) for writer in writers]


NETWORK = "[Match]\nName=eth0\n[Network]\nIPv4ReversePathFilter=strict\n"


def test_networkd(tmp_path):
    found = find(
        tmp_path,
        {
            "/etc/systemd/network/10-eth.network": NETWORK,
            "/usr/lib/systemd/network/10-eth.network": NETWORK,  # masked by the one in /etc
            "/usr/lib/systemd/network/20-x.network": "[Match]\nName=x\n",
            "/usr/lib/systemd/network/20-x.network.d/a.conf": "[Network]\nIPv4ReversePathFilter = no\n",
            # Without its unit it is none.
            "/usr/lib/systemd/network/25-x.network.d/a.conf": "[Network]\nIPv4ReversePathFilter = no\n",
            "/etc/systemd/network/30-x.netdev": NETWORK,
            "/etc/systemd/network/40-x.network": "[Match]\nIPv4ReversePathFilter=strict\n# [Network]\n",
        },
    )
    assert found == [
        ("networkd", "/etc/systemd/network/10-eth.network", 4, "strict"),
        ("networkd", "/usr/lib/systemd/network/20-x.network.d/a.conf", 2, "no"),
    ]


@pytest.mark.parametrize("match, names, narrowed", [
    ("Name=eth0", ["eth0"], False), ("Name=en* eth?", ["en*", "eth?"], False),
    ("Name=lxc*\nName=en*", ["lxc*", "en*"], False), ("Name=lxc*\nName=\nName=en*", ["en*"], False),
    ("Name=!lxc*", None, True), ("Type=ether", None, True), ("Name=lxc* \\\n en*", None, True),
    ("Type=ether\nName=e*", ["e*"], True), ("Name=", ["*"], False), ("# Name=x", ["*"], False),
])  # fmt: skip
def test_which_devices_networkd_means(tmp_path, match, names, narrowed):
    folder = tmp_path / "etc/systemd/network"
    (folder / "10-x.network.d").mkdir(parents=True)
    (folder / "10-x.network").write_text("[Match]\n%s\n[Network]\nIPv4ReversePathFilter=loose\n" % match)
    (folder / "10-x.network.d/a.conf").write_text("[Network]\nIPv4ReversePathFilter=yes\n")
    writers, _unread = other_writers.find(str(tmp_path))
    assert [(each["line"], each["value"], each["sets"]) for each in writers] == [
        (len(match.splitlines()) + 3, "loose", 2),
        (2, "yes", None),
    ]
    assert [(each["names"], each["narrowed"], each["not_on"]) for each in writers] == [(names, narrowed, [])] * 2


def test_drop_ins_of_all_folders_are_in_the_order_of_their_names(tmp_path):
    for path, match in (("etc/systemd/network/x.network", "eth0"), ("etc/systemd/network/x.network.d/z.conf", ""),
                        ("usr/lib/systemd/network/x.network.d/a.conf", "eth1")):  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("[Match]\nName=%s\n[Network]\nIPv4ReversePathFilter=no\n" % match)
    writers, _unread = other_writers.find(str(tmp_path))
    # The last takes the names back, so the unit is for every device.
    assert [(each["path"].split("/")[-1], each["names"]) for each in writers] == [
        ("x.network", ["*"]),
        ("a.conf", ["*"]),
        ("z.conf", ["*"]),
    ]


def test_networkd_applies_the_first_unit_that_matches(tmp_path):
    strict = "[Network]\nIPv4ReversePathFilter=strict\n"
    files = {
        "run/systemd/network/05-narrow.network": "[Match]\nName=wl*\nType=wlan\n",
        "usr/lib/systemd/network/10-cilium.network": "[Match]\nName=lxc* cilium_*\n[Link]\nUnmanaged=yes\n",
        "etc/systemd/network/20-eth.network": "[Match]\nName=eth0\n" + strict,
        "etc/systemd/network/30-empty.network": "",
        "etc/systemd/network/99-all.network": "[Match]\nName=*\n" + strict,
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    writers, _unread = other_writers.find(str(tmp_path))
    assert [(each["names"], each["not_on"]) for each in writers] == [
        (["eth0"], ["lxc*", "cilium_*"]),
        (["*"], ["lxc*", "cilium_*", "eth0"]),
    ]
    # Before 255 it does not know the setting.
    assert other_writers.find(str(tmp_path), 254)[0] == []
    assert other_writers.find(str(tmp_path), 255)[0] == writers


@pytest.mark.parametrize("line, names, sets", [
    ("net.ipv4.conf.all.rp_filter=1", ["all"], 1), ("net/ipv4/conf/eth0.100/rp_filter=0", ["eth0.100"], 0),
    ("net.ipv4.conf.eth0/100.rp_filter=2", ["eth0.100"], 2), ("net.ipv4.conf.*.rp_filter = strict", ["*"], None),
])  # fmt: skip
def test_what_a_line_of_ufw_sets(tmp_path, line, names, sets):
    (tmp_path / "etc/ufw").mkdir(parents=True)
    (tmp_path / "etc/ufw/sysctl.conf").write_text(line + "\n")
    (writer,), _unread = other_writers.find(str(tmp_path))
    assert (writer["names"], writer["sets"]) == (names, sets)


def test_ufw_by_its_own_file_and_by_a_named_one(tmp_path):
    line = "# rp\nnet/ipv4/conf/all/rp_filter=1\nnet/ipv4/conf/all/accept_source_route=0\n"
    assert find(tmp_path, {"/etc/ufw/sysctl.conf": line}) == [("ufw", "/etc/ufw/sysctl.conf", 2, "1")]
    assert find(tmp_path, {"/etc/default/ufw": 'IPT_SYSCTL="/etc/mine.conf"\n', "/etc/mine.conf": line}) == [
        ("ufw", "/etc/mine.conf", 2, "1")
    ]


def test_the_active_profile_of_tuned_and_what_it_includes(tmp_path):
    found = find(
        tmp_path,
        {
            "/etc/tuned/active_profile": "mine\n",
            "/etc/tuned/mine/tuned.conf": "[main]\ninclude=base, ../../evil\n[sysctl]\nnet.ipv4.conf.all.rp_filter=2\n",
            "/usr/lib/tuned/base/tuned.conf": "[main]\ninclude=mine\n[sysctl]\nnet.ipv4.conf.default.rp_filter = 1\n",
            "/usr/lib/tuned/other/tuned.conf": "[sysctl]\nnet.ipv4.conf.default.rp_filter=1\n",
        },
    )
    assert found == [
        ("tuned", "/etc/tuned/mine/tuned.conf", 4, "2"),
        ("tuned", "/usr/lib/tuned/base/tuned.conf", 4, "1"),
    ]


def test_network_manager_s_connectivity_checks_and_scripts(tmp_path):
    found = find(
        tmp_path,
        {
            "/usr/lib/NetworkManager/conf.d/20-connectivity.conf": "[connectivity]\nuri=http://example.invalid/check\n",
            "/etc/NetworkManager/NetworkManager.conf": "[main]\nuri=no\n",
            "/etc/NetworkManager/dispatcher.d/10-x": "#!/bin/sh\n# rp_filter\nsysctl net.ipv4.conf.$1.rp_filter=1\n",
        },
    )
    assert found == [
        ("networkmanager", "/usr/lib/NetworkManager/conf.d/20-connectivity.conf", 2, None),
        ("networkmanager", "/etc/NetworkManager/dispatcher.d/10-x", 3, None),
    ]


def test_what_is_no_file_is_never_waited_for(tmp_path):
    (tmp_path / "etc/ufw").mkdir(parents=True)
    os.mkfifo(tmp_path / "etc/ufw/sysctl.conf")
    (tmp_path / "etc/systemd/network/x.network").mkdir(parents=True)
    assert other_writers.find(str(tmp_path))[0] == []

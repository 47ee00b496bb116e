"""What stands on a hardened node, seen from outside and not through Ansible."""

import pytest

DROPIN = "/etc/sysctl.d/99-override_cilium_rp_filter.conf"


def test_the_drop_in_is_roots_and_readable_by_all(host):
    dropin = host.file(DROPIN)
    assert dropin.is_file
    assert (dropin.user, dropin.group, dropin.mode) == ("root", "root", 0o644)


def test_nothing_is_left_beside_the_drop_in(host):
    names = [name for name in host.file("/etc/sysctl.d").listdir() if "cilium" in name]
    assert names == [DROPIN.rpartition("/")[2]]


@pytest.mark.parametrize("key", ["all", "cilium_host", "cilium_net", "cilium_vxlan"])
def test_the_filter_is_off_where_cilium_needs_it(host, key):
    assert host.sysctl(f"net.ipv4.conf.{key}.rp_filter") == 0


def test_the_uplink_keeps_its_filter(host):
    assert host.sysctl("net.ipv4.conf.eth0.rp_filter") == 2


def test_the_unit_that_loads_the_drop_in_is_fine(host):
    unit = host.service("systemd-sysctl.service")
    journal = host.run("journalctl --no-pager --boot --unit systemd-sysctl.service").stdout
    assert unit.is_running, journal
    # A container may not write everything; what is ours it may.
    assert [line for line in journal.splitlines() if "rp_filter" in line and "Couldn't" in line] == []

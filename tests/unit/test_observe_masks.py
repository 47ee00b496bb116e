"""Files below /run that hide others: what they hide may come back at the next boot."""

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils import sysctl_d
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import masks, udev
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.files import Reader
from observed_tree import lay

PATTERNS = ["lxc*", "cilium_*"]
RULE = 'ACTION=="add", SUBSYSTEM=="net", RUN+="/usr/lib/systemd/systemd-sysctl --prefix=/net/ipv4/conf/$name"\n'
VENDOR = "net.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.all.rp_filter\n"


def found(root, uplinks=("eth0",)):
    reader = Reader(str(root))
    return masks.writers(reader, sysctl_d.read_tree(str(root)), 257, udev.Rules(reader), PATTERNS, uplinks)


@pytest.mark.parametrize("folder", ["run", "etc"])
def test_a_rule_behind_a_mask_may_run_again_if_the_mask_is_gone_at_boot(tmp_path, folder):
    lay(tmp_path, {"/usr/lib/udev/rules.d/99-systemd.rules": RULE, f"/{folder}/udev/rules.d/99-systemd.rules": ""})
    writers = found(tmp_path)
    if folder == "etc":
        assert writers == []
        return
    (writer,) = writers
    assert (writer["path"], writer["names"], writer["runs"]) == (
        "/run/udev/rules.d/99-systemd.rules",
        PATTERNS,
        "systemd_sysctl",
    )
    assert (writer["certain"], writer["when"]) == (False, ["boot"])


def test_lines_behind_a_mask_are_named_where_they_would_decide(tmp_path):
    lay(tmp_path, {"/usr/lib/sysctl.d/50-default.conf": VENDOR, "/run/sysctl.d/50-default.conf": ""})
    writers = found(tmp_path)
    assert [(each["names"], each["path"], each["line"], each["sets"]) for each in writers] == [
        (["default"], "/usr/lib/sysctl.d/50-default.conf", 1, 2),
        (["lxc*"], "/usr/lib/sysctl.d/50-default.conf", 1, 2),
        (["cilium_*"], "/usr/lib/sysctl.d/50-default.conf", 1, 2),
        (["eth0"], "/usr/lib/sysctl.d/50-default.conf", 1, 2),
    ]
    # Once the drop-in decides, nothing changes if the mask goes.
    lay(tmp_path, {"/etc/sysctl.d/99-x.conf": "\n".join(f"net.ipv4.conf.{name}.rp_filter = 0" for name in PATTERNS)})
    assert [each["names"] for each in found(tmp_path)] == [["default"], ["eth0"]]

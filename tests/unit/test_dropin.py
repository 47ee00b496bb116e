"""The drop-in's format: who wrote it and in which version, what its lines say to a loader, and what was edited."""

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils import dropin, sysctl_d
from ansible_collections.nodeward.cilium.plugins.module_utils.write import plan
from hypothesis import given, settings
from hypothesis import strategies as st

PATH = "/etc/sysctl.d/99-override_cilium_rp_filter.conf"
OPTIONS = plan.Options(["lxc*", "cilium_*"], "keep", None)


def composed(**running):
    running = {"all": 0, "default": 2, **running}
    kinds = {name: "uplink" for name in running if name not in ("all", "default")}
    return dropin.compose(
        plan.present(OPTIONS, plan.Observed(running, kinds, {}.get, {}.get, dropin.parse(None), None))
    )


# who wrote it


@pytest.mark.parametrize(
    ("row", "number"),
    [
        (dropin.HEADER, 1),
        ("# nodeward.cilium.rp_filter, format 0", 0),
        ("# nodeward.cilium.rp_filter, format 2", 2),
        ("# nodeward.cilium.rp_filter, format 12", 12),
        ("# nodeward.cilium.rp_filter, format 1\r", 1),
        ("# nodeward.cilium.rp_filter, format 99999999999", None),
        ("# nodeward.cilium.rp_filter, format one", None),
        ("# nodeward.cilium.rp_filter, format", None),
        ("# see nodeward.cilium.rp_filter, format 1", None),
        ("# note\u2028# nodeward.cilium.rp_filter, format 1", None),
    ],
)
def test_the_number_of_the_format(row, number):
    assert dropin.format_of("#\n" + row + "\nnet.ipv4.conf.all.rp_filter = 0\n") == number


@pytest.mark.parametrize("number", [2, 12, 100])
def test_a_newer_format_is_refused_and_both_versions_are_named(number):
    text = composed(eth0=1).replace("format 1", f"format {number}")
    with pytest.raises(dropin.DropinError) as error:
        dropin.parse(text, PATH)
    for words in (PATH, f"format {number},", "up to 1", "Update the collection"):
        assert words in str(error.value)


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_a_newer_version_reads_every_older_format_with_its_records(monkeypatch, number):
    text = composed(eth0=1).replace("format 1", f"format {number}")
    monkeypatch.setattr(dropin, "FORMAT", 3)
    standing = dropin.parse(text, PATH)
    assert standing.ours
    assert standing.pins == {"eth0": 1}
    assert standing.records == {"all": 0, "default": 2, "eth0": 1}


# what its lines say to a loader


@pytest.mark.parametrize(
    "row",
    [
        "# note\u2028net.ipv4.conf.eth9.rp_filter = 1",
        "# note\x85net.ipv4.conf.eth9.rp_filter = 1",
        "# note\x0cnet.ipv4.conf.eth9.rp_filter = 1",
        "# note\x1cnet.ipv4.conf.eth9.rp_filter = 1",
        "; note\x0bnet.ipv4.conf.eth9.rp_filter = 1",
        "--net.ipv4.conf.eth9.rp_filter = 1",
        "---net.ipv4.conf.eth9.rp_filter = 1",
        "-net.ipv4.conf.eth9.rp_filter",
        "net.ipv4.conf.eth9.rp_filter = on",
        "\xa0net.ipv4.conf.eth9.rp_filter = 1",
    ],
)
def test_what_is_no_assignment_to_the_loader_is_no_pin(row):
    assert dropin.parse(dropin.HEADER + "\n" + row + "\n").pins == {}


@pytest.mark.parametrize(
    "row",
    [
        "-net.ipv4.conf.eth9.rp_filter = 1",
        "- net.ipv4.conf.eth9.rp_filter = 1",
        "net/ipv4/conf/eth9/rp_filter=0x1",
        "# note\rnet.ipv4.conf.eth9.rp_filter = 1",
        "/net/ipv4/conf/eth9/rp_filter = 1 # strict",
    ],
)
def test_what_is_an_assignment_to_the_loader_is_a_pin(row):
    assert dropin.parse(dropin.HEADER + "\n" + row + "\n").pins == {"eth9": 1}


@pytest.mark.parametrize("row", ["net.ipv4.conf.eth9.rp_filter =", "net/ipv4/conf/eth9/rp_filter = x"])
def test_a_later_line_that_is_no_number_takes_the_place_of_a_pin(row):
    assert dropin.parse(dropin.HEADER + "\nnet.ipv4.conf.eth9.rp_filter = 1\n" + row + "\n").pins == {}


pieces = st.sampled_from(
    ["net.ipv4.conf.eth9.rp_filter", "net/ipv4/conf/eth9/rp_filter", "net.ipv4.conf.eth9/1.rp_filter", "=", " = ", "1"]
    + ["0", "2", "7", "-", "#", ";", " ", "\t", "\n", "\n", "\n", "\r", "\r\n", "\0", "\x0b", "\x0c", "\x1c", "\x85"]
    + ["\u2028", "\u2029", "\xa0", "note", "net.ipv4.conf.all.rp_filter", "net.ipv4.conf.default.rp_filter"]
)


@settings(max_examples=1500, deadline=None)
@given(st.lists(pieces, max_size=24).map("".join))
def test_the_pins_are_what_the_resolver_makes_of_the_file(tmp_path_factory, text):
    root = tmp_path_factory.getbasetemp() / "one-file"
    (root / "etc/sysctl.d").mkdir(parents=True, exist_ok=True)
    (root / PATH[1:]).write_bytes(text.encode())
    loader = sysctl_d.SystemdSysctl(sysctl_d.read_tree(str(root)), 257)
    found = {}
    for name in ("eth9", "eth9.1", "default"):
        winner = loader.winner(sysctl_d.conf_key(name))
        if winner:
            found[name] = min(max(sysctl_d.kernel_integer(winner.value), 0), 2)  # below 0 is off
    standing = dropin.parse(text, PATH)
    default = {} if standing.default is None else {"default": standing.default}
    assert {**standing.pins, **default} == found


# what was edited


def edited(old, new):
    text = composed(eth0=1, eth1=2)
    assert old in text
    return dropin.parse(text.replace(old, new), PATH)


def test_a_drop_in_as_written_has_no_edits():
    assert dropin.parse(composed(eth0=1), PATH).edits is None
    assert dropin.parse(composed(eth0=1) + "\n# a note\u2028net.ipv4.conf.eth9.rp_filter = 1\n", PATH).edits is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "eth0.rp_filter = 1",
            "eth0.rp_filter = 0",
            ["line 23, '-net.ipv4.conf.eth0.rp_filter = 0', was written as 1"],
        ),
        (
            "-net.ipv4.conf.eth1.rp_filter = 2\n",
            "",
            ["the line 'net.ipv4.conf.eth1.rp_filter = 2' was removed"],
        ),
        (
            "\nnet.ipv4.conf.all",
            "\nnet.ipv4.conf.eth2.rp_filter=1\nnet.ipv4.conf.all",
            ["line 27, 'net.ipv4.conf.eth2.rp_filter=1', was added"],
        ),
        ("\nnet.ipv4.conf.all", "\nkernel.sysrq = 1\nnet.ipv4.conf.all", ["line 27, 'kernel.sysrq = 1', was added"]),
        ("\nnet.ipv4.conf.all", "\nrubbish\nnet.ipv4.conf.all", ["line 27, 'rubbish', was added"]),
        (
            "net.ipv4.conf.all.rp_filter = 0",
            "net.ipv4.conf.all.rp_filter = 1",
            ["line 27, 'net.ipv4.conf.all.rp_filter = 1', was written as 0"],
        ),
        (
            "-net.ipv4.conf.[l]xc*.rp_filter = 0\n",
            "",
            ["the line 'net.ipv4.conf.lxc*.rp_filter = 0' was removed"],
        ),
    ],
)
def test_the_lines_that_were_edited_are_named(old, new, said):
    found = [dropin.describe_edit(edit) for edit in edited(old, new).edits]
    assert found == said


def test_a_digest_that_was_taken_out_hides_no_edit():
    text = composed(eth0=1)
    digest = next(row for row in text.splitlines() if row.startswith(dropin.DIGEST))
    text = text.replace(digest + "\n", "")
    assert dropin.parse(text, PATH).edits is None
    assert dropin.parse(text.replace("eth0.rp_filter = 1", "eth0.rp_filter = 0"), PATH).edits


def test_a_line_behind_a_carriage_return_is_an_edit():
    text = composed(eth0=1) + "# note\rnet.ipv4.conf.all.rp_filter = 1\n"
    assert dropin.is_intact(text) is False
    assert dropin.parse(text, PATH).edits


def test_restored_pins_are_as_written():
    standing = dropin.restored(edited("eth0.rp_filter = 1", "eth0.rp_filter = 0"))
    assert (standing.pins, standing.default, standing.edits) == ({"eth0": 1, "eth1": 2}, 2, None)
    assert set(standing.places) == {"eth0", "eth1"}


def test_without_written_lines_no_edit_is_named_and_nothing_is_restored():
    written = next(row for row in composed(eth0=1, eth1=2).splitlines() if row.startswith(dropin.WRITTEN))
    text = composed(eth0=1, eth1=2).replace(written + "\n", "").replace("eth0.rp_filter = 1", "eth0.rp_filter = 0")
    standing = dropin.parse(text, PATH)
    assert standing.edits == ()
    assert dropin.restored(standing).pins == {"eth0": 0, "eth1": 2}


OTHER_EDIT = ("\nnet.ipv4.conf.all", "\nkernel.sysrq = 1\nnet.ipv4.conf.all")


@pytest.mark.parametrize(
    ("choice", "edit", "words"),
    [
        (
            "fail",
            ("eth0.rp_filter = 1", "eth0.rp_filter = 0"),
            ["line 23,", "written as 1", "edited=restore"],
        ),
        ("adopt", OTHER_EDIT, ["line 27, 'kernel.sysrq = 1'", "Line 27 cannot be adopted", "another file"]),
        ("adopt", ("[l]xc*.rp_filter = 0", "[l]xc*.rp_filter = 1"), ["cannot be adopted"]),
        ("adopt", ("conf.all.rp_filter = 0", "conf.all.rp_filter = 2"), ["cannot be adopted"]),
        ("adopt", ("[l]xc*.rp_filter = 0", "[l]xc*.rp_filter = 0\n-net.ipv4.conf.eni*.rp_filter = 0"), ["exempt"]),
    ],
)
def test_edits_that_are_refused(choice, edit, words):
    with pytest.raises(plan.PlanError) as error:
        plan.settle(edited(*edit), choice, OPTIONS.exempt)
    for expected in words:
        assert expected in str(error.value)


def test_adopted_lines_count_as_written():
    standing, warnings = plan.settle(edited("eth0.rp_filter = 1", "eth0.rp_filter = 0"), "adopt", OPTIONS.exempt)
    assert (standing.pins["eth0"], standing.edits) == (0, None)
    assert "edited=adopt" in warnings[0]
    assert plan.settle(edited("# The reverse", "# the reverse"), "fail", OPTIONS.exempt)[1] == []

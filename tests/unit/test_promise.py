"""The promise: no interface that is not exempt ends weaker than before harden, nor is weaker at any step.

Whole runs of the writer on a model of a node: its files are real ones in a folder, its kernel is a model. What
"before" is, is worked out here by the loaders' resolvers alone, not by the plan.

PROMISES=20000 sets the number of generated nodes, SEED=… repeats a run. Without these, 150 nodes are always the same.
"""

import os
import random
import shutil
from types import SimpleNamespace

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils import dropin, sysctl_d
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import routes as observe_routes
from ansible_collections.nodeward.cilium.plugins.module_utils.write import (
    conflicts,
    files,
    plan,
    transaction,
)
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from test_transaction import ALL_STRICT, BASELINE, LATER, PATH, VENDOR, Model, model, refused, strict  # noqa: F401
from test_transaction import real_read_text as read_text
from test_transaction import real_read_tree as read_tree

PROMISES = int(os.environ.get("PROMISES", "150"))
SEED = int(os.environ.get("SEED", random.SystemRandom().getrandbits(32) if "PROMISES" in os.environ else 77))
CILIUM = "/etc/sysctl.d/99-zzz-override_cilium.conf"


def strength(value):
    return {0: 0, 2: 1, 1: 2}[value]


def strongest(values):
    return max(values, key=strength, default=0)


def pin(device, value):
    return f"-net.ipv4.conf.{device}.rp_filter = {value}\n"


# ---- lines that this run disables ------------------------------------------------------------------------------------


@pytest.fixture
def off(model):  # noqa: F811
    """A node on which nothing was ever filtered, with a drop-in that pins eth0 at 0."""
    os.unlink(model.root + VENDOR)
    model.values.update(dict.fromkeys(model.values, 0))
    model.run()
    assert pin("eth0", 0) in model.text(PATH).decode()
    return model


@pytest.mark.parametrize("running", [1, 0], ids=["sysctl --system has run", "the agent has set all to 0 again"])
def test_a_line_for_all_that_is_disabled_leaves_its_protection(off, running):
    off.file(LATER, ALL_STRICT)
    off.values["all"] = running
    warnings = off.run(conflicts="disable")["warnings"]
    assert off.values == {**off.values, "all": 0, "default": 1, "eth0": 1, "veth9": 1, "lxc1": 0}
    assert pin("eth0", 1) in off.text(PATH).decode()
    assert not any("unprotected" in warning for warning in warnings)
    assert not off.run(conflicts="disable")["changed"]


def test_a_line_that_procps_alone_reads_counts_too(off):
    off.file("/etc/sysctl.conf", ALL_STRICT)
    off.run(conflicts="disable")
    assert (off.values["eth0"], off.values["default"]) == (1, 1)
    assert not off.run(conflicts="disable")["changed"]


@pytest.mark.parametrize("apply", ["always", "never"])
def test_an_absent_uplink_is_not_weaker_either(off, apply):
    off.remove("eth0")
    off.file(LATER, ALL_STRICT)
    off.run(conflicts="disable", apply=apply)
    assert pin("eth0", 1) in off.text(PATH).decode()


@pytest.mark.parametrize("line", ["net.ipv4.conf.eth0.rp_filter = 1\n", "net.ipv4.conf.[!ad]*.rp_filter = 1\n"])
def test_a_line_of_its_own_is_not_disabled_below_a_weaker_running_value(off, line):
    if "*" in line:  # a glob decides nothing that the drop-in pins
        os.unlink(off.root + PATH)
    off.file(LATER, line)
    refused(off, LATER + ":1", "eth0", "strict (1)", "off (0)", "uplinks", conflicts="disable")
    off.run(conflicts="disable", uplinks={"eth0": "strict"})
    assert off.values["eth0"] == 1


def test_an_absent_uplink_keeps_what_a_disabled_line_of_its_own_gives(off):
    off.remove("eth0")
    off.file(LATER, pin("eth0", 1))
    off.run(conflicts="disable")
    assert pin("eth0", 1) in off.text(PATH).decode()


def test_a_disabled_glob_leaves_its_value_to_interfaces_to_come(off):
    off.file(LATER, "net.ipv4.conf.*.rp_filter = 1\n")
    off.values["eth0"] = 1
    off.run(conflicts="disable")
    assert off.values["default"] == 1
    assert not off.run(conflicts="disable")["changed"]


def test_a_glob_of_a_file_that_is_replaced_leaves_its_value_to_interfaces_to_come(model):  # noqa: F811
    os.unlink(model.root + VENDOR)
    model.values.update(dict.fromkeys(model.values, 0), eth0=1)
    model.file(PATH, "net.ipv4.conf.*.rp_filter = 1\n")
    model.run()
    assert model.values["default"] == 1


# ---- interfaces to come ----------------------------------------------------------------------------------------------


def test_default_gets_what_a_baseline_has_given_since(model):  # noqa: F811
    model.run()
    assert "default.rp_filter = 2" in model.text(PATH).decode()
    model.file("/etc/sysctl.conf", ALL_STRICT + "net.ipv4.conf.default.rp_filter = 1\n")
    model.values.update(all=1, default=1)
    model.run(conflicts="disable")
    assert model.values["default"] == 1
    assert "net.ipv4.conf.default.rp_filter = 1" in model.text(PATH).decode()
    assert not model.run(conflicts="disable")["changed"]


@pytest.mark.parametrize("apply", ["always", "never"])
def test_default_gets_what_the_tree_gives_although_a_drop_in_stands(model, apply):  # noqa: F811
    model.run()
    model.file(BASELINE, ALL_STRICT + "net.ipv4.conf.default.rp_filter = 1\n")
    os.unlink(model.root + VENDOR)
    model.run(apply=apply)
    assert "net.ipv4.conf.default.rp_filter = 1" in model.text(PATH).decode()


def test_an_interface_that_is_no_uplink_gets_what_the_agent_took(strict):  # noqa: F811
    strict.values["all"] = 0
    warnings = strict.run()["warnings"]
    assert (strict.values["veth9"], strict.values["lo"]) == (1, 1)
    assert any("veth9" in warning and BASELINE + ":1" in warning for warning in warnings)
    # From then on whoever lowers it does so on purpose.
    strict.values["veth9"] = 0
    assert not strict.run()["changed"]


# ---- a drop-in that was edited by hand -------------------------------------------------------------------------------


@pytest.fixture
def edited(model):  # noqa: F811
    """A node whose uplink was strict, and whose pin somebody set to 0."""
    model.values["eth0"] = 1
    model.run()
    text = model.text(PATH).decode()
    model.file(PATH, text.replace(pin("eth0", 1), pin("eth0", 0)))
    return model


@pytest.mark.parametrize("running", [0, 1])
@pytest.mark.parametrize("check_mode", [True, False])
def test_an_edited_drop_in_is_refused_with_its_lines(edited, running, check_mode):
    edited.values["eth0"] = running
    number = edited.text(PATH).decode().split("\n").index(pin("eth0", 0).strip()) + 1
    words = (f"line {number}, '{pin('eth0', 0).strip()}', was written as 1", "edited=restore", "edited=adopt")
    refused(edited, PATH, *words, check_mode=check_mode)


def test_restored_lines_are_those_that_were_written(edited):
    edited.values["eth0"] = 0
    result = edited.run(edited="restore")
    assert edited.values["eth0"] == 1
    assert pin("eth0", 1) in edited.text(PATH).decode()
    assert any("edited=restore" in warning for warning in result["warnings"])
    assert not edited.run()["changed"]


@pytest.mark.parametrize(("running", "uplinks", "expected"), [(0, "keep", 0), (1, "keep", 1), (1, {"eth0": "off"}, 0)])
def test_adopted_lines_are_never_weaker_than_what_runs(edited, running, uplinks, expected):
    edited.values["eth0"] = running
    edited.run(edited="adopt", uplinks=uplinks)
    assert edited.values["eth0"] == expected
    assert pin("eth0", expected) in edited.text(PATH).decode()
    assert not edited.run(uplinks=uplinks)["changed"]


def test_a_removal_tells_that_edited_lines_go(edited):
    result = edited.run(state="absent", breaks_pods=True)
    assert not edited.has(PATH)
    assert any("edited by hand" in warning for warning in result["warnings"])


@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_newer_format_is_refused_before_any_change(model, state):  # noqa: F811
    model.run()
    model.file(PATH, model.text(PATH).decode().replace("format 1", "format 12"))
    refused(model, "format 12", "up to 1", state=state)


# ---- backups, absent uplinks -----------------------------------------------------------------------------------------


def test_a_removal_takes_the_backups_of_restored_files_away(model):  # noqa: F811
    model.file(LATER, ALL_STRICT)
    model.run(conflicts="disable")
    backup = files.BACKUPS + "/etc%sysctl.d%zz-hardening.conf.orig"
    assert model.has(backup)
    model.run(state="absent", breaks_pods=True)
    assert model.text(LATER).decode() == ALL_STRICT
    assert not model.has(backup)
    assert not model.run(state="absent")["changed"]


def test_a_backup_is_taken_away_with_the_changes_that_are_undone(model):  # noqa: F811
    model.file(LATER, ALL_STRICT)
    model.read_back["eth0"] = 7
    model.values["eth0"] = 0
    model.file(PATH, pin("eth0", 1))
    refused(model, "read back", undone=True, conflicts="disable")
    assert not model.has(files.BACKUPS + "/etc%sysctl.d%zz-hardening.conf.orig")


def test_the_folder_of_backups_goes_with_the_last_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BACKUPS", str(tmp_path / "backups"))
    for name in ("a", "b"):
        files.install(str(tmp_path / "backups" / name), "x")
    files.install(str(tmp_path / "backups" / "a"), None)
    assert (tmp_path / "backups" / "b").exists()
    files.install(str(tmp_path / "backups" / "b"), None)
    assert not (tmp_path / "backups").exists()


@pytest.mark.parametrize("given", [{"uplinks": {"eth9": "strict"}}, {"uplinks": "strict", "listed": ["eth0", "eth9"]}])
def test_an_unknown_uplink_is_refused_unless_that_is_allowed_or_it_is_pinned(model, given):  # noqa: F811
    refused(model, "'eth9' does not exist", "found", "eth0", "allow_absent_uplinks=true", **given)
    options = plan.Options(["lxc*", "cilium_*"], given["uplinks"], given.get("listed"), True)
    model.run(options=options, allow_lockout=True)
    assert pin("eth9", 1) in model.text(PATH).decode()
    assert not model.run(allow_lockout=True, **given)["changed"]


# ---- generated nodes -------------------------------------------------------------------------------------------------

DEVICES = {  # name → (kind of link, address)
    "lo": (None, None),
    "eth0": (None, "192.0.2.1"),
    "eth1": (None, "198.51.100.1"),
    "veth9": ("veth", None),
    "lxcbr0": ("bridge", None),
    "cilium_host": ("veth", None),
    "lxc1": ("veth", None),
}
OURS = ("cilium_host", "lxc1")
UPLINKS = ("eth0", "eth1", "lxcbr0")
values = st.sampled_from([0, 1, 2])
keys = st.sampled_from(
    ["all"] * 4
    + ["default"] * 3
    + ["eth0", "eth1", "eth5", "veth9", "lxcbr0", "lxc1", "*", "[!ad]*", "e*", "l*", "lxc*"]
)
assignments = st.builds(
    lambda dash, key, value: f"{dash}net.ipv4.conf.{key}.rp_filter{value}\n",
    st.sampled_from(["", "-"]),
    keys,
    st.sampled_from([" = 0", " = 1", " = 2", "=1", "=2"]),
)
lines = st.one_of(assignments, assignments, assignments, st.sampled_from(["-net.ipv4.conf.all.rp_filter\n", "# x\n"]))
texts = st.lists(lines, max_size=3).map("".join)
trees = st.dictionaries(
    st.sampled_from([VENDOR, BASELINE, "/etc/sysctl.d/60-b.conf", LATER, "/etc/sysctl.conf", CILIUM]), texts, max_size=3
)
running = st.fixed_dictionaries(dict.fromkeys(["all", "default", *DEVICES], values))
modes = st.one_of(
    st.just("keep"),
    st.just("keep"),
    st.sampled_from(["strict", "loose", "off"]),
    st.dictionaries(st.sampled_from(["eth0", "eth1"]), st.sampled_from(["keep", "strict", "loose", "off"]), max_size=2),
)
nodes = st.fixed_dictionaries(
    {
        "running": running,
        "tree": trees,
        "absent": st.sets(st.sampled_from(["eth1", "lxcbr0", "veth9"]), max_size=2),
        "never_written": st.sets(st.sampled_from(sorted(DEVICES))),
        "foreign": st.one_of(st.none(), st.none(), texts),
        "hardened": st.booleans(),
        "first": st.fixed_dictionaries({"uplinks": modes, "apply": st.sampled_from(["always", "always", "never"])}),
        "drift": st.dictionaries(st.sampled_from(["all", "default", *DEVICES]), values),
        "gone": st.sets(st.sampled_from(["eth0", "eth1", "lxcbr0"]), max_size=1),
        "added": trees,
        "edit": st.one_of(st.none(), st.none(), st.tuples(st.integers(0, 20), values), assignments),
        "agent": st.booleans(),
        "options": st.fixed_dictionaries(
            {
                "uplinks": modes,
                "conflicts": st.sampled_from(["disable", "disable", "disable", "fail", "report"]),
                "edited": st.sampled_from(["restore", "adopt", "fail"]),
                "apply": st.sampled_from(["always", "always", "always", "never"]),
            }
        ),
    }
)


def lay(node, case):
    """The node as the case has it, just before the run that is looked at; whether its drop-in is as it was written."""
    node.values = dict(case["running"])
    node.links = {name: kind for name, (kind, _address) in DEVICES.items()}
    node.addresses = {name: [address] if address else [] for name, (_kind, address) in DEVICES.items()}
    node.never_written = {name for name in case["never_written"] if node.values[name] == node.values["default"]}
    for name in case["absent"]:
        node.remove(name)
        node.never_written.discard(name)
    for path, text in case["tree"].items():
        node.file(path, text)
    if case["foreign"] is not None:
        node.file(PATH, case["foreign"])
    if case["hardened"]:
        attempt(node, conflicts="report", edited="fail", **case["first"])
    node.values.update({name: value for name, value in case["drift"].items() if name in node.values})
    node.never_written -= set(case["drift"])
    for name in case["gone"] & set(node.links):
        node.remove(name)
        node.never_written.discard(name)
    for path, text in case["added"].items():
        node.file(path, text)
    if case["agent"]:
        node.values.update(all=0, cilium_host=0)
        node.never_written.discard("cilium_host")
    return edit(node, case["edit"])


def edit(node, change):
    if change is None or not node.has(PATH) or dropin.HEADER not in node.text(PATH).decode():
        return True
    before = rows = node.text(PATH).decode().split("\n")
    if isinstance(change, str):
        rows = [*rows, change.strip()]
    else:
        numbers = [number for number, row in enumerate(rows) if "rp_filter = " in row and row[0] != "#"]
        number = numbers[change[0] % len(numbers)]
        rows = [*rows[:number], rows[number][:-1] + str(change[1]), *rows[number + 1 :]]
    node.file(PATH, "\n".join(rows))
    return rows == before


def attempt(node, **given):
    options = plan.Options(["lxc*", "cilium_*"], given.pop("uplinks"), None, True)
    try:
        return node.run(options=options, allow_lockout=True, **given)
    except (dropin.DropinError, transaction.TransactionError):
        return None


def pins_of(text):
    """Pins and default of a drop-in: its lines without globs, in the spelling in which it is written."""
    rows = [row.lstrip("-").split(".") for row in text.split("\n") if row[:1] not in ("#", "") and "*" not in row]
    return {row[3]: int(row[4][-1]) for row in rows if row[3] != "all"}


class Before:
    """What each interface had before the run, by the resolvers."""

    def __init__(self, node, intact):
        self.running = dict(node.values)
        text = node.text(PATH).decode() if node.has(PATH) else ""
        self.hardened = dropin.HEADER in text
        self.pins = pins_of(text) if self.hardened and intact else {}
        self.pinned = dropin.parse(text).pins  # of any file at our path
        whole = read_tree(node.root)
        self.text = {path: node.text(path).decode().split("\n") for path in node.tree() if path.startswith("/etc")}
        in_force = {path: conflicts.restore("\n".join(rows)) for path, rows in self.text.items()}
        without = whole.with_overlay({**in_force, CILIUM: None, PATH: None})
        self.without = sysctl_d.SystemdSysctl(without, node.systemd)
        self.loaders = [sysctl_d.SystemdSysctl(whole, node.systemd), sysctl_d.Procps(whole, node.procps)]

    def value(self, loader, name):
        winner = loader.winner(sysctl_d.conf_key(name))
        return None if winner is None else min(int(winner.value), 2)

    def lost(self, node, name):
        """The values of lines that decided a name and are disabled or replaced now."""
        found = []
        for loader in self.loaders:
            winner = loader.winner(sysctl_d.conf_key(name))
            if winner and self.is_lost(node, winner):
                value, by_all = int(winner.value), self.value(loader, "all")
                # 'sysctl --system' gives a value together with all; at boot the agent takes all away.
                together = isinstance(loader, sysctl_d.Procps) and name not in ("all", "default")
                found.append(max(by_all or 0, value) if together else value)
        return found

    def is_lost(self, node, line):
        if line.path == PATH:
            return not self.hardened
        after = node.text(line.path).decode().split("\n")
        before = self.text.get(line.path, after)
        row = before[line.line - 1]  # a line that is disabled already is dropped where it is repeated
        return after.count(row) < before.count(row)

    def through_all(self, node, name, own):
        by_all = self.lost(node, "all")
        if name in UPLINKS or name not in DEVICES or not self.hardened:
            by_all = [*by_all, self.value(self.without, "all") or 0]
        return [max(value, own) for value in by_all if value]

    def of(self, node, name, applied):
        """The strongest of what the promise counts as before."""
        found = [self.pins[name]] if name in self.pins else []
        if applied and name in self.running:
            own = self.running[name]
            found.append(max(self.running["all"], own))
            found += self.through_all(node, name, own)
        elif found:
            found += self.through_all(node, name, found[0])
            found += [max(self.running["all"], found[0])] if applied else []
        if found and (name in UPLINKS or name not in DEVICES):
            found += self.lost(node, name)
        return strongest(found)

    def of_default(self, node, applied):
        found = [self.pins["default"]] if "default" in self.pins else []
        found.append(max(self.value(self.without, "all") or 0, self.value(self.without, "default") or 0))
        if applied:
            found.append(max(self.running["all"], self.running["default"]))
        for loader in self.loaders:
            for assignment in loader.assignments():
                if "*" in assignment.key and ".lxc" not in assignment.key and self.is_lost(node, assignment):
                    found.append(int(assignment.value))
            winners = [loader.winner(sysctl_d.conf_key(name)) for name in ("all", "default")]
            if any(winner and self.is_lost(node, winner) for winner in winners):
                found.append(max(int(winner.value) for winner in winners if winner))
        return strongest(found)


@pytest.fixture
def make_node(model, tmp_path, monkeypatch):  # noqa: F811
    """Makes an empty node of the model's kind; the writer's files are those of the last one made."""
    current = SimpleNamespace(node=None, number=0)
    monkeypatch.setattr(files, "read_text", lambda path: read_text(current.node.root + path))
    monkeypatch.setattr(files, "install", lambda *arguments: current.node.install(*arguments))  # noqa: PLW0108
    monkeypatch.setattr(sysctl_d, "read_tree", lambda _root, overlay=None: read_tree(current.node.root, overlay))
    monkeypatch.setattr(observe_routes, "observe", lambda _iproute: current.node.cilium_routes())
    units = tmp_path / "usr/lib/systemd"

    def make():
        if current.node:
            shutil.rmtree(current.node.root)
        current.number += 1
        root = tmp_path / (f"node{current.number}")
        shutil.copytree(units, root / "usr/lib/systemd", symlinks=True)
        current.node = Model(root)
        return current.node

    return make


def test_no_interface_ends_weaker_than_before_nor_is_so_at_any_step(make_node):
    kept = {"refused": 0, "done": 0}

    @seed(SEED)
    @settings(max_examples=PROMISES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(nodes)
    def check(case):
        node = make_node()
        intact = lay(node, case)
        before = Before(node, intact)
        everything = node.everything()
        if attempt(node, **case["options"]) is None:
            kept["refused"] += 1
            assert node.everything() == everything
            return
        kept["done"] += 1
        uplinks, applied = case["options"]["uplinks"], case["options"]["apply"] == "always"
        written = pins_of(node.text(PATH).decode())
        for name in {*node.links, *written, *before.pins} - {*OURS, "default"}:
            mode = uplinks if isinstance(uplinks, str) else uplinks.get(name, "keep")
            if mode != "keep" and (name in UPLINKS or name not in DEVICES or name in before.pinned):
                continue  # named by the option
            was = before.of(node, name, applied)
            if applied and name in node.links:
                ends = node.effective()[name]
                assert strength(ends) >= strength(was), (name, was, ends)
                for state in node.states:
                    least = max(before.running["all"], before.running[name])
                    assert strength(state[name]) >= strength(least), (name, node.states)
            if name in written or name in before.pins:
                assert strength(written[name]) >= strength(was), (name, was, written)
        default = before.of_default(node, applied)
        assert strength(written["default"]) >= strength(default), (default, written)
        again = {**case["options"], "edited": "fail"}
        result = attempt(node, **again)
        assert result is not None
        assert not result["changed"]

    check()
    assert kept["done"] > PROMISES / 10
    print("%(done)d runs done, %(refused)d refused" % kept)


def test_a_disabled_line_counts_with_what_all_makes_of_it(model):  # noqa: F811
    model.file("/etc/sysctl.conf", "net.ipv4.conf.*.rp_filter = 1\n")
    text = "net.ipv4.conf.all.rp_filter = 2\nnet.ipv4.conf.default.rp_filter = 2\n"
    model.file("/etc/sysctl.d/999-baseline.conf", text)
    model.values.update(all=2, default=2, eth0=2)
    model.run(conflicts="disable")
    assert (model.values["all"], model.values["eth0"], model.values["lxc1"]) == (0, 2, 0)

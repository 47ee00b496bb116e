"""The writer's transaction against a model of a node: its files real ones in a folder, its kernel a model."""

import copy
import errno
import os
import stat
import subprocess
import sys
from types import SimpleNamespace

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils import dropin, sysctl_d, values
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import filter as observe_filter
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import iproute, verdict, writers
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import routes as observe_routes
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.files import Reader
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.units import Units
from ansible_collections.nodeward.cilium.plugins.module_utils.runner import CommandError
from ansible_collections.nodeward.cilium.plugins.module_utils.write import (
    conflicts,
    environment,
    files,
    lockout,
    plan,
    preflight,
    transaction,
)
from ansible_collections.nodeward.cilium.plugins.modules import rp_filter

PATH = "/etc/sysctl.d/99-override_cilium_rp_filter.conf"
CILIUM = "/etc/sysctl.d/99-zzz-override_cilium.conf"
VENDOR = "/usr/lib/sysctl.d/50-default.conf"
GLOBS = "net.ipv4.conf.default.rp_filter = 2\nnet.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.all.rp_filter\n"
BASELINE = "/etc/sysctl.d/10-baseline.conf"
LATER = "/etc/sysctl.d/zz-hardening.conf"
ALL_STRICT = "net.ipv4.conf.all.rp_filter = 1\n"
# What install() itself is; the fixture puts it into the model's folder.
real_read_text, real_install, real_read_tree = files.read_text, files.install, sysctl_d.read_tree


def strength(value):
    return {0: 0, 2: 1, 1: 2}[value]


class Model:
    """A node: devices, values as the kernel keeps them, files under a folder, and a log of what is done to it."""

    def __init__(self, root):
        self.root = str(root)
        self.values = {"all": 0, "default": 0}
        self.links = {}  # device → kind of link
        self.addresses = {}
        self.never_written = set()
        self.endpoints = []  # (address, device)
        self.route_back = {}  # (client, server) → route as ip gives it
        self.log = []
        self.states = []  # effective values, device by device, after each write
        self.before_write = []  # called with (name, value), may raise
        self.after_write = []
        self.read_back = {}  # name → what is read, whatever was written
        self.observations = 0
        self.on_observe = []  # called with the number of the observation, may raise
        self.on_install = []  # called with (path, text), may raise
        self.on_endpoints = []  # called with the number of the observation of endpoints
        self.endpoint_observations = 0
        self.martians = set()  # devices whose packets another check of the kernel drops
        self.loosened_by = None
        self.has_endpoint_routes = False
        self.ran = []
        self.systemd, self.procps = 257, (4, 0, 4)
        self.routes, self.rules = [], []  # as ip gives them
        self.route_to_outside = {}  # own address → route as ip gives it
        self.writers = []
        self.find_writers = lambda *_arguments, **_more: (self.writers, [])

    # its kernel

    def device(self, name, value=0, kind="veth", address=None, endpoint=None, written=True):
        self.values[name] = value
        self.links[name] = kind
        self.addresses[name] = [address] if address else []
        if endpoint:
            self.endpoints.append((endpoint, name))
        if not written:
            self.never_written.add(name)

    def remove(self, name):
        del self.values[name], self.links[name], self.addresses[name]

    def add_as_cilium_does(self, name):
        """A new device: Cilium's 0, and then what udev's run of systemd-sysctl makes of it."""
        tree = real_read_tree(self.root)
        winner = sysctl_d.SystemdSysctl(tree, self.systemd).winner(sysctl_d.conf_key(name), prefix_run=True)
        self.device(name, 0 if winner is None else int(winner.value))

    def effective(self):
        return {device: max(self.values["all"], self.values[device]) for device in self.links}

    def write(self, name, value):
        for hook in self.before_write:
            hook(name, value)
        if name not in self.values:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        self.log.append((name, value))
        self.values[name] = value
        self.never_written.discard(name)
        if name == "default":
            self.values.update(dict.fromkeys(self.never_written, value))
        self.states.append(self.effective())
        for hook in self.after_write:
            hook(name, value)

    def read(self, name):
        if name not in self.values:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return self.read_back.get(name, self.values[name])

    # its ip

    def netconf(self):
        self.observations += 1
        for hook in self.on_observe:
            hook(self.observations)
        return dict(self.values)

    def ip_links(self):
        return [
            {"ifindex": number, "ifname": name, "kind": kind, "link_index": None, "link_netnsid": None}
            for number, (name, kind) in enumerate(self.links.items(), 1)
        ]

    def ip_addresses(self):
        return {
            name: [{"address": address, "prefixlen": 24, "scope": "global", "family": "inet"} for address in addresses]
            for name, addresses in self.addresses.items()
        }

    def verdicts(self, questions):
        answers = []
        for destination, source, device in questions:
            if device is None:
                route = self.route_back.get((destination, source), {"dev": "eth0"})
                answers.append(iproute.Answer(route, None if route else "Network is unreachable"))
            else:
                answers.append(iproute.Answer({"dev": "lo", "type": "local"}, None))
        return answers

    def matches(self, questions):
        assert all(question.destination == observe_routes.OUTSIDE for question in questions)
        routes = [
            self.route_to_outside.get(question.source, {"dst": "default", "dev": "eth0"}) for question in questions
        ]
        return [iproute.Answer(route, None if route else "Network is unreachable") for route in routes]

    def cilium_routes(self, _iproute=None):
        self.endpoint_observations += 1
        for hook in self.on_endpoints:
            hook(self.endpoint_observations)
        endpoints = []
        for address, device in self.endpoints:
            if device not in self.values:
                continue
            back = verdict.RouteBack("unicast", ("cilium_host",))
            found = verdict.predict(self.effective()[device], back, device, False)
            dropped_at = [value for value in (0, 1, 2) if verdict.predict(value, back, device, False)[0] == "dropped"]
            endpoints.append(
                {
                    "address": address,
                    "device": device,
                    "pod": None,
                    "verdict": "dropped" if device in self.martians else found.verdict,
                    "reason": found.reason,
                    "dropped_at": dropped_at,
                }
            )
        return {
            "endpoints": endpoints,
            "loosens_uplinks": self.loosened_by,
            "endpoint_routes": {"in_effect": self.has_endpoint_routes},
        }

    # its files

    def file(self, path, text):
        os.makedirs(os.path.dirname(self.root + path), exist_ok=True)
        with open(self.root + path, "wb") as stream:
            stream.write(text if isinstance(text, bytes) else text.encode())

    def text(self, path):
        with open(self.root + path, "rb") as stream:
            return stream.read()

    def has(self, path):
        return os.path.lexists(self.root + path)

    def install(self, path, text):
        for hook in self.on_install:
            hook(path, text)
        self.log.append(("file", path, text))
        real_install(self.root + path, text)

    def tree(self):
        """Every file with its inode and bytes, the backups apart."""
        found = {}
        for folder, _folders, names in os.walk(self.root):
            for name in names:
                path = os.path.join(folder, name)
                if not path.startswith(self.root + files.BACKUPS):
                    with open(path, "rb") as stream:
                        found[path[len(self.root) :]] = stream.read()
        return found

    def inodes(self):
        return {path: os.stat(self.root + path).st_ino for path in self.tree()}

    def everything(self):
        return copy.deepcopy(self.values), self.tree()

    # the writer

    def run(self, check_mode=False, **given):
        """The module's result, with the warnings; the log holds this run alone."""
        self.log, self.states, self.ran = [], [self.effective()], []
        self.observations = self.endpoint_observations = 0
        defaults = {
            "state": "present",
            "path": PATH,
            "options": plan.Options(["lxc*", "cilium_*"], given.pop("uplinks", "keep"), given.pop("listed", None)),
            "apply": "always",
            "header": dropin.COMMENTS,
            "breaks_pods": False,
            "allow_lockout": False,
            "ssh_connection": None,
            "conflicts": "fail",
            "udev": "auto",
        }
        ip = SimpleNamespace(
            netconf=self.netconf,
            links=self.ip_links,
            addresses=self.ip_addresses,
            routes=lambda: self.routes,
            rules=lambda: self.rules,
            verdicts=self.verdicts,
            matches=self.matches,
        )
        request = transaction.Request(**{**defaults, **given})
        self.transaction = run = transaction.Transaction(request, ip, self.run_command, self, self.find_writers)
        result = run.run(check_mode)
        return {**result, "warnings": run.warnings}

    def run_command(self, argv, data=None):
        if argv[:2] == ["systemctl", "list-units"]:
            return 0, "ufw.service loaded active exited Firewall\n", ""
        self.ran.append(argv)
        return 0, "", ""

    def writes(self):
        return [entry for entry in self.log if entry[0] != "file"]

    def never_weaker(self, planned=None):
        last = planned or self.states[-1]
        for state in self.states:
            for device, value in state.items():
                if device in self.states[0] and device in last:
                    assert strength(value) >= min(strength(self.states[0][device]), strength(last[device])), device


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A node with Debian's globs, three pods at 2, an uplink and a foreign veth."""
    node = Model(tmp_path)
    monkeypatch.setattr(files, "read_text", lambda path: real_read_text(node.root + path))
    monkeypatch.setattr(files, "install", node.install)
    monkeypatch.setattr(sysctl_d, "read_tree", lambda _root, overlay=None: real_read_tree(node.root, overlay))
    monkeypatch.setattr(
        observe_filter,
        "systemd_loader",
        lambda _run: observe_filter.Loader("systemd-sysctl", node.systemd) if node.systemd else None,
    )
    monkeypatch.setattr(
        observe_filter,
        "procps_loader",
        lambda _run: observe_filter.Loader("sysctl", node.procps) if node.procps else None,
    )
    monkeypatch.setattr(observe_routes, "observe", node.cilium_routes)
    real_reader = environment.node_files.Reader
    monkeypatch.setattr(environment.node_files, "Reader", lambda _root: real_reader(node.root))
    node.file(
        "/usr/lib/systemd/system/systemd-sysctl.service", "[Service]\nExecStart=/usr/lib/systemd/systemd-sysctl\n"
    )
    wants = tmp_path / "usr/lib/systemd/system/sysinit.target.wants"
    wants.mkdir()
    (wants / "systemd-sysctl.service").symlink_to("../systemd-sysctl.service")
    node.values.update({"all": 0, "default": 2})
    node.device("lo", 2, None)
    node.device("eth0", 2, None, "192.0.2.1")
    node.device("cilium_host", 2, address="10.0.0.253")
    node.device("cilium_net", 2)
    for number in (1, 2, 3):
        node.device(f"lxc{number}", 2, endpoint=f"10.0.0.{number}")
    node.device("veth9", 2)
    node.file(VENDOR, GLOBS)
    return node


@pytest.fixture
def strict(model):
    """A node where all=1 alone gives protection, and nobody ever wrote default or the devices' own values."""
    os.unlink(model.root + VENDOR)
    model.file(BASELINE, ALL_STRICT)
    model.values.update(dict.fromkeys(model.values, 0), all=1)
    model.never_written = set(model.links) - {"lxc1"}
    return model


def refused(node, *words, undone=False, **given):
    """Assert that a run is refused with these words, and that all is as before; returns the error."""
    before = node.everything()
    with pytest.raises((transaction.TransactionError, dropin.DropinError)) as error:
        node.run(**given)
    assert node.everything() == before
    for word in words + (("Everything was put back as it was",) if undone else ()):
        assert word in str(error.value)
    if not undone:
        assert node.log == []
    return error.value


SITUATIONS = {
    "fresh": (lambda node: None, {}),
    "drift": (lambda node: (node.run(), node.values.update(lxc1=2, eth0=0)), {}),
    "uplinks strict": (lambda node: None, {"uplinks": {"eth0": "strict"}}),
    "all from a later file, disabled": (lambda node: node.file(LATER, ALL_STRICT), {"conflicts": "disable"}),
    "all from a later file, reported": (lambda node: node.file(LATER, ALL_STRICT), {"conflicts": "report"}),
    "a rule of udev": (lambda node: None, {"udev": "always"}),
    "systemd without globs": (lambda node: setattr(node, "systemd", 239), {}),
    "files only": (lambda node: None, {"apply": "never"}),
    "removal": (lambda node: node.run(udev="always"), {"state": "absent", "breaks_pods": True}),
    "removal with lines that come back in force": (
        lambda node: (node.file(LATER, ALL_STRICT), node.run(conflicts="disable")),
        {"state": "absent", "breaks_pods": True},
    ),
    "removal of nothing": (lambda node: None, {"state": "absent", "breaks_pods": True}),
    "a hand-made file": (lambda node: node.file(PATH, "-net.ipv4.conf.lxc*.rp_filter = 0\n"), {}),
}


@pytest.fixture(params=SITUATIONS)
def situation(request, model):
    prepare, given = SITUATIONS[request.param]
    prepare(model)
    return model, given


# check mode, and the second run


def test_check_mode_changes_nothing_and_returns_what_the_act_then_does(situation):
    node, given = situation
    before, inodes = node.everything(), node.inodes()
    checked = node.run(check_mode=True, **given)
    assert node.log == []
    assert node.ran == []
    assert (node.everything(), node.inodes()) == (before, inodes)
    done = node.run(**given)
    for key in set(done) - {"unhealed", "healed"}:  # nobody knows that before it is done
        assert done[key] == checked[key], key
    assert done["changed"] == bool(node.log)
    if done["changed"] and node.has(PATH):
        assert node.text(PATH).decode() == checked["dropin"]["after"]


def test_the_second_run_changes_nothing(situation):
    node, given = situation
    node.run(**given)
    before, inodes = node.everything(), node.inodes()
    again = node.run(**given)
    assert not again["changed"]
    assert again["diff"] == []
    assert node.log == []
    assert (node.everything(), node.inodes()) == (before, inodes)
    assert not node.run(check_mode=True, **given)["changed"]


def test_the_diff_shows_the_file_and_the_running_values(model):
    dropin, running = model.run()["diff"]
    assert (dropin["before"], dropin["before_header"], dropin["after_header"]) == ("", "/dev/null", PATH)
    assert dropin["after"] == model.text(PATH).decode()
    names = ["cilium_host", "cilium_net", "lxc1", "lxc2", "lxc3"]
    assert running["before"] == "".join(f"net.ipv4.conf.{name}.rp_filter = 2\n" for name in names)
    assert running["after"] == running["before"].replace("= 2", "= 0")


def test_drift_of_running_values_alone_is_repaired_and_reported(model):
    model.run()
    model.values.update(lxc2=2, eth0=0, all=2)
    inodes = model.inodes()
    result = model.run()
    assert result["changed"]
    assert model.inodes() == inodes
    assert (model.values["lxc2"], model.values["eth0"], model.values["all"]) == (0, 2, 0)
    (running,) = result["diff"]
    assert "net.ipv4.conf.eth0.rp_filter = 0\n" in running["before"]
    assert "net.ipv4.conf.eth0.rp_filter = 2\n" in running["after"]


# what is done, in which order


def test_the_file_comes_first_and_then_only_what_differs(model):
    model.run()
    assert model.log[0][:2] == ("file", PATH)
    assert model.log[1:] == [(name, 0) for name in ("cilium_host", "cilium_net", "lxc1", "lxc2", "lxc3")]
    assert model.effective() == {**dict.fromkeys(model.links, 0), "lo": 2, "eth0": 2, "veth9": 2}


def test_where_default_changes_every_device_is_written_before_it_and_all_last(strict):
    strict.run()
    written = [name for name, _value in strict.writes()]
    assert written[-2:] == ["default", "all"]
    assert set(written[:-2]) == set(strict.links)
    assert written[:5] == ["cilium_host", "cilium_net", "lxc1", "lxc2", "lxc3"]
    assert strict.effective() == {
        name: 0 if name.startswith(("lxc", "cilium")) else 1 for name in strict.links
    }  # exactly what the others had
    strict.never_weaker()


def test_protection_on_the_way_back_too(strict):
    before = dict(strict.values)
    strict.run()
    result = strict.run(state="absent", breaks_pods=True)
    strict.never_weaker()
    assert not strict.has(PATH)
    for name in ("all", "default", "eth0"):
        assert strict.values[name] == before[name]
    assert result["dropin"]["after"] is None


def test_a_device_that_comes_while_we_work_gets_another_round(model):
    def come(name, _value):
        if name == "lxc3" and "lxcnew" not in model.values:
            model.device("lxcnew", 2)  # udev was told before the file stood

    model.after_write.append(come)
    result = model.run()
    assert model.values["lxcnew"] == 0
    assert "net.ipv4.conf.lxcnew.rp_filter = 2\n" in result["diff"][-1]["before"]
    assert result["warnings"] == []


def test_what_udev_makes_of_a_newcomer_is_decided_by_the_file_that_stands_by_then(model):
    model.after_write.append(lambda name, _value: "lxcnew" in model.values or model.add_as_cilium_does("lxcnew"))
    model.run()
    assert ("lxcnew", 0) not in model.writes()
    assert model.values["lxcnew"] == 0


def test_newcomers_without_end_get_three_rounds_and_a_warning(model):
    def come(name, _value):
        if name == "lxc3" or name.startswith("lxcnew"):
            model.device(f"lxcnew{len(model.links)}", 2)

    model.after_write.append(come)
    result = model.run()
    newcomers = [name for name, _value in model.writes() if name.startswith("lxcnew")]
    assert len(newcomers) == 2  # in the first round there was none
    (warning,) = [text for text in result["warnings"] if "Run again" in text]
    assert "1 devices came or changed" in warning
    assert "lxcnew" in warning


def test_a_newcomer_at_last_seen_well_needs_no_warning(model):
    def come(name, _value):
        if name == "lxc3" or (name.startswith("lxcnew") and len(model.links) < 10):
            model.device(f"lxcnew{len(model.links)}", 2)

    model.after_write.append(come)
    assert model.run()["warnings"] == []
    assert all(value == 0 for name, value in model.values.items() if name.startswith("lxc"))


def test_a_pin_counts_from_the_moment_that_the_file_stands(model):
    os.unlink(model.root + VENDOR)
    model.on_observe.append(lambda number: number == 2 and model.values.update(eth0=0))
    model.run()
    assert model.values["eth0"] == 2


@pytest.mark.parametrize("when", ["before the write", "before the reading back", "before the second observation"])
def test_a_device_that_vanishes_is_no_error_and_no_change(model, when):
    def vanish(name, _value):
        if name == "lxc2":
            model.remove("lxc2")

    if when == "before the second observation":
        model.on_observe.append(lambda number: number == 2 and model.remove("lxc2"))
    elif when == "before the write":
        model.before_write.append(vanish)
    else:
        model.after_write.append(vanish)
    result = model.run()
    assert result["changed"]
    assert model.values["lxc3"] == 0
    assert "lxc2" not in result["diff"][-1]["before"]


def test_all_that_is_missing_is_no_vanished_device(model):
    model.run()
    model.values["all"] = 2

    def fail(name, _value):
        if name == "all":
            raise OSError(errno.ENOENT, "No such file or directory")

    model.before_write.append(fail)
    refused(model, "net.ipv4.conf.all.rp_filter to 0 failed", undone=True)


# what undoes


@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("kind", ["write", "read back"])
def test_whichever_write_fails_everything_is_undone_last_first(strict, number, kind):
    twin = copy.deepcopy(strict.values), set(strict.never_written)
    strict.run()
    planned, wanted = strict.effective(), strict.writes()
    os.unlink(strict.root + PATH)
    strict.values, strict.never_written = twin
    name = wanted[number][0]

    def fail(written, value):
        if len(strict.writes()) == number and (written, value) == wanted[number]:
            raise OSError(errno.EACCES if number % 2 else errno.EINVAL, "no")

    before = dict(strict.values)
    if kind == "write":
        strict.before_write.append(fail)
        undone = number
    else:
        strict.read_back[name] = 2
        undone = number + 1
    refused(strict, values.key(name), undone=True)
    assert strict.writes() == wanted[:undone] + [(name, before[name]) for name, _value in reversed(wanted[:undone])]
    assert strict.log[-1] == ("file", PATH, None)
    strict.never_weaker(planned)


def test_a_read_back_that_differs_says_both_values(model):
    model.read_back["lxc2"] = 1
    refused(model, "net.ipv4.conf.lxc2.rp_filter was set to 0 and read back as 1", undone=True)


def test_a_file_that_cannot_be_written_undoes_those_before_it_and_no_value_is_written(model):
    model.file(LATER, ALL_STRICT)

    def fail(path, _text):
        if path == PATH:
            raise OSError(errno.EROFS, "Read-only file system")

    model.on_install.append(fail)
    refused(model, f"writing '{PATH}' failed: Read-only", undone=True, conflicts="disable", udev="always")
    assert model.writes() == []
    assert [entry[1] for entry in model.log if entry[2] is None or conflicts.MARK not in entry[2]][-3:] == [
        environment.UDEV_RULE,
        LATER,
        files.BACKUPS + "/etc%sysctl.d%zz-hardening.conf.orig",
    ]


def test_files_of_a_removal_come_back_where_a_value_cannot_be_written(strict):
    strict.run(udev="always")

    def fail(name, value):
        if (name, value) == ("default", 0):
            raise OSError(errno.EACCES, "Permission denied")

    strict.before_write.append(fail)
    refused(strict, "default.rp_filter to 0 failed", undone=True, state="absent", breaks_pods=True)
    assert strict.ran[-1] == ["udevadm", "control", "--reload"]


@pytest.mark.parametrize("number", [2, 3])
def test_ip_that_fails_half_way_undoes_and_never_says_that_nothing_was_changed(model, number):
    def fail(observation):
        if observation == number:
            raise CommandError("'ip' did not finish within 30 s")

    model.on_observe.append(fail)
    assert "Nothing was changed" not in str(refused(model, "did not finish", undone=True))


def test_udevadm_that_fails_undoes(model, monkeypatch):
    def fail(argv, data=None):
        raise CommandError("cannot run 'udevadm'")

    monkeypatch.setattr(model, "run_command", fail)
    before = model.everything()
    with pytest.raises(transaction.TransactionError, match="cannot run 'udevadm'.*see to these by hand: udev's rules"):
        model.run(udev="always")
    assert model.everything() == before


def test_what_cannot_be_put_back_is_told_and_the_rest_is_put_back(strict):
    def fail(name, value):
        if (name, value) in (("all", 0), ("eth0", 0)):
            raise OSError(errno.EACCES, "Permission denied")

    strict.before_write.append(fail)
    before = strict.everything()
    with pytest.raises(transaction.TransactionError) as error:
        strict.run()
    assert "all.rp_filter to 0 failed: Permission denied. Not everything could be put back" in str(error.value)
    assert "net.ipv4.conf.eth0.rp_filter = 0 (Permission denied)" in str(error.value)
    assert strict.everything() == ({**before[0], "eth0": 1}, before[1])


def test_a_vanished_device_does_not_stop_the_undoing(model):
    def fail(name, _value):
        if name == "lxc3":
            model.remove("lxc1")
            raise OSError(errno.EACCES, "Permission denied")

    model.before_write.append(fail)
    with pytest.raises(transaction.TransactionError, match="Everything was put back as it was"):
        model.run()
    assert model.values["lxc2"] == 2
    assert not model.has(PATH)


def test_an_endpoint_that_was_accepted_and_is_dropped_undoes(model):
    model.values["lxc2"] = 0
    model.on_endpoints.append(lambda number: number == 2 and model.values.update(lxc2=2))
    before, tree = dict(model.values), model.tree()
    with pytest.raises(transaction.TransactionError) as error:
        model.run()
    assert "1 endpoints were accepted before and dropped after: 10.0.0.2 (lxc2). Everything" in str(error.value)
    assert [endpoint["device"] for endpoint in error.value.details["harmed"]] == ["lxc2"]
    assert model.values == {**before, "lxc2": 2}  # which somebody else wrote
    assert model.tree() == tree


def test_an_endpoint_that_is_dropped_before_and_after_comes_back_and_undoes_nothing(model):
    model.martians.add("lxc2")
    result = model.run()
    assert [(endpoint["address"], endpoint["verdict"]) for endpoint in result["unhealed"]] == [("10.0.0.2", "dropped")]
    assert model.values["lxc1"] == model.values["lxc2"] == 0
    # and is told again where nothing is to be done, in check mode too
    assert len(model.run()["unhealed"]) == len(model.run(check_mode=True)["unhealed"]) == 1


def test_check_mode_does_not_call_unhealed_what_the_act_would_heal(model):
    assert model.run(check_mode=True)["unhealed"] == []


def test_endpoints_whose_replies_are_accepted_again_are_named(model):
    assert [endpoint["device"] for endpoint in model.run()["healed"]] == ["lxc1", "lxc2", "lxc3"]
    assert model.run()["healed"] == []


def test_an_endpoint_on_a_device_that_is_not_exempt_is_told_and_undoes_nothing(model):
    model.device("eni5", 2, endpoint="10.0.0.5")
    assert [endpoint["device"] for endpoint in model.run()["unhealed"]] == ["eni5"]
    assert model.values["lxc1"] == 0


def test_a_martian_on_a_device_without_filter_is_not_ours_to_undo(model):
    model.values["lxc2"] = 0
    model.on_endpoints.append(lambda number: number == 2 and model.martians.add("lxc2"))
    assert [endpoint["device"] for endpoint in model.run()["unhealed"]] == ["lxc2"]
    assert model.values["lxc1"] == 0
    assert model.has(PATH)


def test_an_endpoint_that_is_gone_afterwards_undoes_nothing(model):
    model.values["lxc2"] = 0
    model.after_write.append(lambda name, _value: name == "lxc3" and model.remove("lxc2"))
    assert model.run()["unhealed"] == []


# where it does not apply


class Untouchable:
    """Stands for ip and the kernel where neither may be asked."""

    def __getattr__(self, name):
        raise AssertionError(f"{name} was used")


@pytest.mark.parametrize("state", ["present", "absent"])
@pytest.mark.parametrize("check_mode", [True, False])
def test_with_apply_never_nothing_is_read_of_the_running_kernel(strict, state, check_mode, monkeypatch):
    strict.file(VENDOR, "net.ipv4.conf.default.rp_filter = 2\n")
    if state == "absent":
        strict.run(apply="never")
    monkeypatch.setattr(strict, "read", None)
    monkeypatch.setattr(strict, "write", None)
    monkeypatch.setattr(observe_routes, "observe", None)
    request = transaction.Request(
        state,
        PATH,
        plan.Options(["lxc*", "cilium_*"], "keep", None),
        "never",
        dropin.COMMENTS,
        False,
        False,
        ("203.0.113.9", "192.0.2.1"),
        "fail",
        "auto",
    )
    result = transaction.Transaction(
        request, Untouchable(), strict.run_command, strict, lambda *_arguments, **_more: ([], [])
    ).run(check_mode)
    assert (result["changed"], result["applied"], result["not_applied"]) == (True, False, "apply is never")
    assert strict.has(PATH) == ((state == "present") != check_mode)
    if state == "present":
        lines = [line for line in result["dropin"]["after"].splitlines() if line and not line.startswith("#")]
        assert lines == [
            "net.ipv4.conf.default.rp_filter = 1",  # the stronger of all=1 and default=2
            "-net.ipv4.conf.[l]xc*.rp_filter = 0",
            "-net.ipv4.conf.[c]ilium_*.rp_filter = 0",
            "net.ipv4.conf.all.rp_filter = 0",
        ]
        assert result["records"] == {}
        assert all(item["from"] is None for item in result["plan"])


@pytest.mark.parametrize(
    ("chroot", "systemd", "flags", "words"),
    [
        (False, True, 0, None),
        (None, True, 0, None),  # it cannot be told
        (True, True, 0, "chroot"),
        (False, False, 0, "no systemd"),
        (False, True, os.ST_RDONLY, "read-only"),
    ],
)
def test_when_auto_applies(monkeypatch, chroot, systemd, flags, words):
    monkeypatch.setattr(observe_filter, "in_chroot", lambda: chroot)
    monkeypatch.setattr(os.path, "isdir", {"/run/systemd/system": systemd}.get)
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag={"/proc/sys/net": flags}[path]))
    why = preflight.why_not_applied("auto")
    assert (why is None) if words is None else (words in why)
    assert preflight.why_not_applied("always") is None
    assert preflight.why_not_applied("never") == "apply is never"


@pytest.mark.parametrize(
    ("systemd", "given", "words"),
    [
        (None, {}, "systemd-sysctl is not installed"),
        (None, {"apply": "auto"}, "say apply=never to write the file alone"),
        (239, {"udev": "never"}, "systemd-sysctl 239 knows no globs"),
    ],
)
def test_a_loader_that_would_not_read_the_drop_in(model, systemd, given, words):
    model.systemd = systemd
    refused(model, words, **given)
    assert model.run(**{**given, "apply": "never"})["changed"]


def test_a_loader_whose_version_is_unknown_is_taken_for_one_with_globs(model, monkeypatch):
    monkeypatch.setattr(observe_filter, "systemd_loader", lambda _run: observe_filter.Loader("systemd-sysctl", None))
    assert not any(item["name"] == "udev" for item in model.run()["plan"])
    assert not model.has(environment.UDEV_RULE)


def test_a_procps_without_globs_is_a_warning(model):
    model.procps = (3, 3, 17)
    assert any("procps 3.3.17 knows no globs" in warning for warning in model.run()["warnings"])
    model.procps = None
    assert model.run()["warnings"] == []


# the lock-out guard

CONTROLLER = ("203.0.113.9", "192.0.2.1")
BY_ETH1 = {("203.0.113.9", "192.0.2.1"): {"dev": "eth1"}}


def two_uplinks(node, **route_back):
    node.device("eth1", 2, None, "198.51.100.1")
    node.route_back.update(BY_ETH1)


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("uplinks", ["strict", {"eth0": "strict"}])
def test_an_uplink_is_not_made_strict_over_the_controller_s_head(model, uplinks, check_mode):
    two_uplinks(model)
    error = refused(model, ssh_connection=CONTROLLER, uplinks=uplinks, check_mode=check_mode)
    for word in ("device eth0", "controller 203.0.113.9", "by eth1", "allow_lockout=true", "Nothing was changed"):
        assert word in str(error)


def test_a_missing_route_back_locks_out_too(model):
    model.route_back[CONTROLLER] = None
    refused(model, "missing (Network is unreachable)", ssh_connection=CONTROLLER, uplinks="strict")


@pytest.mark.parametrize(
    ("given", "prepare"),
    [
        ({"allow_lockout": True}, lambda node: None),
        ({"ssh_connection": None}, lambda node: None),
        ({"uplinks": {"eth1": "strict"}}, lambda node: None),  # not the controller's device
        ({"uplinks": "loose"}, lambda node: None),
        ({}, lambda node: node.values.update(eth0=1)),  # strict already
        ({}, lambda node: node.route_back.clear()),  # symmetric
        ({}, lambda node: node.route_back.update({CONTROLLER: {"dev": "lo", "type": "local"}})),  # this very node
        ({"ssh_connection": ("203.0.113.9", "198.18.0.1")}, lambda node: None),  # by no address of ours
    ],
)
def test_whom_the_guard_lets_pass(model, given, prepare):
    two_uplinks(model)
    prepare(model)
    assert model.run(**{"uplinks": "strict", "ssh_connection": CONTROLLER, **given})["changed"]


def test_a_device_that_only_the_mapping_names_is_guarded_too(model):
    two_uplinks(model)
    given = {"uplinks": {"eth0": "strict"}, "listed": ["eth1"]}
    refused(model, "device eth0 would become strict", ssh_connection=CONTROLLER, **given)


def test_who_comes_in_by_an_unknown_device_is_warned(model):
    two_uplinks(model)
    result = model.run(uplinks="strict", ssh_connection=("203.0.113.9", "198.18.0.1"))
    assert any("203.0.113.9" in warning and "eth0, eth1" in warning for warning in result["warnings"])


def test_an_uplink_that_keep_makes_strict_again_is_guarded_too(model):
    two_uplinks(model)
    model.file(PATH, dropin.HEADER + "\nnet.ipv4.conf.default.rp_filter = 2\n-net.ipv4.conf.eth0.rp_filter = 1\n")
    refused(model, "device eth0 would become strict", ssh_connection=CONTROLLER)


# the lock-out guard: an outside source


DEFAULT_ROUTES = [{"dst": "default", "dev": "eth0", "gateway": "192.0.2.10"}]


def exit_node(node):
    node.device("tailscale0", 2, None, "100.100.1.1")
    node.routes = DEFAULT_ROUTES + [{"dst": "default", "dev": "tailscale0", "table": "52"}]
    node.rules = [
        {"priority": 0, "src": "all", "table": "local"},
        {"priority": 5230, "src": "all", "fwmark": "0x80000", "table": "52"},
        {"priority": 5270, "src": "all", "table": "52"},
        {"priority": 32766, "src": "all", "table": "main"},
    ]
    by_tunnel = {"dst": "default", "dev": "tailscale0", "table": "52"}
    node.route_to_outside = {"192.0.2.1": by_tunnel, "100.100.1.1": by_tunnel}


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("connection", [None, ("192.0.2.10", "192.0.2.1")])
def test_an_uplink_whose_answers_leave_by_an_exit_node_is_not_made_strict(model, connection, check_mode):
    exit_node(model)
    given = {"uplinks": "strict", "ssh_connection": connection, "check_mode": check_mode}
    words = ("device eth0", "192.0.2.1", "policy rule 5270 'from all lookup 52'", "dev tailscale0 table 52")
    refused(model, *(words + ("loose for eth0", "allow_lockout=true", "Nothing was changed")), **given)


@pytest.mark.parametrize(
    ("given", "prepare"),
    [
        ({"allow_lockout": True}, lambda node: None),
        ({"uplinks": "keep"}, lambda node: None),
        ({"uplinks": {"tailscale0": "strict"}}, lambda node: None),
        ({}, lambda node: node.route_to_outside.clear()),
        ({}, lambda node: setattr(node, "routes", [])),
        ({}, lambda node: node.values.update(eth0=1)),
        (
            {},
            lambda node: node.route_to_outside.update(
                {"192.0.2.1": {"dst": "default", "nexthops": [{"dev": "tailscale0"}, {"dev": "eth0"}]}}
            ),
        ),
    ],
)
def test_whom_the_guard_of_outside_sources_lets_pass(model, given, prepare):
    exit_node(model)
    prepare(model)
    if not model.route_to_outside:
        model.route_to_outside = {"100.100.1.1": {"dst": "default", "dev": "tailscale0", "table": "52"}}
    assert model.run(**{"uplinks": "strict", **given})["changed"]


def test_a_restored_uplink_is_guarded_too(strict):
    exit_node(strict)
    strict.values["all"] = 0
    refused(strict, "device eth0", "5270")


def test_no_route_back_to_the_outside_is_refused(model):
    exit_node(model)
    model.route_to_outside["192.0.2.1"] = None
    refused(model, "missing (Network is unreachable)", uplinks={"eth0": "strict"})


def test_the_module_returns_what_stands_after_a_run(model):
    plan_of_run = model.run(check_mode=True)["plan"]
    found = rp_filter._outcome(model.transaction, plan_of_run)
    assert found["uplinks"] and "interface cilium_host" in found["cilium_signs"]


# removal


def test_removal_that_breaks_pods_is_refused_and_names_them(model):
    model.run()
    error = refused(model, "3 endpoints", "10.0.0.1 (lxc1)", "absent_breaks_pods=true", state="absent")
    assert [endpoint["device"] for endpoint in error.details["would_break"]] == ["lxc1", "lxc2", "lxc3"]
    refused(model, "3 endpoints", state="absent", check_mode=True)


def test_removal_with_consent_lists_them_and_gives_back_what_was(model):
    before = model.everything()
    model.run()
    result = model.run(state="absent", breaks_pods=True)
    assert [endpoint["device"] for endpoint in result["would_break"]] == ["lxc1", "lxc2", "lxc3"]
    # But Cilium's host interfaces stay where the agent keeps them.
    assert model.everything() == ({**before[0], "cilium_host": 0, "cilium_net": 0}, before[1])
    assert not model.run(state="absent", breaks_pods=True)["changed"]


def test_harden_then_absent_leaves_lo_as_it_was(strict):
    strict.values["lo"] = 0
    strict.run()
    assert strict.values["lo"] == 1
    strict.run(state="absent", breaks_pods=True)
    assert strict.values["lo"] == 0


def test_removal_that_breaks_nobody_needs_no_consent(model):
    os.unlink(model.root + VENDOR)
    model.values.update(dict.fromkeys(model.values, 0))
    model.run()
    assert model.run(state="absent")["would_break"] == []


def test_an_endpoint_that_is_dropped_already_is_not_broken_by_removal(model):
    model.run()
    model.martians.update(("lxc1", "lxc2", "lxc3"))
    assert model.run(state="absent")["would_break"] == []


def test_cilium_s_own_file_still_counts_after_removal(model):
    model.run()
    model.file(CILIUM, "-net.ipv4.conf.lxc*.rp_filter = 0\n-net.ipv4.conf.cilium_*.rp_filter = 0\n" + ALL_STRICT)
    model.run(state="absent", breaks_pods=True)
    assert model.values["lxc1"] == 0
    assert model.values["all"] == 1


def test_removal_leaves_all_as_the_agent_keeps_it(model):
    os.unlink(model.root + VENDOR)
    model.file("/etc/sysctl.d/90-cis.conf", ALL_STRICT)
    model.file("/etc/cni/net.d/05-cilium.conflist", '{"plugins": [{"type": "cilium-cni"}]}')
    model.values.update(dict.fromkeys(model.values, 0))
    model.run()
    result = model.run(state="absent")
    assert (model.values["all"], result["would_break"]) == (0, [])
    assert any("all stays off (0)" in text and "/etc/sysctl.d/90-cis.conf:1" in text for text in result["warnings"])


@pytest.mark.parametrize("was_on", [True, False])
def test_removal_gives_all_its_line_back_if_no_agent_keeps_it_or_it_was_on(model, was_on):
    os.unlink(model.root + VENDOR)
    model.file("/etc/sysctl.d/90-cis.conf", ALL_STRICT)
    if was_on:
        model.file("/etc/cni/net.d/05-cilium.conflist", '{"plugins": [{"type": "cilium-cni"}]}')
    model.values.update(dict.fromkeys(model.values, 0), all=int(was_on))
    model.run()
    model.run(state="absent", breaks_pods=True)
    assert model.values["all"] == 1


def test_removal_that_filters_the_host_interfaces_under_endpoint_routes_needs_consent(model):
    model.has_endpoint_routes, model.endpoints = True, []
    model.values["all"] = 2
    model.file("/etc/sysctl.d/60-all.conf", "net.ipv4.conf.all.rp_filter = 2\n")
    model.run()
    refused(model, "cilium_host, cilium_net", "absent_breaks_pods=true", state="absent")
    model.run(state="absent", breaks_pods=True)
    assert model.values["all"] == 2


def test_removal_needs_no_consent_for_host_interfaces_that_are_filtered_already(model):
    model.has_endpoint_routes, model.endpoints = True, []
    model.values["all"] = 2
    model.file("/etc/sysctl.d/60-all.conf", "net.ipv4.conf.all.rp_filter = 2\n")
    model.run()
    model.values.update(cilium_host=2, cilium_net=2)
    model.run(state="absent")
    assert model.values["all"] == 2


# the rule of udev and the disabled lines: part of the same transaction


@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_rule_of_udev_of_a_newer_version_is_refused(model, state):
    model.run(udev="always")
    newer = model.text(environment.UDEV_RULE).decode().replace("format 1", "format 2")
    model.file(environment.UDEV_RULE, newer)
    refused(model, "format 2", "Update the collection", state=state, udev="always", breaks_pods=True)


@pytest.mark.parametrize(
    ("systemd", "udev", "expected"),
    [(257, "auto", False), (257, "always", True), (239, "auto", True), (257, "never", False)],
)
def test_when_a_rule_of_udev_is_written(model, systemd, udev, expected):
    model.systemd = systemd
    result = model.run(udev=udev)
    assert model.has(environment.UDEV_RULE) is expected
    assert any(entry["after_header"] == environment.UDEV_RULE for entry in result["diff"]) is expected
    assert (["udevadm", "control", "--reload"] in model.ran) is expected
    assert not model.run(udev=udev)["changed"]
    model.systemd = 257
    model.run(udev="never")
    assert not model.has(environment.UDEV_RULE)


def test_a_rule_that_is_not_ours_is_left_alone(model):
    model.file(environment.UDEV_RULE, "# mine\n")
    model.run()
    model.run(state="absent", breaks_pods=True)
    assert model.text(environment.UDEV_RULE) == b"# mine\n"


def test_udev_is_not_told_where_nothing_runs(model):
    model.run(udev="always", apply="never")
    assert model.has(environment.UDEV_RULE)
    assert model.ran == []


HARD = b"# CIS 3.3.7\r\nnet.ipv4.conf.all.rp_filter = 1\r\n\xffnet.ipv4.conf.x = \xe9\nnet.ipv4.conf.lxc*.rp_filter=1"


def test_a_conflict_is_refused_with_its_place(model):
    model.file(LATER, HARD)
    error = refused(model, LATER + ":2", "net.ipv4.conf.all.rp_filter = 1", LATER + ":4", "conflicts=disable")
    assert [conflict["line"] for conflict in error.details["conflicts"]] == [2, 4]


def test_disabled_lines_come_back_byte_for_byte(model):
    model.file(LATER, HARD)
    os.chmod(model.root + LATER, 0o640)
    before = model.tree()
    result = model.run(conflicts="disable")
    mark = conflicts.MARK.encode()
    rows = HARD.split(b"\n")
    assert model.text(LATER) == b"\n".join([rows[0], mark + rows[1], rows[2], mark + rows[3]])
    assert [conflict["line"] for conflict in result["conflicts"]] == [2, 4]
    backup = model.root + files.BACKUPS + "/etc%sysctl.d%zz-hardening.conf.orig"
    with open(backup, "rb") as stream:
        assert stream.read() == HARD
    assert model.run(conflicts="fail")["changed"] is False
    model.run(state="absent", breaks_pods=True)
    assert model.tree() == before
    assert stat.S_IMODE(os.stat(model.root + LATER).st_mode) == 0o640
    assert model.values["all"] == 1  # since that line decides it again


def test_the_backup_holds_what_was_before_the_first_line_was_disabled(model):
    model.file(LATER, ALL_STRICT)
    model.run(conflicts="disable")
    model.file(LATER, model.text(LATER) + ALL_STRICT.encode())
    model.run(conflicts="disable")
    with open(model.root + files.BACKUPS + "/etc%sysctl.d%zz-hardening.conf.orig") as stream:
        assert stream.read() == ALL_STRICT


def test_a_conflict_in_what_a_link_leads_to_is_disabled_there(model):
    model.file("/etc/sysctl.conf", ALL_STRICT)
    os.mkdir(model.root + "/etc/sysctl.d")
    os.symlink("../sysctl.conf", model.root + "/etc/sysctl.d/99-sysctl.conf")
    model.run(conflicts="disable")
    assert model.text("/etc/sysctl.conf").decode() == conflicts.MARK + ALL_STRICT
    assert os.path.islink(model.root + "/etc/sysctl.d/99-sysctl.conf")


def test_a_line_below_a_disabled_one_is_found_and_disabled_too(model):
    model.file(LATER, ALL_STRICT + "net.ipv4.conf.all.rp_filter = 2\n")
    result = model.run(conflicts="disable")
    assert [conflict["line"] for conflict in result["conflicts"]] == [2, 1]
    assert model.text(LATER).decode().count(conflicts.MARK) == 2


def test_a_line_that_cannot_be_commented_out_is_refused(model):
    model.file(LATER, conflicts.MARK + "x\rnet.ipv4.conf.all.rp_filter = 1\n")
    refused(model, "cannot be disabled", LATER + ":1 ", "by hand", conflicts="disable")


def test_a_reported_conflict_is_a_warning_and_no_file_is_touched(model):
    model.file(LATER, ALL_STRICT)
    result = model.run(conflicts="report")
    assert any(LATER + ":1" in warning for warning in result["warnings"])
    assert model.text(LATER).decode() == ALL_STRICT
    assert model.values["all"] == 0


# other writers

TUNED = {
    "by": "tuned",
    "path": "/etc/tuned/profiles/k8s-node/tuned.conf",
    "line": 6,
    "text": "net.ipv4.conf.all.rp_filter=1",
    "unit": "tuned.service",
    "when": ["boot"],
    "names": ["all"],
    "value": "1",
    "sets": 1,
    "certain": True,
    "narrowed": False,
    "not_on": [],
    "runs": None,
    "active": True,
}
PLACE = "/etc/tuned/profiles/k8s-node/tuned.conf:6"
UDEV_LINE = 'ACTION=="add", SUBSYSTEM=="net", RUN+="/bin/sh -c \'echo 1 > /proc/sys/net/ipv4/conf/%k/rp_filter\'"'
UDEV = dict(
    TUNED,
    by="udev",
    path="/etc/udev/rules.d/99-zz-rpfilter.rules",
    line=2,
    text=UDEV_LINE,
    unit=None,
    when=["boot", "interface"],
    names=["lxc*"],
)


@pytest.mark.parametrize("conflicts_", ["fail", "disable"])
@pytest.mark.parametrize("check_mode", [True, False])
def test_a_writer_that_overrides_the_drop_in_is_refused_with_the_remediation(model, conflicts_, check_mode):
    model.writers = [TUNED]
    error = refused(model, PLACE, "tuned.service", "reapply_sysctl=1", conflicts=conflicts_, check_mode=check_mode)
    assert ("comments out lines of sysctl.d only" in str(error)) == (conflicts_ == "disable")
    assert "Remove these lines" not in str(error)
    assert [(found["path"], found["by"]) for found in error.details["conflicts"]] == [(TUNED["path"], "tuned")]


def test_a_line_and_a_writer_are_both_named(model):
    model.writers = [TUNED]
    model.file(LATER, HARD)
    refused(model, PLACE, LATER + ":2", "Remove these lines", "What to change")


def test_a_reported_writer_is_a_warning(model):
    model.writers = [TUNED]
    result = model.run(conflicts="report")
    assert any("will not last" in warning and PLACE in warning for warning in result["warnings"])
    assert result["conflicts"][0]["unit"] == "tuned.service"
    assert model.values["lxc1"] == 0


def test_a_writer_that_does_not_run_is_a_warning_and_no_conflict(model):
    model.writers = [dict(TUNED, active=False)]
    result = model.run()
    assert result["conflicts"] == []
    assert any(PLACE in warning for warning in result["warnings"])


def tuned_applies_again(model, profile="vm.swappiness=10\n"):
    model.find_writers = writers.find
    model.file("/etc/tuned/active_profile", "k\n")
    model.file("/etc/tuned/profiles/k/tuned.conf", "[sysctl]\n" + profile)
    model.file("/usr/lib/systemd/system/tuned.service", "[Service]\nExecStart=/usr/sbin/tuned\n")
    wants = model.root + "/etc/systemd/system/multi-user.target.wants"
    os.makedirs(wants, exist_ok=True)
    os.symlink("../../../../usr/lib/systemd/system/tuned.service", wants + "/tuned.service")


def test_a_line_that_tuned_alone_applies_is_refused(model):
    model.procps = None  # and systemd-sysctl does not read this file
    tuned_applies_again(model)
    model.file("/etc/sysctl.conf", ALL_STRICT)
    refused(model, "/etc/sysctl.conf:1", "tuned.service", "remove the line at /etc/sysctl.conf:1")


def test_the_drop_in_holds_against_earlier_lines_that_tuned_applies_again(model):
    tuned_applies_again(model, "net.ipv4.conf.all.rp_filter=1\n")
    model.file("/etc/sysctl.d/10-cis.conf", ALL_STRICT)
    assert model.run()["conflicts"] == []
    assert not model.run()["changed"]


def test_a_later_line_that_both_the_loaders_and_tuned_apply_is_disabled(model):
    tuned_applies_again(model)
    model.file(LATER, HARD)
    assert {found["by"] for found in model.run(conflicts="disable")["conflicts"]} == {None}
    assert model.run()["conflicts"] == []


def test_a_harmless_line_for_default_stays_harmless_if_tuned_applies_it_as_well(model):
    model.values["default"] = 1
    model.file(LATER, "net.ipv4.conf.default.rp_filter = 0\n")
    alone = model.run()
    tuned_applies_again(model)
    assert alone["conflicts"] == model.run()["conflicts"] == []


def test_our_own_final_rule_cures_another_rule_of_udev(model):
    model.find_writers = writers.find
    model.file(
        "/etc/udev/rules.d/99-zz-rpfilter.rules",
        '# strict\nACTION=="add", SUBSYSTEM=="net", KERNEL!="eth*", '
        "RUN+=\"/bin/sh -c 'echo 1 > /proc/sys/net/ipv4/conf/%k/rp_filter'\"\n",
    )
    refused(model, "99-zz-rpfilter.rules:2", "set udev=always")
    assert model.run(udev="always")["conflicts"] == []
    assert 'RUN{builtin}:="path_id"' in model.text(environment.UDEV_RULE).decode()


def test_our_own_rule_does_not_cure_an_earlier_final_one(model):
    model.find_writers = writers.find
    model.file(
        "/etc/udev/rules.d/50-rpfilter.rules",
        'ACTION=="add", SUBSYSTEM=="net", KERNEL=="lxc*", '
        "RUN:=\"/bin/sh -c 'echo 1 > /proc/sys/net/ipv4/conf/%k/rp_filter'\"\n",
    )
    refused(model, "50-rpfilter.rules:1", udev="always")


def test_writers_are_sought_with_the_units_that_run(model):
    asked = []

    def find_writers(_reader, _units, version, running, rules):
        asked.append((version, running))
        return [], []

    ip = SimpleNamespace(
        netconf=model.netconf, links=model.ip_links, addresses=model.ip_addresses, routes=list, verdicts=model.verdicts
    )
    options = plan.Options(["lxc*", "cilium_*"], "keep", None)
    request = transaction.Request(
        "present", PATH, options, "always", dropin.COMMENTS, False, False, None, "fail", "auto"
    )
    transaction.Transaction(request, ip, model.run_command, model, find_writers).run(True)
    assert asked == [(257, {"ufw.service"})]


UFW = {"etc/ufw/ufw.conf": "ENABLED=yes\n", "etc/ufw/sysctl.conf": "net/ipv4/conf/all/rp_filter=1\n"}
LOOSE_NETWORK = "[Match]\nName=*\n[Network]\nIPv4ReversePathFilter=loose\n"
DISPATCHER = "echo 1 > /proc/sys/net/ipv4/conf/$1/rp_filter\n"


def found_writers(root, files, running=()):
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    reader = Reader(str(root))
    return writers.find(reader, Units(reader), 257, frozenset(running))[0]


def test_a_script_of_the_dispatcher_is_a_conflict_and_not_what_networkmanager_loosens(model, tmp_path):
    path = "etc/NetworkManager/dispatcher.d/30-rpfilter"
    found_writers(tmp_path, {path: DISPATCHER})
    (tmp_path / path).chmod(0o755)
    (writer,) = found_writers(tmp_path, {}, ["NetworkManager.service"])
    assert (writer["by"], writer["certain"]) == ("networkmanager-dispatcher", False)
    model.writers = [writer]
    refused(model, f"/{path}:1")
    model.writers = [dict(writer, active=False)]
    assert any("30-rpfilter:1" in warning for warning in model.run()["warnings"])


def test_a_catch_all_of_networkd_is_refused_by_its_line(model, tmp_path):
    model.writers = found_writers(
        tmp_path, {"etc/systemd/network/zz-default.network": LOOSE_NETWORK}, ["systemd-networkd.service"]
    )
    refused(model, "zz-default.network:4", conflicts="disable")


def test_what_could_not_be_read_of_the_writers_is_named(model, monkeypatch, tmp_path):
    folder = tmp_path / "etc/cron.d"
    folder.mkdir(parents=True, exist_ok=True)
    real_listdir = os.listdir

    def listdir(path):
        if str(path) == str(folder):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real_listdir(path)

    monkeypatch.setattr(os, "listdir", listdir)
    model.find_writers = writers.find
    assert any("/etc/cron.d cannot be read (Permission denied)" in warning for warning in model.run()["warnings"])


@pytest.mark.parametrize(
    ("dropin", "named"),
    [
        ("ExecStartPost=/usr/sbin/sysctl -w net.ipv4.conf.all.rp_filter=1\n", "10-all.conf:2"),
        ("ExecStartPost=/usr/lib/systemd/systemd-sysctl /boot/late.conf\n", "/boot/late.conf:1"),
        ("ExecStartPost=/usr/local/sbin/tune-network\n", "10-all.conf:2"),
    ],
)
def test_what_the_units_own_files_override_is_refused(model, dropin, named):
    model.file("/etc/systemd/system/systemd-sysctl.service.d/10-all.conf", "[Service]\n" + dropin)
    model.file("/boot/late.conf", "net.ipv4.conf.all.rp_filter = 1\n")
    model.file("/usr/local/sbin/tune-network", "#!/bin/sh\nfor each in a b; do echo 1 > /proc/$each/rp_filter; done\n")
    model.values["all"] = 1
    said = refused(model, named, "systemd-sysctl.service")
    assert "or disable systemd-sysctl.service" not in str(said)
    refused(model, named, conflicts="disable")
    assert not any("no known writer" in warning for warning in model.run(conflicts="report")["warnings"])


def test_a_line_that_a_program_loads_as_well_is_disabled_for_both(model):
    model.find_writers = writers.find
    model.file("/etc/sysctl.conf", ALL_STRICT)
    model.file("/usr/lib/systemd/system-generators/systemd-rc-local-generator", "")
    model.file("/etc/rc.local", "#!/bin/sh -e\nsysctl -p\nexit 0\n")
    os.chmod(model.root + "/etc/rc.local", 0o755)
    assert "rc.local" not in str(refused(model, "/etc/sysctl.conf:1"))
    result = model.run(conflicts="disable")
    assert [conflict["by"] for conflict in result["conflicts"]] == [None]
    assert not model.run(conflicts="disable")["changed"]


def test_a_credential_that_cannot_be_read_is_a_conflict_with_its_path(model):
    model.file(
        "/usr/lib/systemd/system/systemd-sysctl.service",
        "[Service]\nExecStart=/usr/lib/systemd/systemd-sysctl\nImportCredential=sysctl.*\n",
    )
    model.file("/etc/credstore.encrypted/sysctl.extra", "x\n")
    refused(model, "/etc/credstore.encrypted/sysctl.extra", "may override", "systemd-sysctl.service")
    assert model.run(conflicts="report")["conflicts"][0]["line"] is None


def test_what_the_unit_applies_before_the_drop_in_is_no_conflict(model):
    model.file(
        "/usr/lib/systemd/system/systemd-sysctl.service.d/50-kernel.conf",
        "[Service]\nExecStartPre=-/usr/lib/systemd/systemd-sysctl /boot/sysctl.conf-6\n",
    )
    model.file("/boot/sysctl.conf-6", "net.ipv4.conf.all.rp_filter = 1\n")
    assert model.run()["conflicts"] == []


def test_a_masked_unit_is_named(model):
    model.file("/etc/systemd/system/systemd-sysctl.service", "")
    assert any("systemd-sysctl.service is masked" in warning for warning in model.run()["warnings"])


def test_a_default_that_is_not_weaker_is_a_warning_and_no_refusal(model):
    model.file("/etc/sysctl.conf", "# hardening role\nnet.ipv4.conf.default.rp_filter = 1\n")
    result = model.run()
    assert model.values["lxc1"] == 0
    assert any("/etc/sysctl.conf:2" in warning for warning in result["warnings"])


@pytest.mark.parametrize(
    ("text", "named"),
    [("", True), ("net.ipv4.conf.all.rp_filter = 1\n", True), ("net.ipv4.conf.all.rp_filter = 2\n", False)],
)
def test_a_running_value_of_no_line_and_no_writer_is_named(model, text, named):
    os.unlink(model.root + VENDOR)
    model.file("/etc/sysctl.d/60-x.conf", text)
    model.values.update(dict.fromkeys(model.values, 0), all=2)
    warnings = [warning for warning in model.run()["warnings"] if "may write it again" in warning]
    assert bool(warnings) is named
    assert model.values["eth0"] in (1, 2)


# what a plan is made from


def test_a_value_lowered_at_run_time_is_left_and_named_with_its_line(model):
    os.unlink(model.root + VENDOR)
    line = "net.ipv4.conf.eth0.rp_filter = 1\n"
    model.file("/etc/sysctl.d/70-tke.conf", "net.ipv4.conf.all.rp_filter = 0\n" + line)
    model.values.update(dict.fromkeys(model.values, 0))
    result = model.run()
    assert model.values["eth0"] == 0
    assert "eth0" not in model.text(PATH).decode()
    assert any("/etc/sysctl.d/70-tke.conf:2" in warning and "strict (1)" in warning for warning in result["warnings"])
    assert not model.run()["changed"]


def test_what_all_gave_before_the_agent_took_it_is_restored_and_announced(model):
    os.unlink(model.root + VENDOR)
    model.file("/etc/sysctl.d/60-gce.conf", ALL_STRICT)
    model.values.update(dict.fromkeys(model.values, 0))
    result = model.run()
    assert model.values["eth0"] == 1
    assert any("/etc/sysctl.d/60-gce.conf:1" in warning for warning in result["warnings"])
    (item,) = [item for item in result["plan"] if item["name"] == "lo"]
    assert item["why"].startswith("restores what all = 1 (/etc/sysctl.d/60-gce.conf:1) gives it")


def test_drift_names_the_pin(model):
    model.run()
    model.values["eth0"] = 0
    (warning,) = [text for text in model.run()["warnings"] if "eth0" in text]
    line = model.text(PATH).decode().split("\n").index("-net.ipv4.conf.eth0.rp_filter = 2") + 1
    assert f"{PATH}:{line}" in warning


def test_what_a_line_that_this_run_disables_gave_through_all_is_kept(model):
    # Read by sysctl --system alone, and its value was taken away by the agent.
    os.unlink(model.root + VENDOR)
    model.values.update(dict.fromkeys(model.values, 0))
    model.file("/etc/sysctl.conf", ALL_STRICT)
    model.run(conflicts="disable")
    assert model.values["eth0"] == 1
    assert not model.run(conflicts="disable")["changed"]


def test_all_of_a_file_that_is_replaced_is_not_lost(model):
    os.unlink(model.root + VENDOR)
    model.values.update(dict.fromkeys(model.values, 0))
    model.file(PATH, "-net.ipv4.conf.lxc*.rp_filter = 0\n" + ALL_STRICT)
    model.run()
    assert model.values["eth0"] == 1


@pytest.mark.parametrize("all_", [0, 1])
def test_a_glob_that_weakens_later_interfaces_is_named_only_if_all_protected_them(model, all_):
    model.file(VENDOR, "net.ipv4.conf.default.rp_filter = 2\n-net.ipv4.conf.*.rp_filter = 0\n")
    model.values.update(dict.fromkeys(model.values, 0), all=all_, default=2)
    warnings = [
        warning for warning in model.run()["warnings"] if "that are not Cilium's will be unprotected" in warning
    ]
    assert len(warnings) == all_
    assert all(warning.endswith("and all, which protected them, goes off") for warning in warnings)


def test_a_glob_for_some_later_interfaces_is_named_as_well(model):
    model.file(VENDOR, "net.ipv4.conf.default.rp_filter = 1\n-net.ipv4.conf.veth*.rp_filter = 0\n" + ALL_STRICT)
    model.values.update(dict.fromkeys(model.values, 0), all=1)
    (warning,) = [text for text in model.run()["warnings"] if "unprotected" in text]
    assert "later interfaces named veth*" in warning and f"{VENDOR}:2" in warning


def test_a_glob_that_a_later_one_overrides_bares_no_interface(model):
    globs = "-net.ipv4.conf.veth*.rp_filter = 0\n-net.ipv4.conf.vet*.rp_filter = 1\n"
    model.file(VENDOR, "net.ipv4.conf.default.rp_filter = 1\n" + globs + ALL_STRICT)
    model.values.update(dict.fromkeys(model.values, 0), all=1)
    assert not [text for text in model.run()["warnings"] if "unprotected" in text]


def test_all_does_not_go_off_if_it_is_off(model):
    model.file(VENDOR, "net.ipv4.conf.default.rp_filter = 1\n-net.ipv4.conf.*.rp_filter = 0\n")
    model.file("/etc/sysctl.d/60-gce.conf", ALL_STRICT)
    model.values.update(dict.fromkeys(model.values, 0), default=1)
    (warning,) = [text for text in model.run()["warnings"] if "unprotected" in text]
    assert warning.endswith("and all, which /etc/sysctl.d/60-gce.conf:1 turns on, stays off")


def test_cilium_s_file_is_left_out_of_what_is_to_be_kept(strict):
    strict.file(CILIUM, "-net.ipv4.conf.lxc*.rp_filter = 0\nnet.ipv4.conf.all.rp_filter = 0\n")
    strict.values["all"] = 0  # stolen
    strict.run()
    assert strict.values["eth0"] == strict.values["default"] == 1
    assert "-net.ipv4.conf.eth0.rp_filter = 1" in strict.text(PATH).decode()


def test_our_own_file_is_left_out_too(strict):
    strict.run()
    again = strict.run(check_mode=True, uplinks={"veth9": "loose"})
    assert {item["name"]: item["to"] for item in again["plan"]}["default"] == 1


def test_cilium_s_mode_that_loosens_uplinks_is_left_alone(model):
    model.run(uplinks="strict")
    model.values["eth0"] = 2
    model.loosened_by = "the egress gateway"
    result = model.run()
    assert model.values["eth0"] == 2
    assert not result["changed"]
    assert any("egress gateway" in warning for warning in result["warnings"])


def test_the_header_is_checked_and_stands_on_top(model):
    refused(model, "header: line 1", "x = 1", header="x = 1")
    model.run(header="# ours")
    assert model.text(PATH).decode().startswith("# ours\n" + dropin.HEADER)


def test_names_that_are_no_utf_8_come_back_printable(model):
    model.device("lxc\udcff", 2, endpoint="10.0.0.9")
    model.device("veth\udcfe", 1)
    model.martians.add("lxc\udcff")
    result = model.run()
    assert result["unhealed"][0]["device"] == "lxc\\xff"
    str(result).encode("utf-8")
    with pytest.raises(dropin.DropinError) as error:
        model.run(listed=["eth7"])
    str(error.value).encode("utf-8")


# the path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "SYSCTL_FOLDERS", (str(tmp_path),))
    (tmp_path / "there.conf").write_text("")
    (tmp_path / "link.conf").symlink_to("there.conf")
    (tmp_path / "dangling.conf").symlink_to("nowhere")
    (tmp_path / "folder.conf").mkdir()
    os.mkfifo(str(tmp_path / "fifo.conf"))
    return str(tmp_path)


@pytest.mark.parametrize("name", ["there.conf", "new.conf", "99-a b.conf"])
def test_paths_that_are_well(folder, name):
    preflight.check_path(os.path.join(folder, name))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../x.conf", "outside the folders"),
        ("sub/x.conf", "outside the folders"),
        ("a..b.conf", "outside the folders"),
        ("", "does not end in '.conf'"),
        ("x", "does not end in '.conf'"),
        ("x.conf~", "does not end in '.conf'"),
        ("x.conf\n", "does not end in '.conf'"),
        ("a\nb.conf", "control characters"),
        ("a\0b.conf", "control characters"),
        (".conf", "hidden"),
        (".x.conf", "hidden"),
        ("x" * 251 + ".conf", "too long"),
        ("link.conf", "is a link to 'there.conf'"),
        ("dangling.conf", "is a link to 'nowhere'"),
        ("folder.conf", "is a folder or a special file"),
        ("fifo.conf", "is a folder or a special file"),
    ],
)
def test_paths_that_are_refused(folder, name, words):
    path = os.path.join(folder, name)
    with pytest.raises(transaction.TransactionError) as error:
        preflight.check_path(path)
    assert words in str(error.value)
    assert f"path: '{path}'" in str(error.value)


@pytest.mark.parametrize("path", ["x.conf", "/tmp/x.conf", "/etc/sysctl.conf", "/etc/sysctl.d", "/proc/sys/x.conf"])
def test_paths_outside_are_refused(path):
    with pytest.raises(transaction.TransactionError, match="is outside the folders .* expected a file in one of /etc"):
        preflight.check_path(path)


def test_the_path_is_looked_at_before_anything_else(model):
    refused(model, "outside the folders", path="/etc/x.conf")
    refused(model, "outside the folders", path="/etc/x.conf", state="absent")


@pytest.mark.parametrize("state", ["present", "absent"])
def test_somebody_else_s_file_that_sets_more_is_not_lost(model, state):
    model.file(PATH, "-net.ipv4.conf.lxc*.rp_filter = 0\nnet.ipv4.ip_forward = 1\n")
    refused(model, "line 2 sets 'net.ipv4.ip_forward'", "Name another file", state=state, breaks_pods=True)


# files as they are put in place


def test_a_new_file_is_readable_for_all_whatever_the_umask(tmp_path):
    path = str(tmp_path / "new" / "x.conf")
    before = os.umask(0o077)
    try:
        files.install(path, "a\r\nb\udcff")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o644
    with open(path, "rb") as stream:
        assert stream.read() == b"a\r\nb\xff"
    assert files.read_text(path) == "a\r\nb\udcff"
    assert os.listdir(str(tmp_path / "new")) == ["x.conf"]


def test_a_file_that_is_replaced_keeps_its_mode_and_no_reader_sees_half_of_it(tmp_path):
    path = str(tmp_path / "x.conf")
    files.install(path, "old")
    os.chmod(path, 0o600)
    with open(path) as reader:
        files.install(path, "new and longer")
        assert reader.read() == "old"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    files.install(path, None)
    files.install(path, None)
    assert os.listdir(str(tmp_path)) == []


def test_a_file_that_cannot_be_put_in_place_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(_source, _target):
        raise OSError(errno.EPERM, "Operation not permitted")

    path = str(tmp_path / "x.conf")
    files.install(path, "old")
    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="not permitted"):
        files.install(path, "new")
    assert os.listdir(str(tmp_path)) == ["x.conf"]
    assert files.read_text(path) == "old"


def test_backups_are_not_for_everybody(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BACKUPS", str(tmp_path / "backups"))
    files.install(str(tmp_path / "backups" / "x"), "secret")
    assert stat.S_IMODE(os.stat(str(tmp_path / "backups")).st_mode) == 0o700


def test_a_file_that_cannot_be_read_is_an_error_and_not_an_absent_one(tmp_path):
    with pytest.raises(transaction.TransactionError, match="cannot be read"):
        files.read_text(str(tmp_path))
    assert files.read_text(str(tmp_path / "none")) is None


# the kernel's files


def test_the_node_s_values(tmp_path, monkeypatch):
    monkeypatch.setattr(transaction, "CONF", str(tmp_path))
    (tmp_path / "eth0.100").mkdir()
    (tmp_path / "eth0.100" / "rp_filter").write_text("5\n")
    node = transaction.Node()
    assert node.read("eth0.100") == 2  # whatever is above 1 is loose
    node.write("eth0.100", 1)
    assert (tmp_path / "eth0.100" / "rp_filter").read_text() == "1\n"
    with pytest.raises(OSError, match="No such file") as error:
        node.write("eth9", 1)
    assert error.value.errno == errno.ENOENT


# the controller's address


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("203.0.113.9 50022 192.0.2.1 22", ("203.0.113.9", "192.0.2.1")),
        ("2001:db8::9 50022 2001:db8::1 22", None),  # rp_filter is IPv4's
        ("rubbish", None),
    ],
)
def test_the_connection_from_the_environment(words, expected):
    assert lockout.ssh_connection({"SSH_CONNECTION": words}) == expected


# As under sudo, which takes it out of the environment: below a shell that has it, a program that has not.
BARE = 'env -u SSH_CONNECTION "$0" -c "$1"; exit $?'


@pytest.mark.parametrize("command", [BARE, f'env -u SSH_CONNECTION sh -c \'{BARE}\' "$0" "$1"; exit $?'])
def test_the_connection_from_a_parent_s_environment(command):
    program = (
        f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}; "
        "from ansible_collections.nodeward.cilium.plugins.module_utils.write import lockout; "
        "print(lockout.ssh_connection({}))"
    )
    answer = subprocess.run(
        ["sh", "-c", command, sys.executable, program],
        env={**os.environ, "SSH_CONNECTION": "203.0.113.9 50022 192.0.2.1 22"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == "('203.0.113.9', '192.0.2.1')"


# somebody else's file at our path


THEIRS = """# by hand
net.ipv4.conf.default.rp_filter = 0
net.ipv4.conf.eth0.rp_filter = 0
-net.ipv4.conf.lxc*.rp_filter = 0
"""


def test_somebody_else_s_file_weakens_nothing(strict):
    strict.file(PATH, THEIRS)
    strict.run()
    assert (strict.values["eth0"], strict.values["default"], strict.values["all"]) == (1, 1, 0)


def test_somebody_else_s_file_is_kept_and_comes_back(model):
    model.file(PATH, THEIRS)
    before = model.everything()
    model.run()
    assert dropin.HEADER in model.text(PATH).decode()
    model.run(state="absent", breaks_pods=True)
    assert model.everything()[1] == before[1]
    assert not model.run(state="absent", breaks_pods=True)["changed"]


def test_a_removal_leaves_somebody_else_s_file_alone(model):
    model.file(PATH, THEIRS)
    before = model.everything()
    result = model.run(state="absent", breaks_pods=True)
    assert not result["changed"]
    assert model.everything() == before
    assert any("somebody else's file" in warning for warning in result["warnings"])


# what a result can carry


@pytest.mark.parametrize("check_mode", [True, False])
def test_bytes_that_are_no_utf_8_pass_through_files_and_are_shown_escaped(model, check_mode):
    model.file(LATER, b"# caf\xe9\n" + ALL_STRICT.encode())
    model.file(PATH, b"# caf\xe9\n-net.ipv4.conf.lxc*.rp_filter = 0\n")
    result = model.run(conflicts="disable", check_mode=check_mode)
    repr(result["diff"]).encode("utf-8")
    repr(result).encode("utf-8")
    assert "caf\\xe9" in str(result["dropin"]["before"])
    assert b"caf\xe9" in model.text(LATER)


# what is said


def test_uplinks_that_cannot_be_known_are_named(model):
    result = model.run(apply="never", uplinks="strict")
    assert any("uplink_devices" in warning for warning in result["warnings"])
    assert not any("uplink_devices" in warning for warning in model.run(apply="never")["warnings"])


def test_a_file_that_could_not_be_read_whole_is_named(model):
    model.file("/etc/sysctl.d/98-huge.conf", "# filler\n" * 200000)
    assert any("98-huge.conf" in warning and "unseen" in warning for warning in model.run()["warnings"])


def test_a_verdict_that_nobody_knows_is_no_pass_in_silence(model, monkeypatch):
    def unknown(_iproute):
        state = model.cilium_routes()
        for endpoint in state["endpoints"]:
            endpoint.update(verdict="unknown", reason="the kernel was not asked")
        return state

    monkeypatch.setattr(observe_routes, "observe", unknown)
    assert any("3 endpoints is not known" in warning for warning in model.run()["warnings"])


def test_a_kept_file_comes_back_once_and_not_to_a_later_drop_in(model):
    model.file(PATH, THEIRS)
    model.run()
    model.run(state="absent", breaks_pods=True)
    os.unlink(model.root + PATH)  # they took it away themselves
    model.run()
    model.run(state="absent", breaks_pods=True)
    assert not model.has(PATH)

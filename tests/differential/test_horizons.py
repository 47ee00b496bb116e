"""Generated nodes: what the facts predict for each horizon, against what stands after the real event.

A combination is a tree of sysctl.d, systemd-sysctl.service as it is changed by an administrator, udev rules, networkd
units, other units, an agent, and values that were set by hand. Each is a node of its own, which boots, is asked for its
facts, gets a new interface, a restart of the unit and a `sysctl --system`, each followed by a turn of the agent's
reconciler, and is booted again.

HORIZONS=500 sets their number (100); SEED=… repeats a run, and with ONLY=7 its seventh combination alone.
"""

import json
import os
import random
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import horizon_lab  # noqa: E402
import pytest  # noqa: E402
from ansible_collections.nodeward.cilium.plugins.module_utils import devices
from ansible_collections.nodeward.cilium.plugins.module_utils.write import environment  # noqa: E402

COMBINATIONS = int(os.environ.get("HORIZONS", "100"))
#: The short run makes the same combinations each time.
SEED = os.environ.get("SEED", str(random.SystemRandom().getrandbits(32)) if "HORIZONS" in os.environ else "3710598469")
ONLY = os.environ.get("ONLY")
NODES_AT_ONCE = 4

POD = "lxc3c160d6c7aa0"
LOADER = "/lib/systemd/systemd-sysctl"
UNIT = "/etc/systemd/system/systemd-sysctl.service"
TUNE = "/etc/systemd/system/tune.service"
NULL = {"link": "/dev/null"}
RPF = "net.ipv4.conf.%s.rp_filter"


class Combination:
    """The files and commands of a node; ``unsure`` are the files of writers that cannot be predicted."""

    def __init__(self, rng):
        self.rng = rng
        self.suite = rng.choice(["trixie", "trixie", "bookworm", "bullseye"])
        self.files, self.boot, self.state, self.unsure = {}, [], [], set()
        self.agent = self._one_of(
            (5, None),
            (3, {"VERSION": "1.20"}),
            (2, {"VERSION": "1.19"}),
            (1, {"VERSION": "1.20", "SYSCTLFIX": "yes"}),
            (1, {"VERSION": "1.20", "STOPPED": True}),
        )
        self._tree()
        self.unit = self._one_of((6, "vendor"), *((1, way.__name__) for way in self._units()))
        getattr(self, self.unit, lambda: None)()
        self.rules = self._one_of((5, "vendor"), *((1, way.__name__) for way in self._rules()))
        getattr(self, self.rules, lambda: None)()
        self.networkd = self._one_of((5, "none"), *((1, way.__name__) for way in self._networkd_units()))
        getattr(self, self.networkd, lambda: None)()
        self.other = self._one_of((8, "none"), (1, "service"), (1, "disabled_service"), (1, "script"))
        getattr(self, self.other, lambda: None)()
        if self.networkd not in ("none", "not_enabled") and self.other == "service":
            # Nothing tells which of the two is the last, if they write the same key.
            self.unsure |= {name for name in self.files if name.startswith("/etc/systemd/network/")}
            self.unsure.add(TUNE)
        for name in ("all", "default", "eth0", POD):
            if rng.random() < 0.15:
                self.state.append(f"echo {rng.choice([0, 1, 2])} > /proc/sys/net/ipv4/conf/{name}/rp_filter")

    def _one_of(self, *weighted):
        return self.rng.choices([each for _weight, each in weighted], [weight for weight, _each in weighted])[0]

    def __repr__(self):
        shown = [f"{self.suite}, agent {self.agent}, unit {self.unit}, rules {self.rules}, networkd {self.networkd}, "]
        shown[0] += f"other {self.other}"
        for name, content in self.files.items():
            shown.append(f"  {name}")
            text = content if isinstance(content, str) else json.dumps(content)
            shown += [f"    {line}" for line in text.splitlines()]
        return "\n".join(shown + [f"  $ {command}" for command in self.boot + self.state])

    # ---- sysctl.d

    def _tree(self):
        for _count in range(self.rng.choice([0, 1, 1, 2, 2, 3])):
            folder = self.rng.choice(["/etc/sysctl.d", "/etc/sysctl.d", "/run/sysctl.d", "/usr/lib/sysctl.d"])
            names = ["10-a", "50-default", "60-cis", "99-override_cilium_rp_filter", "99-zzz-override_cilium", "zz"]
            # What lies below /run is gone after a boot.
            folder = folder.replace("/run/", "/usr/local/lib/")
            content = self._lines() if self.rng.random() < 0.85 else NULL
            self.files[f"{folder}/{self.rng.choice(names)}.conf"] = content
        if self.rng.random() < 0.25:
            self.files["/etc/sysctl.d/50-default.conf"] = NULL
        if self.rng.random() < 0.3:
            self.files["/etc/sysctl.conf"] = self._lines()
            if self.rng.random() < 0.5:
                self.files["/etc/sysctl.d/99-sysctl.conf"] = {"link": "../sysctl.conf"}

    def _lines(self):
        return "".join(self._line() + "\n" for _count in range(self.rng.randint(1, 4)))

    def _line(self):
        names = (
            ["all"] * 4 + ["default"] * 2 + ["*", "lxc*", "lxc*", "cilium_*", "[l]xc*", "eth0", "eth0", "eth*", "e*0"]
        )
        key = RPF % self.rng.choice([*names, "cilium_host", POD, "d*", "?ll"])
        if self.rng.random() < 0.15:
            key = key.replace(".", "/")
        dash = self.rng.choice(["", "", "-"])
        if self.rng.random() < 0.1:
            return f"-{key}"
        return f"{dash}{key}{self.rng.choice(['=', ' = '])}{self.rng.choice([0, 1, 2, 1, 2, '01', '1 # x'])}"

    # ---- systemd-sysctl.service

    def _units(self):
        ways = (self.masked, self.disabled, self.condition, self.file_before, self.other_files, self.sysctl_after)
        return ways if self.suite == "bullseye" else (*ways, self.credential)

    def masked(self):
        self.files[UNIT] = NULL

    def disabled(self):
        self.files["/etc/systemd/system/sysinit.target.wants/systemd-sysctl.service"] = NULL

    def condition(self):
        path = self.rng.choice(["/none", "!/none", "/etc/passwd"])
        self.files[f"{UNIT}.d/10-condition.conf"] = f"[Unit]\nConditionPathExists={path}\n"

    def file_before(self):
        self.files["/boot/sysctl.conf-6.4.0-default"] = self._lines()
        text = f"[Service]\nExecStartPre=-{LOADER} /boot/sysctl.conf-6.4.0-default\n"
        self.files[f"/usr/lib/systemd/system/systemd-sysctl.service.d/{self.rng.choice([10, 50])}-kernel.conf"] = text

    def other_files(self):
        self.files["/etc/first.conf"], self.files["/etc/second.conf"] = self._lines(), self._lines()
        text = f"[Service]\nExecStart=\nExecStart={LOADER} /etc/first.conf /etc/second.conf\n"
        self.files[f"{UNIT}.d/override.conf"] = text

    def sysctl_after(self):
        name, value = self.rng.choice(["all", "default", "eth0"]), self.rng.choice([0, 1, 2])
        self.files[f"{UNIT}.d/after.conf"] = f"[Service]\nExecStartPost=-/sbin/sysctl -q -w {RPF % name}={value}\n"

    def credential(self):
        line = f"{RPF % self.rng.choice(['all', 'eth0', '*'])}={self.rng.choice([0, 1, 2])}"
        self.files[f"{UNIT}.d/extra.conf"] = f"[Service]\nSetCredential=sysctl.extra:{line}\n"

    # ---- udev

    def _rules(self):
        return (self.masked_rules, self.own_rule, self.later_rule, self.earlier_rule, self.script_rule)

    def masked_rules(self):
        self.files["/etc/udev/rules.d/99-systemd.rules"] = NULL

    def own_rule(self):
        self.files[environment.UDEV_RULE] = environment.udev_rule(devices.CILIUM_PATTERNS)
        if self.rng.random() < 0.5:
            self.rng.choice([self.later_rule, self.earlier_rule])()

    def later_rule(self):
        self._rule(self.rng.choice(["99-zz-rpfilter", "99-zzz-rpfilter", "99-tuning"]))

    def earlier_rule(self):
        self._rule("70-rpfilter")

    def _rule(self, name):
        match = self.rng.choice(["", ' KERNEL=="lxc*",', ' KERNEL=="eth*",', ' KERNEL!="lo",'])
        value = self.rng.choice([0, 1, 2])
        program = self.rng.choice(
            [
                f"RUN+=\"/bin/sh -c 'echo {value} > /proc/sys/net/ipv4/conf/%k/rp_filter'\"",
                f'RUN+="/sbin/sysctl -q -w net.ipv4.conf.$name.rp_filter={value}"',
                f'SYSCTL{{net/ipv4/conf/%k/rp_filter}}="{value}"',
            ]
        )
        self.files[f"/etc/udev/rules.d/{name}.rules"] = f'ACTION=="add", SUBSYSTEM=="net",{match} {program}\n'

    def script_rule(self):
        rule, script = "/etc/udev/rules.d/99-zz-manage.rules", "/usr/lib/udev/manage_rp_filter.sh"
        self.files[rule] = f'ACTION=="add", SUBSYSTEM=="net", RUN+="{script} %k"\n'
        value = self.rng.choice([0, 1, 2])
        text = f'#!/bin/sh\n[ -e /etc/hardened ] || exit 0\necho {value} > "/proc/sys/net/ipv4/conf/$1/rp_filter"\n'
        self.files[script] = {"text": text, "mode": "0755"}
        if self.rng.random() < 0.5:
            self.files["/etc/hardened"] = ""
        self.unsure |= {rule, script}

    # ---- networkd

    def _networkd_units(self):
        return (self.on_uplink, self.catch_all, self.on_pods, self.two_units, self.not_enabled)

    def on_uplink(self):
        self._network("10-uplink", self.rng.choice(["Name=eth0", "Name=eth*"]))

    def catch_all(self):
        self._network("zz-default", "Name=*")

    def on_pods(self):
        self._network("50-pods", self.rng.choice(["Name=lxc*", "Name=lxc* eth0"]))

    def two_units(self):
        self._network("10-first", self.rng.choice(["Name=eth0", "Name=lxc*"]), self.rng.random() < 0.5)
        self._network("zz-default", "Name=*")

    def not_enabled(self):
        self._network("zz-default", "Name=*")
        self.boot.clear()

    def _network(self, name, match, sets=True):
        value = self.rng.choice(["no", "strict", "loose"])
        line = f"IPv4ReversePathFilter={value}\n" if sets else ""
        path = f"/etc/systemd/network/{name}.network"
        self.files[path] = f"[Match]\n{match}\n\n[Network]\nLinkLocalAddressing=no\nKeepConfiguration=yes\n{line}"
        self.boot[:] = ["systemctl enable systemd-networkd.service"]
        if self.agent:
            self.unsure.add(path)  # it writes the host interfaces before or after the agent does

    # ---- other units

    def service(self):
        name, value = self.rng.choice(["all", "default", "eth0"]), self.rng.choice([0, 1, 2])
        self._service(f"/sbin/sysctl -q -w {RPF % name}={value}")
        if name == "default":
            self.unsure.add(TUNE)  # it may reach an interface that was never written

    def disabled_service(self):
        self._service(f"/sbin/sysctl -q -w {RPF % 'all'}=1")
        self.boot.remove("systemctl enable tune.service")

    def script(self):
        script = "/usr/local/sbin/tune"
        text = "#!/bin/sh\n[ -e /etc/hardened ] || exit 0\nfor name in all eth0; do\n"
        text += '    echo 1 > "/proc/sys/net/ipv4/conf/$name/rp_filter"\ndone\n'
        self.files[script] = {"text": text, "mode": "0755"}
        if self.rng.random() < 0.5:
            self.files["/etc/hardened"] = ""
        self._service(script)
        self.unsure |= {script, TUNE}

    def _service(self, program):
        # The agent starts after the network, and a unit of multi-user.target long after udev knows the interfaces.
        text = "[Unit]\nWants=systemd-udev-settle.service\nAfter=systemd-udev-settle.service\n"
        text += "Before=network.target\n[Service]\nType=oneshot\nRemainAfterExit=yes\n"
        text += f"ExecStart={program}\n[Install]\nWantedBy=multi-user.target\n"
        self.files[TUNE] = text
        self.boot.append("systemctl enable tune.service")

    # ---- the node

    def try_out(self, number, collection):
        """The round of predictions and events on a node of this combination."""
        laid = {"files": self.files, "boot": self.boot}
        settings = {"RECONCILE_SECONDS": "0", **(self.agent or {})}
        stopped = settings.pop("STOPPED", False)
        agent = [["agent", *(f"{name}={value}" for name, value in settings.items())]] if self.agent else []
        stop = [["shell", "systemctl stop lab-agent.service"]] if stopped else []
        state = [["shell", command] for command in self.state]
        with horizon_lab.Node(f"horizons-{number}", self.suite, collection, laid) as node:
            node.run("booted", ["network"], "base", *agent, ["interface", POD], *stop, *state)
            return horizon_lab.Round(node, agent=bool(self.agent), endpoints=False)


def combination(number):
    return Combination(random.Random(f"{SEED} {number}"))


@pytest.fixture(scope="module")
def rounds():
    numbers = [int(ONLY)] if ONLY else range(1, COMBINATIONS + 1)
    collection = horizon_lab.Collection(horizon_lab.ROOT / "plugins")
    try:
        with ThreadPoolExecutor(NODES_AT_ONCE) as pool:
            futures = {number: pool.submit(combination(number).try_out, number, collection) for number in numbers}
            yield {number: future.result() for number, future in futures.items()}
    finally:
        collection.remove()


def test_horizons(rounds):
    print(f"\nSEED={SEED} HORIZONS={len(rounds)}")
    seen, wrong = Counter(), []
    for number, lap in rounds.items():
        node = combination(number)
        problems = lap.wrong()
        for horizon, places in lap.unknown().items():
            paths = {place.rpartition(":")[0] for place in places}
            if not paths <= node.unsure:
                problems.append(f"{horizon}: unknown by {sorted(paths - node.unsure)}, which can be predicted")
        for horizon in lap.values:
            for subject, _name in lap.subjects(horizon):
                state = lap.predicted(horizon, subject)
                seen["predictions"] += 1
                seen["unknown"] += state["effective"] is None
                seen["not 0"] += bool(state["effective"])
                seen["ended by the agent"] += state["ends"] is not None
        if problems:
            wrong.append("\n".join([f"ONLY={number}", repr(node), *problems]))
    print(", ".join(f"{count} {what}" for what, count in seen.items()))
    assert not wrong, f"SEED={SEED}: {len(wrong)} of {len(rounds)} combinations disagree\n" + "\n\n".join(wrong)
    if not ONLY:
        assert seen["not 0"] > seen["predictions"] / 5, "the combinations decide too little to tell anything"
        assert seen["unknown"] < seen["predictions"] / 5, "too much is unknown to tell anything"

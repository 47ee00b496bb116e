"""A lab node on which each event of the horizons is caused, and a prediction compared with what then stands."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from ansible_collections.nodeward.cilium.plugins.module_utils import horizons

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "molecule/lab"
PIDS = ROOT / "build/lab/pids"
PACKAGES = "/usr/lib/python3/dist-packages"


class Collection:
    """A copy of the collection's plugins and of Ansible's part for modules, which stays as it is while nodes use it."""

    def __init__(self, plugins):
        import ansible

        self.folder = Path(tempfile.mkdtemp(prefix="nodeward-horizons-"))
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(plugins, self.folder / "ansible_collections/nodeward/cilium/plugins", ignore=ignored)
        source = Path(ansible.__file__).parent / "module_utils"
        shutil.copytree(source, self.folder / "ansible/module_utils", ignore=ignored)
        # As Ansible sends it to a node.
        (self.folder / "ansible/__init__.py").write_text(f"__version__ = {ansible.__version__!r}\n")

    def remove(self):
        shutil.rmtree(self.folder)


class Node:
    """A container of its own for each node: to boot one takes a second."""

    def __init__(self, name, suite, collection, laid):
        """laid: {"files": {path: content}, "boot": [command]}, laid before the first boot."""
        self.name = f"nodeward-{name}-{os.getpid()}"
        self._folder = Path(tempfile.mkdtemp(prefix="nodeward-node-"))
        (self._folder / "node.json").write_text(json.dumps(laid))
        shutil.copy(Path(__file__).with_name("horizon_node.py"), self._folder)
        PIDS.mkdir(parents=True, exist_ok=True)
        volumes = {
            self._folder: "/lab",
            collection.folder / "ansible": f"{PACKAGES}/ansible",
            collection.folder / "ansible_collections": f"{PACKAGES}/ansible_collections",
            LAB / "datapath.sh": "/usr/sbin/lab-datapath",
            LAB / "agent": f"{PACKAGES}/lab_agent",
            LAB / "agent/lab-agent": "/usr/sbin/lab-agent",
            LAB / "agent/lab-agent.service": "/usr/lib/systemd/system/lab-agent.service",
        }
        command(
            ["podman", "run", "--detach", "--replace", f"--name={self.name}", f"--hostname={name}"]
            + ["--network=none", "--privileged", "--systemd=always", f"--pidfile={PIDS / self.name}"]
            + [f"--volume={here}:{there}:ro" for here, there in volumes.items()]
            + [image(suite), "python3", "/lab/horizon_node.py", "boot"]
        )

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        command(["podman", "rm", "--force", "--ignore", "--time=0", self.name])
        shutil.rmtree(self._folder)
        (PIDS / self.name).unlink(missing_ok=True)

    def run(self, *steps):
        """The results of steps, run in the node one after the other; a step is a name, or a list with arguments."""
        asked = [[step] if isinstance(step, str) else step for step in steps]
        node = ["exec", self.name, "python3", "/lab/horizon_node.py"]
        return json.loads(command([str(LAB / "enter"), *node], input=json.dumps(asked)))

    def reboot(self):
        """As after a power cut: files stay, and interfaces and running values are gone."""
        command(["podman", "kill", self.name])
        command(["podman", "wait", self.name])
        command(["podman", "start", self.name])


_images = {}


def image(suite):
    if suite not in _images:
        _images[suite] = command([str(LAB / "node-image"), "build", suite]).strip()
    return _images[suite]


def command(arguments, **more):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    done = subprocess.run(arguments, check=False, timeout=900, **pipes, **more)
    if done.returncode:
        raise RuntimeError(f"'{' '.join(arguments[:4])} …' ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout


# ---- predictions and events ------------------------------------------------------------------------------------------

NEXT_POD, HOST, TUNNEL = "lxcnext01", "cilium_host", "cilium_vxlan"


class Round:
    """A node's facts, and the values after each event: ``values`` horizon -> name -> value.

    ``reconciled`` has the values after the reconciler's turn that follows an event. A pattern's interface is one that
    was made after the facts were gathered.
    """

    def __init__(self, node, agent, devices=(), endpoints=True):
        """The node stands: booted, with interfaces and a pod. endpoints: whether the facts of routes are wanted."""
        self.agent = agent
        modules = ["rp_filter_facts", "route_facts"] if endpoints else ["rp_filter_facts"]
        now, *results = node.run("values", *(["module", module] for module in modules))
        self.facts, self.routes, *_none = [_facts(result) for result in results] + [None]
        turn = [["reconcile"]] if agent else []
        interface, (host,), restart, sysctl_system = node.run(
            ["event", ["interface", NEXT_POD]],
            ["event", ["host_interface", TUNNEL]],
            ["event", ["restart"], *turn],
            ["event", ["sysctl_system"], *turn],
        )
        self.values = {"now": now, "interface": dict(interface[0], **{TUNNEL: host[TUNNEL]})}
        self.values.update(restart=restart[0], sysctl_system=sysctl_system[0])
        self.reconciled = {"restart": restart[1], "sysctl_system": sysctl_system[1]} if agent else {}
        node.reboot()
        node.run("booted", ["network", devices], "base")
        made = [["interface", name] for name in (NEXT_POD, TUNNEL) if not (agent and name == TUNNEL)]
        self.values["boot"] = node.run(["event", *made])[0][-1]
        node.run(*(["delete", name] for _step, name in made))

    def subjects(self, horizon):
        """(subject of a prediction, interface that shows it)."""
        uplinks = [name for name, known in self.facts["devices"].items() if known["kind"] == "uplink"]
        pods = [name for name in self.facts["devices"] if name.startswith("lxc") and name != "lxc_health"]
        pairs = [(name, name) for name in ["all", "default", *uplinks]]
        if horizon != "now":
            pairs += [("lxc*", NEXT_POD), ("cilium_*", TUNNEL)]
        if horizon != "interface":
            pairs += [(name, NEXT_POD if horizon == "boot" else name) for name in pods] + [(HOST, HOST)]
        return pairs

    def predicted(self, horizon, subject):
        known = self.facts.get("horizons", {})
        return known[subject][horizon] if subject in known else horizons.at(self.facts, subject, horizon)

    def wrong(self):
        """Each prediction that is not what stands, as a text."""
        found = []
        for horizon, values in self.values.items():
            for subject, name in self.subjects(horizon):
                state = self.predicted(horizon, subject)
                problem = _wrong(state, values, name) or self._wrong_end(state, horizon, name)
                if problem:
                    found.append(f"{horizon}, {subject} ({name}): {problem}")
        return found

    def _wrong_end(self, state, horizon, name):
        if horizon not in self.reconciled or state["effective"] is None:
            return None
        expected = state["ends"]["value"] if state["ends"] else state["effective"]
        if expected is None:
            return None  # its own value is unknown, and says so
        stands = effective(self.reconciled[horizon], name)
        return f"{stands} stands after the reconciler's turn, predicted {expected}" if stands != expected else None

    def unknown(self):
        """{horizon: places that make a prediction unknown}."""
        found = {}
        for horizon in self.values:
            for subject, _name in self.subjects(horizon):
                for place in self.predicted(horizon, subject)["unknown"]:
                    found.setdefault(horizon, set()).add(f"{place['path']}:{place['line']}")
        return found


def _facts(result):
    if "ansible_facts" not in result:
        raise RuntimeError(f"the facts module failed: {result}")
    return next(iter(result["ansible_facts"].values()))


def effective(values, name):
    return values[name] if name in ("all", "default") else max(values["all"], values[name])


def _wrong(state, values, name):
    """Why a predicted state is not what stands; None if it is. An unknown one must name a place."""
    stands = effective(values, name)
    if state["effective"] is None:
        if not state["unknown"]:
            return f"unknown without a place: {state}"
        return None if stands in state["possible"] else f"{stands} stands, possible is {state['possible']}"
    own = values[name] if state["value"] is None else state["value"]
    if (own, state["effective"]) != (values[name], stands):
        return f"{values[name]} stands, effective {stands}; predicted {state['value']}, effective {state['effective']}"
    return None

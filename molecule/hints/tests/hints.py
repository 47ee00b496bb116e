"""What a node in a state prints for people to copy: each command and option executed, and its promise checked.

There is no cluster: the scenario endpoint_routes executes the commands that need one; see `_of_kubectl` and
`_of_a_cluster` for what is checked of them here.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import horizon_lab
import yaml
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge import commands, source_marks
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.diagnosis import diagnosis
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.findings import findings
from ansible_collections.nodeward.cilium.plugins.plugin_utils.render.story import story

STATES = {state["id"]: state for state in yaml.safe_load(Path(__file__).with_name("states.yml").read_text())["states"]}
NAME = "node1"
DROPIN = "/etc/sysctl.d/99-override_cilium_rp_filter.conf"
POD = ["pod", "first", "10.0.0.113", "lxc3c160d6c7aa0"]
#: Hints in a message: an option with its value, and a request for an uplink's mode.
_OPTION = re.compile(r"\b((?:rp_filter|endpoint_routes|nodeward|diagnose|audit)_[a-z_]+=[a-z]+)\b")
_MODE = "(loose|strict|off)"
_MODES = re.compile(rf"Set rp_filter_uplinks (?:for it )?to {_MODE}(?:(?: for it [^.,]*,)? or (?:to )?{_MODE})?")
#: One packet of the pod to its node; the neighbour entry is what Cilium's program gives.
_SEND_FROM_POD = """
ip -n first neigh replace 10.0.0.253 lladdr $(cat /sys/class/net/lxc3c160d6c7aa0/address) dev eth0
ip netns exec first python3 -c "
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('10.0.0.253', 9))"
"""
_FOLDERS = "find /etc /var/backups -type f -exec sha256sum '{}' + | sort"

executed = Counter()
_of_all_states = set()


def counted():
    return (
        f"{executed['playbook'] + executed['shell']} executed, {executed['shell']} of them on the node's shell; "
        f"{executed['cluster']} for a cluster checked without one"
    )


# ---- a node in a state, and what it prints ---------------------------------------------------------------------------


@contextmanager
def standing(state, collection, number=0):
    """A node of its own in the state."""
    laid = {"files": state.get("files", {}), "boot": state.get("boot", [])}
    with horizon_lab.Node(f"hint-{state['id']}-{number}", state.get("suite", "trixie"), collection, laid) as node:
        base = ["agent", *("=".join(pair) for pair in state["agent"].items())] if "agent" in state else ["base"]
        steps = ["booted", ["network", state.get("devices", [])], base, POD]
        steps += [["module", "rp_filter", state["hardened"]]] if "hardened" in state else []
        node.run(*steps, *(["shell", command] for command in state.get("state", [])))
        yield node


def look(node, state):
    """What stands on the node, and what the collection says of it."""
    before = gathered(node, state)[0]["counters"] if state.get("drops") else None
    if before:
        node.run(["shell", _SEND_FROM_POD])
    facts, routes = gathered(node, state)
    found = findings(facts, routes, before)
    document = diagnosis(facts, routes, node=NAME)
    values, files = node.run("values", ["shell", _FOLDERS])
    return SimpleNamespace(
        facts=facts, routes=routes, findings=found, diagnosis=document, values=values, files=files, state=state
    )


def gathered(node, state):
    # A busy machine must not make facts incomplete.
    modules = [["module", name, {"timeout": 120}] for name in ("rp_filter_facts", "route_facts")]
    if state.get("as_nobody"):
        asked = f"echo {shlex.quote(json.dumps(modules))} | runuser --user nobody -- python3 /tmp/horizon_node.py"
        _copied, results = node.run(["shell", "cp /lab/horizon_node.py /tmp"], ["shell", asked])
        results = json.loads(results)
    else:
        results = node.run(*modules)
    failed = [result for result in results if "ansible_facts" not in result]
    if failed:
        raise RuntimeError(f"a facts module failed: {failed}")
    facts = {name: value for result in results for name, value in result["ansible_facts"].items()}
    for path, value in state.get("facts", {}).items():
        *above, last = path.split("/")
        member = facts
        for name in above:
            member = member[name]
        member[last] = value
    return facts["rp_filter"], facts["cilium_routes"]


def printed(seen):
    """command → the findings that print it; of a diagnosis, the ways out whose commands are printed as `$ COMMAND`."""
    found = {}
    for finding in seen.findings:
        if finding["remedy"]["command"]:
            found.setdefault(commands.for_node(finding["remedy"]["command"], NAME), []).append(finding)
    for line in story(seen.diagnosis):
        if line.startswith("     $ "):
            found.setdefault(line[7:], [])
    return found


# ---- executing -------------------------------------------------------------------------------------------------------


def playbook(node, words, folder):
    """Run a playbook as printed, with the inventory filled in: (exit code, what it prints)."""
    inventory = folder / "inventory.yml"
    host = {
        "ansible_host": node.name,
        "ansible_connection": "containers.podman.podman",
        "ansible_podman_executable": str(horizon_lab.LAB / "enter"),
        "ansible_python_interpreter": "/usr/bin/python3",
        # root in a container, which has no sudo
        **({"ansible_become": False} if "nodeward_become=true" not in words else _FROM_NOBODY),
    }
    inventory.write_text(json.dumps({"nodes": {"hosts": {NAME: host}}}))
    (folder / "ansible.cfg").touch()
    settings = {
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "KUBECONFIG": os.devnull,
    }
    done = subprocess.run(
        [str(inventory) if word == "INVENTORY" else word for word in words],
        check=False,
        cwd=folder,
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    # Ansible breaks the lines of warnings.
    return done.returncode, " ".join(done.stdout.split())


_FROM_NOBODY = {
    "ansible_user": "nobody",
    "ansible_remote_tmp": "/tmp/of-nobody",
    "ansible_become_method": "ansible.builtin.su",
}


@contextmanager
def working_folder():
    folder = Path(tempfile.mkdtemp(prefix="nodeward-hints-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


class Examination:
    """Of one state: each hint that is printed there, in ``problems`` those that do not keep their promise."""

    def __init__(self, state, collection):
        self.state, self.collection = state, collection
        self.problems, self.rules, self.options, self.hints = [], set(), set(), []
        self.number = 0
        with standing(state, collection) as node:
            seen = look(node, state)
            found = {finding["id"] for finding in seen.findings}
            self.rules = found & set(state.get("findings", []))
            self._expect(found >= self.rules == set(state.get("findings", [])), f"found are {sorted(found)}")
            changing = []
            for command, mends in printed(seen).items():
                way = self._way(command)
                by_hand = "by_hand" in state and not mends and way == self._of_check_mode
                if by_hand or way in (self._of_harden, self._of_shell):
                    changing.append((way, command, mends))
                else:
                    way(node, seen, command, mends)
        for way, command, mends in changing:
            with self._again() as node:
                # Of a diagnosis, ways out that come first.
                node.run(*(["shell", each] for each in state.get("by_hand", []) if not mends))
                way(node, look(node, state), command, mends)
        for command, hints in state.get("refusals", {}).items():
            self._of_a_refusal(command, hints)

    def _expect(self, holds, problem, out=""):
        if not holds:
            self.problems.append(problem + (f": …{out[-1500:]}" if out else ""))

    @contextmanager
    def _again(self):
        self.number += 1
        with standing(self.state, self.collection, self.number) as node:
            yield node

    def _way(self, command):
        words = shlex.split(command)
        if words[0] == "kubectl":
            return self._of_kubectl
        if words[0] != "ansible-playbook":
            return self._of_shell
        if any(word.startswith("endpoint_routes_") for word in words):
            return self._of_a_cluster
        if "--check" in words:
            return self._of_check_mode
        name = next(word for word in words if word.startswith("nodeward.cilium.")).split(".")[2]
        return {"harden": self._of_harden, "diagnose": self._of_diagnose, "audit": self._of_audit}[name]

    def _run(self, node, command, kind="playbook"):
        self.hints.append(command)
        executed[kind] += 1
        with working_folder() as folder:
            code, out = playbook(node, shlex.split(command), folder)
            document = folder / "nodeward-audit/audit.json"
            return code, out, json.loads(document.read_text()) if document.exists() else None

    # ---- promises

    def _of_kubectl(self, _node, _seen, command, _mends):
        """No cluster: that nothing is missing is all that is checked."""
        if not _first(command):
            return
        executed["cluster"] += 1
        self.hints.append(command)
        named = r"[a-z0-9][-a-z0-9.]*|NAMESPACE|NAME"
        whole = r"kubectl --namespace (%s) (delete pod (%s)|rollout restart deployment/(%s))" % ((named,) * 3)
        self._expect(re.fullmatch(whole, command), f"incomplete: {command}")

    def _of_a_cluster(self, node, seen, command, _mends):
        """No cluster: the variables must fit, and the playbook must end where it reaches for the cluster."""
        if not _first(command):
            return
        code, out, _document = self._run(node, command, "cluster")
        self._expect(
            code and "Read Cilium's configuration" in out and "API client" in out,
            f"{command} ended with {code}",
            out,
        )
        self._expect_unchanged(node, seen, command)

    def _of_check_mode(self, node, seen, command, _mends):
        code, out, _document = self._run(node, command)
        self._expect(code == 0, f"{command} ended with {code}", out)
        self._expect_unchanged(node, seen, command)

    def _expect_unchanged(self, node, seen, command):
        now = look(node, self.state)
        self._expect((now.values, now.files) == (seen.values, seen.files), f"{command} changed the node")

    def _of_harden(self, node, _seen, command, mends):
        """Whatever printed it is gone, as root sees it; after a remediation of a diagnosis, the node is ok."""
        code, out, _document = self._run(node, command)
        right = self.state.get("harden_ends", 0)
        self._expect(code == right, f"{command} (of {_ids(mends)}) ended with {code}", out)
        if code != right:
            return
        now = look(node, {**self.state, "as_nobody": False})
        wanted = {(finding["id"], finding["subject"]) for finding in mends}
        left = sorted(wanted & {(finding["id"], finding["subject"]) for finding in now.findings})
        self._expect(not left, f"{command} leaves {left}", out)
        if not mends:
            self._expect(now.diagnosis["state"] == "ok", f"{command}: {now.diagnosis['summary']}", out)

    def _of_diagnose(self, node, _seen, command, mends):
        """It names the place that the finding has; with root, it sees what could not be seen."""
        code, out, _document = self._run(node, command)
        self._expect(code == 0, f"{command} ended with {code}", out)
        if "nodeward_become=true" in command:
            self._expect("Not seen:" not in out, f"{command}: something could not be seen", out)
            return
        if "diagnose_watch" in command:
            self._expect(re.search(r"In \d+ s ", out), f"{command} does not say what it counted", out)
        for finding in mends:
            if finding["evidence"]["line"]:
                place = "%(path)s:%(line)s" % finding["evidence"]
                self._expect(place in out, f"{command} (of {finding['id']}) does not name {place}", out)

    def _of_audit(self, node, _seen, command, mends):
        """It gathers anew, and the finding is gone."""
        _code, out, document = self._run(node, command)
        if document is None:
            self._expect(False, f"{command} wrote no document", out)
            return
        found = {(finding["id"], finding["subject"]) for finding in document["nodes"][0]["findings"]}
        self._expect(not found & {(each["id"], each["subject"]) for each in mends}, f"{command} finds it again")

    def _of_shell(self, node, seen, command, mends):
        """A command for the node itself. What looks at a fault shows it; what mends one ends it."""
        names = source_marks.heeding_mark(seen.facts, seen.routes)[0] if "accept_local" in command else ["eth0"]
        out = ""
        for name in names if "DEVICE" in command else [None]:
            executed["shell"] += 1
            self.hints.append(command)
            try:
                (out,) = node.run(["shell", (command.replace("DEVICE", name) if name else command) + " 2>&1"])
            except RuntimeError as error:
                self._expect(False, f"{command} failed: {error}")
        shows = next((word for start, word in _SHOWS.items() if command.startswith(start)), None)
        if shows:
            self._expect(re.search(shows, out), f"{command} does not show {shows!r}", out)
            return
        now = look(node, self.state)
        left = {(each["id"], each["subject"]) for each in now.findings} & {(e["id"], e["subject"]) for e in mends}
        self._expect(not left, f"{command} leaves {left}", out)

    def _of_a_refusal(self, command, hints):
        """The hints of a message of a playbook: each lifts the refusal, or ends the warning, and has its effect."""
        playbook_name, *given = shlex.split(command)
        words = [*shlex.split(commands.playbook(playbook_name, NAME)), *given]
        warned = self.state.get("hints_of_warnings", False)
        with self._again() as node:
            code, out, _document = self._run(node, shlex.join(words))
        self._expect(bool(code) != warned, f"{command} ended with {code}", out)
        found = hints_in(out)
        self._expect(found == set(hints), f"{command}: found the hints {sorted(found)}", out)
        for hint, promise in hints.items():
            self.options.add(hint)
            name, _equals, value = hint.partition("=")
            setting = json.dumps({name: {"eth0": value}}) if name == "rp_filter_uplinks" else hint
            with self._again() as node:
                code, out, _document = self._run(node, shlex.join([*words, "--extra-vars", setting]))
                self._expect(code == 0, f"{command} with {hint} ended with {code}", out)
                self._expect(hint not in hints_in(out), f"{command} with {hint} asks for it again", out)
                self._expect_effect(f"{command} with {hint}", look(node, self.state), promise)

    def _expect_effect(self, what, now, promise):
        found = {finding["id"] for finding in now.findings}
        self._expect(not found & set(promise.get("gone", [])), f"{what}: found are {sorted(found)}")
        stands = {name: horizon_lab.effective(now.values, name) for name in promise.get("values", {})}
        self._expect(stands == promise.get("values", {}), f"{what}: {stands} stands")
        state = now.diagnosis["state"]
        self._expect(state == promise.get("state", state), f"{what}: {now.diagnosis['summary']}")
        stands = DROPIN in now.files
        self._expect(stands == promise.get("stands", stands), f"{what}: the drop-in stands: {stands}")


#: Commands that show and do not mend, and what is to be seen in what they print.
_SHOWS = {
    "nft ": "fib saddr . iif oif",
    "journalctl ": "80-wrong.conf|somaxconn",
    "udevadm test ": "(?s)rules.d/(?!.*RUN.*systemd-sysctl)",
}


def hints_in(text):
    """The options that a message asks for; a report of what was done with one is no hint."""
    found = set(_OPTION.findall(re.sub(r"\((rp_filter_edited=\w+)\)", "", text)))
    for first, second in _MODES.findall(text):
        found.update("rp_filter_uplinks=" + mode for mode in (first, second) if mode)
    return found


def _first(command):
    """Whether no state printed this command before, which says nothing of the node."""
    is_first = command not in _of_all_states
    _of_all_states.add(command)
    return is_first


def _ids(mends):
    return ", ".join(sorted({finding["id"] for finding in mends})) or "the diagnosis"

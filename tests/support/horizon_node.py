"""Runs in a lab node: lays its files before the boot, causes events, and reads the filter after each.

    horizon_node.py boot    what runs before systemd: lays /lab/node.json once, makes the uplink, becomes /sbin/init
    horizon_node.py         reads a JSON list of [step, argument…] on stdin and prints the list of their results

The uplink is there before systemd starts, as a network card is. `all` and `default` begin with 0, as a kernel does
that boots: a new network namespace takes them from the host.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

CONF = Path("/proc/sys/net/ipv4/conf")
NET = Path("/sys/class/net")
LINKS = Path("/run/systemd/netif/links")
LAID = Path("/var/lib/lab/laid")
PATIENCE = 600  # seconds until a wait is given up: no result depends on it
UPLINK = [
    "ip netns add outside",
    "ip link set up0 netns outside",
    "ip address add 192.0.2.1/24 dev eth0",
    "ip link set eth0 up",
    "ip -n outside link set lo up",
    "ip -n outside address add 192.0.2.10/24 dev up0",
    "ip -n outside link set up0 up",
    "ip -n outside route add 10.0.0.0/24 via 192.0.2.1",
    "ip route replace default via 192.0.2.10",
]


def run(*command, check=True, **more):
    return subprocess.run(
        command, check=check, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", **more
    )


def boot():
    add_uplink()
    if not LAID.exists():
        LAID.parent.mkdir(parents=True, exist_ok=True)
        lay(json.loads(Path("/lab/node.json").read_text()))
        LAID.touch()
    # As systemd does at the boot of a host, and not in a container: credentials are mounted by a child.
    run("mount", "--make-rshared", "/")
    os.execv("/sbin/init", ["/sbin/init"])


def add_uplink():
    """Make the uplink, and let `all` and `default` be 0.

    An interface counts as written if `default` was when the interface, or its network namespace, was made. It does not
    follow `default` then, as a network card does at boot. On a host that has written `default`, the uplink is made
    after the boot.
    """
    run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "up0")
    restore({"default": 0, "all": 0})
    if (CONF / "eth0/rp_filter").read_text().strip() != "0":
        run("ip", "link", "delete", "eth0")


def lay(node):
    """Write files: path -> text, {"link": target} or {"text": …, "mode": octal}; then run what prepares the boot."""
    for name, content in node.get("files", {}).items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or path.exists():
            path.unlink()
        known = {"text": content} if isinstance(content, str) else content
        if "link" in known:
            path.symlink_to(known["link"])
        else:
            path.write_text(known["text"])
            path.chmod(int(known.get("mode", "0644"), 8))
    for command in node.get("boot", []):
        shell(command)


def shell(command):
    done = run("sh", "-c", command, check=False)
    if done.returncode:
        raise RuntimeError(f"'{command}' ended with {done.returncode}: {done.stderr}{done.stdout}")
    return done.stdout


def until(what, holds):
    begin = time.monotonic()
    while not holds():
        if time.monotonic() - begin > PATIENCE:
            raise RuntimeError(f"not after {PATIENCE} s: {what}")
        time.sleep(0.02)


def booted():
    """Wait until the boot is over."""
    until("systemd answers", lambda: "offline" not in state() and state())
    until("the boot is over", lambda: state() in ("running", "degraded"))
    settle()


def state():
    return run("systemctl", "is-system-running", check=False).stdout.strip()


def settle():
    """Wait until udev and networkd have handled each interface."""
    run("udevadm", "settle", f"--timeout={PATIENCE}")
    if run("systemctl", "is-active", "systemd-networkd.service", check=False).returncode == 0:
        until("networkd has handled each interface", handled_by_networkd)


def handled_by_networkd():
    """networkd writes sysctls at the start of 'configuring', before it saves that state."""
    for interface in NET.iterdir():
        try:
            index = (interface / "ifindex").read_text().strip()
            known = (LINKS / index).read_text().splitlines()
        except OSError:
            return not interface.exists()
        if "ADMIN_STATE=pending" in known or "ADMIN_STATE=initialized" in known:
            return False
    return True


def network(commands=()):
    """Connect the uplink, and lay further interfaces."""
    if not (NET / "eth0").exists():
        add_uplink()
        settle()
    for command in [*UPLINK, *commands]:
        shell(command)
    settle()


def interface(name, namespace="outside", peer=None):
    """A new interface as Cilium makes it: 0 at creation, and udev comes second."""
    end = ["peer", "name", peer or f"p{len(name)}{name[-9:]}", "netns", namespace]
    run("udevadm", "control", "--stop-exec-queue")
    try:
        run("ip", "link", "add", name, "type", "veth", *end)
        (CONF / name / "rp_filter").write_text("0")
    finally:
        run("udevadm", "control", "--start-exec-queue")
    run("ip", "link", "set", name, "up")
    settle()


def delete(name):
    run("ip", "link", "delete", name)
    settle()


def pod(name, address, device):
    """A pod with an address, as `lab-datapath pod` makes it, without a server."""
    run("ip", "netns", "add", name)
    interface(device, name, "eth0")
    inside = ["ip", "-n", name]
    router = "10.0.0.253"
    run(*inside, "link", "set", "eth0", "address", (NET / "cilium_host/address").read_text().strip())
    run(*inside, "address", "add", f"{address}/32", "dev", "eth0")
    run(*inside, "link", "set", "eth0", "up")
    run(*inside, "route", "add", router, "dev", "eth0")
    run(*inside, "route", "add", "default", "via", router)
    if run("systemctl", "is-active", "lab-agent.service", check=False).returncode == 0:
        run("lab-agent", "add", name, address, device)


def agent(*settings):
    """Have the agent, from now and from each boot on."""
    run("lab-agent", "enable", *settings)
    base()


def base():
    """Start the agent where one is enabled; otherwise make Cilium's host interfaces."""
    run("lab-datapath", "base")
    settle()


def reconcile():
    """The reconciler's turn; of an agent that is stopped, its next start."""
    if run("systemctl", "is-active", "lab-agent.service", check=False).returncode:
        run("systemctl", "start", "lab-agent.service")
        settle()
    else:
        run("lab-agent", "reconcile")


def restart():
    """Restart the unit; that it fails, or must not run, is no error here."""
    run("systemctl", "reset-failed", "systemd-sysctl.service", check=False)
    run("systemctl", "restart", "systemd-sysctl.service", check=False)


def sysctl_system():
    run("sysctl", "--system", check=False)  # procps 3.3 fails at globs and applies the rest


def values():
    """{interface: rp_filter}, with `all` and `default`."""
    return {path.name: int((path / "rp_filter").read_text()) for path in CONF.iterdir()}


def restore(wanted):
    """Set the values that were read before; `default` first, since it reaches interfaces that were never written."""
    for name in sorted(wanted, key=lambda name: name != "default"):
        path = CONF / name / "rp_filter"
        if path.exists() and int(path.read_text()) != wanted[name]:
            path.write_text(str(wanted[name]))


def event(*steps):
    """The values after each step; then those from before are set again."""
    before, found = values(), []
    for name, *arguments in steps:
        STEPS[name](*arguments)
        found.append(values())
    restore(before)
    return found


def host_interface(name):
    """Make one of Cilium's host interfaces anew: the agent does it at its start, where there is one."""
    if run("systemctl", "is-enabled", "lab-agent.service", check=False).returncode == 0:
        run("ip", "link", "delete", name)
        run("systemctl", "restart", "lab-agent.service")
        settle()
    else:
        interface(name)


def module(name, options=None):
    """What a module of the collection returns: it is run as Ansible runs it, and not by Ansible."""
    program = f"""
import json, runpy, sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
runpy.run_module("ansible_collections.nodeward.cilium.plugins.modules.{name}", run_name="__main__")
"""
    done = run("python3", "-c", program, check=False, input=json.dumps({"ANSIBLE_MODULE_ARGS": options or {}}))
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        raise RuntimeError(f"module {name}: {done.stdout}{done.stderr}") from None


_STEPS = (booted, settle, network, interface, host_interface, delete, pod, agent, base, reconcile, restart)
_STEPS += (sysctl_system, values, restore, event, module, shell)
STEPS = {step.__name__: step for step in _STEPS}


def main():
    if sys.argv[1:] == ["boot"]:
        boot()
    print(json.dumps([STEPS[name](*arguments) for name, *arguments in json.load(sys.stdin)]))


if __name__ == "__main__":
    main()

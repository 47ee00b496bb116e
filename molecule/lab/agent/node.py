"""What the agent does to the node: its interfaces, its values, the file of its init container."""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

CONF = Path("/proc/sys/net/ipv4/conf")
HOST_INTERFACES = ("cilium_host", "cilium_net", "cilium_vxlan")
HEALTH_ADDRESS = "10.0.0.200"
CNI = Path("/etc/cni/net.d/05-cilium.conflist")
CNI_TEXT = """{
  "cniVersion": "0.3.1",
  "name": "cilium",
  "plugins": [
    {
       "type": "cilium-cni",
       "enable-debug": false,
       "log-file": "/var/run/cilium/cilium-cni.log"
    }
  ]
}
"""
SYSCTLFIX = Path("/etc/sysctl.d/99-zzz-override_cilium.conf")
SYSCTLFIX_TEXT = """\
# Disable rp_filter on Cilium interfaces since it may cause mangled packets to be dropped
-net.ipv4.conf.lxc*.rp_filter = 0
-net.ipv4.conf.cilium_*.rp_filter = 0
# The kernel uses max(conf.all, conf.{dev}) as its value, so we need to set .all. to 0 as well.
# Otherwise it will overrule the device specific settings.
net.ipv4.conf.all.rp_filter = 0
"""


def lab_datapath(*arguments):
    subprocess.run(["lab-datapath", *map(str, arguments)], check=True)


def run_sysctlfix():
    """Do what Cilium's init container does before each start of the agent."""
    if SYSCTLFIX.exists() and SYSCTLFIX.read_text() == SYSCTLFIX_TEXT:
        return
    SYSCTLFIX.write_text(SYSCTLFIX_TEXT)
    code = subprocess.run(["systemctl", "restart", "systemd-sysctl.service"], check=False).returncode
    logging.info("sysctlfix: wrote %s; the restart of systemd-sysctl ended with %d", SYSCTLFIX, code)


def make_host_interfaces(node_route):
    lab_datapath("host-interfaces", "yes" if node_route else "no", "yes")


def make_health_interface():
    """Start the health responder in a namespace of its own, and make lxc_health anew."""
    command = ["unshare", "--net", sys.executable, "-m", "lab_agent", "health"]
    responder = subprocess.Popen(command)
    own = os.readlink("/proc/self/ns/net")
    while os.readlink(f"/proc/{responder.pid}/ns/net") == own:
        if responder.poll() is not None:
            raise OSError(f"the health responder ended with {responder.returncode}")
        time.sleep(0.01)
    lab_datapath("health", responder.pid, HEALTH_ADDRESS)


def install_cni_configuration():
    CNI.parent.mkdir(parents=True, exist_ok=True)
    CNI.write_text(CNI_TEXT)


def reconcile():
    """Set the values that the agent holds: those of `all` and of its host interfaces, and of no `lxc…`."""
    _set("all", "rp_filter", "0")
    for interface in HOST_INTERFACES:
        for key, value in (("rp_filter", "0"), ("forwarding", "1"), ("accept_local", "1"), ("send_redirects", "0")):
            _set(interface, key, value)


def _set(interface, key, value):
    path = CONF / interface / key
    try:
        found = path.read_text().strip()
        if found != value:
            path.write_text(value)
            logging.info("%s.%s: was %s, set to %s", interface, key, found, value)
    except OSError as error:
        # The real one tries again at its next turn, too.
        logging.error("%s.%s: could not be set to %s: %s", interface, key, value, error)

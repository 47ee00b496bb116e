"""The agent's endpoints: one folder each in its state folder, from which the API answers too."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

RUN = Path("/var/run/cilium")
STATE = RUN / "state"
RUNTIME_CONFIG = STATE / "agent-runtime-config.json"
DEVICES = Path("/sys/class/net")
HOST_LABELS = {"host": {"key": "host", "source": "reserved"}}
HEALTH_LABELS = {"health": {"key": "health", "source": "reserved"}}
OPTIONS = {
    "Debug": 0,
    "DebugLB": 0,
    "DebugPolicy": 0,
    "DropNotification": 1,
    "MonitorAggregationLevel": 3,
    "PolicyAuditMode": 0,
    "PolicyVerdictNotification": 1,
    "SourceIPVerification": 1,
    "TraceNotification": 1,
}


def list_all():
    """Return every endpoint as its ep_config.json has it, by number."""
    numbers = sorted(int(path.parent.name) for path in STATE.glob("[0-9]*/ep_config.json"))
    return [json.loads((STATE / str(number) / "ep_config.json").read_text()) for number in numbers]


def make_folders():
    RUN.mkdir(parents=True, exist_ok=True)
    STATE.mkdir(exist_ok=True)
    STATE.chmod(0o770)


def write_runtime_config(document):
    _write(RUNTIME_CONFIG, json.dumps(document, indent=1))


def restore():
    """Keep the endpoints of pods that are still there; those of the host and of the health check are created again."""
    for endpoint in list_all():
        device = endpoint["IfName"]
        if device in ("cilium_host", "lxc_health") or not (DEVICES / device).exists():
            remove(device)


def add_host(settings):
    _add(settings, "cilium_host", HOST_LABELS, 1)


def add_health(settings, address):
    _add(settings, "lxc_health", HEALTH_LABELS, 4, ipv4=address)
    _route(address, "lxc_health")


def add_pod(settings, name, address, device):
    """Do what the agent does when the CNI plugin asks for an endpoint: save it, and route to it if so configured."""
    values = {"app": name, "io.cilium.k8s.policy.cluster": "default", "io.cilium.k8s.policy.serviceaccount": "default"}
    values["io.kubernetes.pod.namespace"] = "default"
    labels = {key: {"key": key, "value": value, "source": "k8s"} for key, value in values.items()}
    inside = subprocess.run(
        ["ip", "-n", name, "-o", "link", "show", "dev", "eth0"], check=True, stdout=subprocess.PIPE, encoding="ascii"
    ).stdout.split()
    identity = 256 + int(hashlib.sha256(name.encode()).hexdigest()[:4], 16)
    _add(settings, device, labels, identity, ipv4=address, name=name, mac=inside[inside.index("link/ether") + 1])
    _route(address, device)


def remove(device):
    for endpoint in list_all():
        if endpoint["IfName"] == device:
            shutil.rmtree(STATE / str(endpoint["ID"]))


def _route(address, device):
    """Route to an endpoint by its own interface, if so configured."""
    if _routes_endpoints():
        command = ["ip", "route", "replace", f"{address}/32", "dev", device, "proto", "kernel", "scope", "link"]
        subprocess.run(command, check=True)


def _routes_endpoints():
    """Tell whether the agent runs with endpoint routes: what its settings say counts from its next start."""
    return json.loads(RUNTIME_CONFIG.read_text())["EnableEndpointRoutes"]


def _add(settings, device, labels, identity, ipv4="", name="", mac=None):
    number = _free_number(device)
    address = (DEVICES / device / "address").read_text().strip()
    old = settings["VERSION"] == "1.19"
    options = {**OPTIONS, **({"ConntrackAccounting": 0, "PolicyAccounting": 1} if old else {})}
    path = {"install-endpoint-route": True, "require-egress-prog": True, "require-routing": False}
    document = {
        "ID": number,
        **({"ContainerName": "cilium-health" if device == "lxc_health" else ""} if old else {}),
        **({"dockerID": hashlib.sha256(device.encode()).hexdigest()} if name else {}),
        "ContainerNetnsPath": f"/var/run/cilium/netns/{name}" if name else "",
        **({"DockerNetworkID": "", "DockerEndpointID": ""} if old else {}),
        "IfName": device,
        "IfIndex": int((DEVICES / device / "ifindex").read_text()),
        "ParentIfIndex": 0,
        "ContainerIfName": "eth0" if name else "",
        **({"DisableLegacyIdentifiers": False} if old else {"IsSecondaryInterface": False}),
        "OpLabels": {"Custom": {}, "OrchestrationIdentity": labels, "Disabled": {}, "OrchestrationInfo": {}},
        "LXCMAC": mac or address,
        "IPv6": "",
        "IPv6IPAMPool": "",
        "IPv4": ipv4,
        "IPv4IPAMPool": "default" if ipv4 else "",
        "NodeMAC": address,
        "SecLabel": {"id": identity, "labels": labels},
        "Options": {"map": options},
        **({"DNSRules": {}, "DNSRulesV2": {}} if old else {}),
        "DNSHistory": [],
        "DNSZombies": {},
        "K8sPodName": name,
        "K8sNamespace": "default" if name else "",
        "K8sUID": "4ec95441-b125-4fee-a331-7c6092c4937c" if name else "",
        "DatapathConfiguration": path if _routes_endpoints() else {},
        "CiliumEndpointUID": "",
        "Properties": {},
        "NetnsCookie": 0,
        **({} if old else {"RTInfo": 0}),
    }
    folder = STATE / str(number)
    folder.mkdir(mode=0o770)
    _write(folder / "ep_config.json", json.dumps(document, separators=(",", ":")))


def _free_number(device):
    number = 16 + int(hashlib.sha256(device.encode()).hexdigest()[:3], 16) % 4000
    while (STATE / str(number)).exists():
        number += 1
    return number


def _write(path, text):
    """Write a file at once: who reads it sees the old text or the new."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)

"""lab-agent: what a person, a test and the unit call."""

import argparse
import http.server
import json
import logging
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

from lab_agent import answers, endpoints, node, settings

UNIT = "lab-agent.service"
SOCKET = endpoints.RUN / "cilium.sock"
# How many turns the reconciler has made.
TURNS = Path("/run/lab/agent-turns")


class Agent:
    """The agent from its start to its end."""

    def __init__(self):
        self._settings = settings.read()
        self._created = answers.now()

    def start(self):
        """Make the writes of a start, in their order; then answer."""
        if self._settings["SYSCTLFIX"] == "yes":
            node.run_sysctlfix()
        endpoints.make_folders()
        endpoints.write_runtime_config(answers.runtime_config(self._settings, self._created))
        endpoints.restore()
        node.make_host_interfaces(node_route=self._settings["ENDPOINT_ROUTES"] == "no")
        # udev has had its run for them: what a glob put on them goes now.
        node.reconcile()
        node.make_health_interface()
        endpoints.add_host(self._settings)
        endpoints.add_health(self._settings, node.HEALTH_ADDRESS)
        node.install_cni_configuration()
        self._serve()

    def _serve(self):
        SOCKET.unlink(missing_ok=True)
        os.umask(0o117)
        server = Server(str(SOCKET), Request)
        os.umask(0o022)
        server.documents = {
            "/v1/config": lambda: answers.config(self._settings, self._created),
            "/v1/endpoint": lambda: answers.endpoints(self._settings, endpoints.list_all()),
            "/v1/healthz": lambda: answers.healthz(self._settings),
        }
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def reconcile_until_the_end(self):
        """Wait for the reconciler's time, for SIGUSR1 (a turn now) or for SIGTERM (the end)."""
        period = int(self._settings["RECONCILE_SECONDS"])
        heeded = {signal.SIGUSR1, signal.SIGTERM}
        for turns in range(1, sys.maxsize):
            caught = signal.sigtimedwait(heeded, period) if period else signal.sigwaitinfo(heeded)
            if caught and caught.si_signo == signal.SIGTERM:
                SOCKET.unlink(missing_ok=True)
                return
            node.reconcile()
            write_turns(turns)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class Request(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        document = self.server.documents.get(self.path.partition("?")[0])
        body = json.dumps(document() if document else {"code": 404, "message": f"path {self.path} was not found"})
        self.send_response(200 if document else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def address_string(self):
        return "the socket"  # a unix socket's client has no address

    def log_message(self, *_arguments):
        """Say nothing: the journal is for writes."""


class Health(http.server.BaseHTTPRequestHandler):
    """The health responder behind lxc_health."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments):
        """Say nothing."""


def run(_arguments):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
    agent = Agent()
    agent.start()
    write_turns(0)
    tell_systemd("READY=1")
    agent.reconcile_until_the_end()


def health(_arguments):
    """Serve in a namespace of its own, which the caller made; end with the agent."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1, signal.SIGTERM})
    # As of a pod: a probe that failed must not count drops for a minute more, by answers sent again.
    Path("/proc/sys/net/ipv4/tcp_synack_retries").write_text("0")
    http.server.HTTPServer(("", 4240), Health).serve_forever()


def reconcile(_arguments):
    """Ask for a turn of the reconciler, and wait until it is done."""
    before = read_turns()
    subprocess.run(["systemctl", "kill", "--kill-who=main", "--signal=SIGUSR1", UNIT], check=True)
    while read_turns() == before:
        subprocess.run(["systemctl", "is-active", "--quiet", UNIT], check=True)
        time.sleep(0.05)


def enable(arguments):
    settings.write(arguments.assignments)
    subprocess.run(["systemctl", "enable", "--quiet", UNIT], check=True)


def set_settings(arguments):
    settings.write(arguments.assignments)


def add(arguments):
    endpoints.add_pod(settings.read(), arguments.name, arguments.address, arguments.device)


def remove(arguments):
    endpoints.remove(arguments.device)


def read_turns():
    return int(TURNS.read_text())


def write_turns(turns):
    TURNS.parent.mkdir(exist_ok=True)
    new = TURNS.with_suffix(".new")
    new.write_text(str(turns))
    os.replace(new, TURNS)


def tell_systemd(message):
    """sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stream:
            stream.sendto(message.encode(), "\0" + address[1:] if address.startswith("@") else address)


def parse():
    parser = argparse.ArgumentParser(
        prog="lab-agent",
        description="Cilium's agent of a lab node. Start, stop and restart it with systemctl: the unit is " + UNIT,
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name, action, explanation, *names):
        its = commands.add_parser(name, help=explanation)
        its.set_defaults(action=action)
        for argument in names:
            its.add_argument(argument)
        return its

    known = "; ".join(
        f"{name}={'|'.join(settings.CHOICES.get(name, ['SECONDS']))} ({default})"
        for name, default in settings.DEFAULTS.items()
    )
    command("reconcile", reconcile, "a turn of the reconciler now; returns when it is done")
    for name, action, explanation in (
        ("set", set_settings, "change settings, which count from the next start: "),
        ("enable", enable, "the same, and have the agent start at boot and by 'lab-datapath base': "),
    ):
        command(name, action, explanation + known).add_argument("assignments", nargs="*", metavar="NAME=VALUE")
    command("add", add, "save the endpoint of a pod; 'lab-datapath pod' calls it", "name", "address", "device")
    command("remove", remove, "forget it; 'lab-datapath unpod' calls it", "device")
    command("run", run, "be the agent; the unit calls it")
    command("health", health, "be the health responder; the agent calls it")
    return parser.parse_args()


def main():
    logging.basicConfig(level=logging.INFO, format="lab-agent: %(message)s")
    arguments = parse()
    try:
        arguments.action(arguments)
    except (settings.SettingsError, OSError, subprocess.CalledProcessError) as error:
        logging.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Playbooks of the collection, run as users do, on nodes whose answers a test sets."""

import json
import os
import subprocess
import sys
from pathlib import Path

from conftest import COLLECTIONS

PROGRAMS = Path(sys.executable).parent


class Fleet:
    """An inventory of nodes whose answers the test sets: a node's interpreter is a script that prints them."""

    def __init__(self, folder):
        self.folder = folder
        self.report = folder / "report"
        self.hosts = []

    def says(self, name, answer):
        path = self.folder / ("python-" + name)
        (self.folder / name).write_text(answer if isinstance(answer, str) else json.dumps(answer))
        path.write_text(f"#!/bin/sh\ncat '{self.folder / name}'\n")
        path.chmod(0o755)
        if not any(host.split()[0] == name for host in self.hosts):
            self.hosts.append(f"{name} ansible_connection=local ansible_python_interpreter={path}")

    def fails(self, name):
        self.says(name, "")
        (self.folder / ("python-" + name)).write_text("#!/bin/sh\necho boom >&2; exit 3\n")

    def is_down(self, name):
        self.hosts.append(f"{name} ansible_host=127.0.0.9 ansible_port=9 ansible_ssh_common_args=-oConnectTimeout=2")

    def run(self, playbook="nodeward.cilium.audit", *arguments, environment=(), options=()):
        inventory = self.folder / "hosts.ini"
        inventory.write_text("[nodes]\n%s\n[empty]\n" % "\n".join(self.hosts))
        given = {"nodeward_become": False, "audit_directory": str(self.report), **dict(options)}
        return subprocess.run(
            [PROGRAMS / "ansible-playbook", "-i", inventory, playbook, "-e", json.dumps(given), *arguments],
            env={
                **os.environ,
                "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
                "ANSIBLE_HOME": str(self.folder / "home"),
                "ANSIBLE_REMOTE_TEMP": str(self.folder / "remote"),
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_INJECT_FACT_VARS": "True",
                **dict(environment),
            },
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def document(self):
        def refuse(word):
            raise AssertionError(f"{word} is no JSON")

        return json.loads((self.report / "audit.json").read_text(), parse_constant=refuse)

    def states(self):
        return {node["name"]: node["state"] for node in self.document()["nodes"]}

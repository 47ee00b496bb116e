"""Runs in a container of one Debian suite: applies generated sysctl.d trees with the real loaders.

First it makes the devices that it is given (one JSON line) and answers with what is installed. Then, for every line
{"loader", "files": [[path, kind, content]], …}, it writes the tree, resets all keys, runs the loader and answers with
the values read back. Text is latin-1 in JSON: one character, one byte.
"""

import json
import os
import re
import shutil
import subprocess
import sys

CONF = b"/proc/sys/net/ipv4/conf/"
SYSTEMD = "/lib/systemd/systemd-sysctl"


def main():
    given = json.loads(sys.stdin.readline())
    names, leaves, start = given["devices"], given["leaves"], given["start"]
    devices = [name for name in names if name not in ("all", "default")]
    for one, other in zip(devices[::2], devices[1::2]):
        # "./name" would be a name too: a name that begins with a dash needs "name" or "dev" before it.
        subprocess.run(
            [b"ip", b"link", b"add", b"name", raw(one), b"type", b"veth", b"peer", b"name", raw(other)], check=True
        )
    answer({"systemd": first_number(SYSTEMD), "procps": first_number("sysctl"), "merged": os.path.islink("/lib")})
    for line in sys.stdin:
        task = json.loads(line)
        clear(task["folders"])
        write(task["files"])
        for leaf in leaves:
            # default first: it reaches devices that nobody has written, so it must not come after them.
            for name in ["default", *[name for name in names if name != "default"]]:
                put(name, leaf, start)
        log = apply(task["loader"], task["added"])
        answer({"values": {leaf: {name: get(name, leaf) for name in names} for leaf in leaves}, "log": log})


def apply(loader, added):
    if loader == "procps":
        command = ["sysctl", "--system"]
    elif loader == "systemd":
        command = [SYSTEMD]
    else:
        # udev's rule, for all devices in one run: it takes several prefixes.
        command = [SYSTEMD, *(b"--prefix=/net/ipv4/conf/" + raw(name) for name in added)]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_LOG_LEVEL": "debug"}
    done = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        timeout=60,
    )
    return done.stdout.decode("latin-1")


def clear(folders):
    for folder in folders:
        if os.path.islink(folder):
            os.unlink(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if os.path.isdir("/etc/sysctl.conf") and not os.path.islink("/etc/sysctl.conf"):
        os.rmdir("/etc/sysctl.conf")
    elif os.path.lexists("/etc/sysctl.conf"):
        os.unlink("/etc/sysctl.conf")


def write(files):
    for path, kind, content in [(raw(path), kind, raw(content)) for path, kind, content in files]:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if kind == "link":
            os.symlink(content, path)
        elif kind == "folder":
            os.mkdir(path)
        else:
            with open(path, "wb") as stream:
                stream.write(content)


def put(name, leaf, value):
    with open(CONF + raw(name) + b"/" + leaf.encode(), "w") as stream:
        stream.write(str(value))


def get(name, leaf):
    with open(CONF + raw(name) + b"/" + leaf.encode()) as stream:
        return int(stream.read())


def first_number(program):
    shown = subprocess.run([program, "--version"], check=True, stdout=subprocess.PIPE).stdout.decode()
    return [int(part) for part in re.search(r"\d+(\.\d+)*", shown).group().split(".")]


def raw(text):
    return text.encode("latin-1")


def answer(message):
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main()

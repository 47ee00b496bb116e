"""The agent's settings, /etc/lab/agent.conf: NAME=VALUE lines, read at each start."""

from pathlib import Path

PATH = Path("/etc/lab/agent.conf")
DEFAULTS = {
    "VERSION": "1.20",
    # 0: only on demand, for a test that sets by hand what the reconciler would take away.
    "RECONCILE_SECONDS": "600",
    "SYSCTLFIX": "no",
    "ENDPOINT_ROUTES": "no",
    "HOST_ROUTING": "Legacy",
}
CHOICES = {
    "VERSION": ("1.19", "1.20"),
    "SYSCTLFIX": ("yes", "no"),
    "ENDPOINT_ROUTES": ("yes", "no"),
    "HOST_ROUTING": ("Legacy", "BPF"),
}


class SettingsError(Exception):
    """A setting that cannot be used. The message is for a person."""


def read():
    lines = PATH.read_text().splitlines() if PATH.exists() else []
    return parse([line for line in lines if line.strip() and not line.startswith("#")], str(PATH))


def write(assignments):
    """Change settings; those not named keep their value. They count from the agent's next start."""
    settings = {**read(), **_assigned(assignments, "command line")}
    PATH.parent.mkdir(parents=True, exist_ok=True)
    PATH.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))


def parse(assignments, where):
    return {**DEFAULTS, **_assigned(assignments, where)}


def _assigned(assignments, where):
    settings = {}
    for assignment in assignments:
        name, _equals, value = assignment.partition("=")
        if name not in DEFAULTS:
            raise SettingsError(
                f"{where}: found {assignment!r}, expected one of {', '.join(DEFAULTS)}, '=' and a value"
            )
        if name == "RECONCILE_SECONDS" and not value.isdigit():
            raise SettingsError(f"{where}: RECONCILE_SECONDS is {value!r}, expected a number of seconds")
        if value not in CHOICES.get(name, (value,)):
            raise SettingsError(f"{where}: {name} is {value!r}, expected {' or '.join(CHOICES[name])}")
        settings[name] = value
    return settings

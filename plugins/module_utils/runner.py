# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of the node, run with a time limit. The arguments are a list; no shell is involved."""

import os
import subprocess


class CommandError(Exception):
    """A program could not be run, failed, or returned output that cannot be parsed. The message is for people."""


def timeout_error(seconds):
    """What is wrong with a time limit; None if it is valid."""
    if 0 < seconds <= 3600:  # false for NaN, too
        return None
    return f"timeout: {seconds:g} is not a time to wait; give seconds from above 0 to 3600"


def bounded_runner(timeout):
    """A run_command(argv, data=None) -> (rc, stdout, stderr) that kills the program after `timeout` seconds.

    Preferred to AnsibleModule.run_command: that one knows no time limit, and writes all of `data` before it reads,
    so that a large batch and its large answer wait for each other.
    """
    environment = dict(os.environ, LC_ALL="C")
    # A login without root's PATH still has `ip` in /usr/sbin on older Debians.
    environment["PATH"] = os.pathsep.join(
        [os.environ.get("PATH") or os.defpath, "/usr/local/sbin", "/usr/sbin", "/sbin"]
    )

    def run_command(argv, data=None):
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
            )
        except OSError as error:
            raise CommandError(
                f"cannot run '{argv[0]}': {error.strerror}. Install iproute2 (package iproute2 or iproute) on this "
                "node."
            ) from None
        try:
            stdout, stderr = process.communicate(None if data is None else os.fsencode(data), timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise CommandError(f"'{' '.join(argv)}' did not finish within {timeout:g} s; raise the timeout.") from None
        return process.returncode, _text(stdout), _text(stderr)

    return run_command


def _text(output):
    return output.decode("utf-8", "surrogateescape")

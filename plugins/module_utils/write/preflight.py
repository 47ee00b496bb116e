# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused before anything is planned: a path that no loader reads, and a file that is not the collection's."""

import os
import re

from ansible_collections.nodeward.cilium.plugins.module_utils import dropin, sysctl_d, values
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import filter as observe_filter
from ansible_collections.nodeward.cilium.plugins.module_utils.text import printable
from ansible_collections.nodeward.cilium.plugins.module_utils.write.files import TransactionError

#: sysctl.d(5); /lib is the same as /usr/lib where they are merged.
SYSCTL_FOLDERS = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")


def check_path(path):
    """Refuse a drop-in that no loader would read, or that is no plain file."""
    folder, name = os.path.split(path)
    if folder not in SYSCTL_FOLDERS or ".." in path:
        raise TransactionError(
            f"path: '{path}' is outside the folders that the loaders read; expected a file in one of "
            f"{', '.join(SYSCTL_FOLDERS)}"
        )
    if not re.match(r"[^.\x00-\x1f\x7f][^\x00-\x1f\x7f]*\.conf\Z", name) or len(name) > 255:
        raise TransactionError(
            f"path: '{printable(path)}' does not end in '.conf', is hidden, too long or has control characters, so it "
            "is no file that every loader reads; expected a name such as 99-override_cilium_rp_filter.conf"
        )
    if os.path.islink(path):
        raise TransactionError(
            f"path: '{path}' is a link to '{os.readlink(path)}'; expected a plain file or nothing. Take the link "
            "away, or name another file"
        )
    if os.path.lexists(path) and not os.path.isfile(path):
        raise TransactionError(
            f"path: '{path}' is a folder or a special file; expected a plain file or nothing. Take it "
            "away, or name another file"
        )


def check_owner(path, text):
    """Refuse to take over, or take away, a file of somebody else's that sets anything but the filter."""
    if text is None or dropin.parse(text).ours:
        return
    for line in sysctl_d.parse(text, path)[0]:
        if values.name_of(line.key) is None:
            raise TransactionError(
                f"path: '{path}' is somebody else's file: line {line.line} sets '{printable(line.key)}', which would "
                "be lost. Expected a drop-in of this module, a file for rp_filter alone, or nothing. Name another "
                "file"
            )


def why_not_applied(apply):
    """Why running values are neither read nor written; None where they are. The facts are gathered by the same rule."""
    return "apply is never" if apply == "never" else observe_filter.why_not_observed(apply)

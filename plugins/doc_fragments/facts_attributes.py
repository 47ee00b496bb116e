# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


class ModuleDocFragment:
    """What every facts module of this collection promises."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Can run in check mode, where it does what it always does, since it changes nothing.
    support: full
  diff_mode:
    description: Returns details on what has changed.
    support: N/A
  facts:
    description: Returns nothing but C(ansible_facts), and can be named in C(ansible_facts_modules).
    support: full
  platform:
    description: Where it runs.
    support: full
    platforms: linux
"""

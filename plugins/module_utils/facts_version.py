# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions of both facts, as their schema_version has them. Pure.

A version is raised if a member changes its meaning or goes, or if one comes that is judged. Facts without a version are
older than version 1.
"""

RP_FILTER = 1
CILIUM_ROUTES = 1

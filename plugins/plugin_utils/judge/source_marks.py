# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether packets of Cilium's L7 proxy are dropped for their mark, whatever rp_filter is. Pure."""

_NAMED = 5


def heeding_mark(rp_filter, routes):
    """(interfaces, evidence) on which a proxy's packets are dropped for their mark; ([], "") if that is not so.

    With ``src_valid_mark`` the kernel looks up the source with the packet's mark, and the proxy's mark leads to a local
    route. ``default`` among the interfaces stands for later ones.
    """
    options, rule = routes.get("agent_options") or {}, routes.get("proxy_rule")
    # Cilium installs the rule for the proxy's mark only if the proxy is on, but need not remove it once it is off: then
    # no packet has the mark. So the rule is evidence only if the agent's configuration is not known.
    has_proxy = options.get("l7_proxy") or options.get("l7_proxy") is None and rule
    marks = rp_filter.get("source_marks")
    if not has_proxy or not marks or not marks["all"] or not marks["default"] or marks["all"]["accept_local"]:
        return [], ""
    # The kernel heeds each of both if it is on for `all` or for the interface.
    names = sorted(
        name
        for name, own in [("default", marks["default"])] + list(marks["devices"].items())
        if (marks["all"]["src_valid_mark"] or own["src_valid_mark"]) and not own["accept_local"]
    )
    if not names:
        return [], ""
    named = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
    text = f"src_valid_mark without accept_local on {named} ({len(names)} in all)"
    if not options.get("l7_proxy"):
        text += f"; the policy rule {rule['priority']}: fwmark {rule['mark']} lookup {rule['table']}"
    return names, text

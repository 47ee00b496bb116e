#!/usr/bin/python
# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


DOCUMENTATION = r"""
module: audit_report
short_description: Judge the facts of many nodes, and write a report
version_added: 0.1.0
description:
  - Reads the facts C(rp_filter) and C(cilium_routes) of many hosts on the controller, judges each by
    P(nodeward.cilium.findings#filter) and P(nodeward.cilium.diagnosis#filter), and writes one document and what is
    rendered of it.
  - A host that was not reached, or has no facts, is in the report, and never passes.
  - Runs on the controller alone and touches no node. The role P(nodeward.cilium.audit#role) gathers what it reads.
  - Judges in processes of their own, as many as there are processors, so that the facts of a fleet need not be in
    memory at once.
options:
  hosts:
    description: The hosts, by their names in the inventory. Not read with O(source=document).
    type: list
    elements: str
    default: []
  source:
    description:
      - V(run) takes the facts that the role gathered in this run; facts that were kept from earlier ones are not taken.
      - V(cache) takes the facts that Ansible's fact cache holds, and what the role kept beside them of the gathering.
      - V(document) takes the findings of an earlier document, and lays today's waivers and baseline on them.
    type: str
    choices: [run, cache, document]
    default: run
  document:
    description: The earlier document, with O(source=document).
    type: path
    default: ''
  directory:
    description: The folder on the controller to write to. It is made where it is not there.
    type: path
    required: true
  formats:
    description:
      - What to write. C(audit.json) is the document, which its JSON Schema describes (C(files/audit.schema.json) of the
        role); all others are rendered of it, and it is always written.
      - V(html) is a page that needs nothing else, V(junit) is for CI, V(sarif) is SARIF 2.1.0, V(csv) is for
        spreadsheets (RFC 4180), and V(openmetrics) is for the textfile collector of Prometheus' node exporter.
      - In C(audit.csv) an apostrophe stands before what a spreadsheet may take for a formula, also behind C(;), C(|) or
        a tab, at which some split.
    type: list
    elements: str
    choices: [csv, html, json, junit, openmetrics, sarif]
    default: [csv, html, json, junit, openmetrics, sarif]
  fail_on:
    description:
      - The lowest severity of a finding that is not waived with which RV(passed) is false.
      - With V(none) only hosts that could not be judged make it false; they do so always.
    type: str
    choices: [high, medium, low, none]
    default: high
  waivers:
    description:
      - Findings that are accepted. They are shown, and do not count.
      - Each is a dictionary of C(id) (such as V(RPF007)), C(hosts) (a pattern of host names with C(*), C(?) and C([])),
        C(justification), and C(expires), the last day on which it holds, such as V(2026-12-31). Without the last one it
        holds for ever. The day after, what it named counts again.
    type: list
    elements: raw
    default: []
  baseline:
    description:
      - An earlier document. The report then says what is new, gone and unchanged, and whether drop counters have grown
        since (after a boot they begin at 0). A finding is the same where its id and subject are.
      - A host that could not be judged then or now is not compared.
    type: path
    default: ''
  max_age:
    description:
      - With O(source=cache), the age in hours beyond which facts are not taken, nor those of a time that is to come;
        V(0) takes them however old, and also where it is not known when they were gathered.
    type: float
    default: 24
  options_only:
    description: Only look at the options, waivers and baseline, and fail where they are wrong; judge and write nothing.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode. It then judges, and writes nothing.
    support: full
  diff_mode:
    description: Shows a line for each node with its state and findings, of the document that stands and of the new one.
    support: full
notes:
  - Each file is put in place in one step, so that a reader never meets half of one.
  - All files are written anew at each run, as they say when they were made. RV(ignore:changed) says whether they say
    anything else than those that stood there.
seealso:
  - module: nodeward.cilium.rp_filter_facts
  - module: nodeward.cilium.route_facts
author:
  - nodeward.cilium contributors (@nodeward)
"""

EXAMPLES = r"""
- name: Report of kept facts
  nodeward.cilium.audit_report:
    hosts: "{{ ansible_play_hosts_all }}"
    source: cache
    directory: nodeward-audit
    waivers:
      - id: RPF007
        hosts: edge*
        justification: Anycast, agreed with network security
        expires: 2027-03-31
  run_once: true
  register: report

- name: Stop where it did not pass
  ansible.builtin.assert:
    that: report.passed
    fail_msg: "{{ report.reasons | join('; ') }}"
  run_once: true
"""

RETURN = r"""
passed:
  description: Whether the audit passed.
  returned: unless O(options_only=true)
  type: bool
reasons:
  description: Why it did not, as sentences.
  returned: unless O(options_only=true)
  type: list
  elements: str
  sample: ["1 node could not be judged: worker-7"]
totals:
  description: How many nodes are in each state (C(ok), C(at_risk), C(dropping), C(unknown)), and how many
    findings there are of each severity.
  returned: unless O(options_only=true)
  type: dict
files:
  description: The files, by format; in check mode those that would be written.
  returned: unless O(options_only=true)
  type: dict
lines:
  description: The answer in lines, for a terminal.
  returned: unless O(options_only=true)
  type: list
  elements: str
"""

# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit's document as JSON, JUnit XML, SARIF, CSV and OpenMetrics text. Pure: each gives pieces of text in turn.

The nodes may be anything that can be gone through more than once; of a fleet no format holds more than one at a time.
Names of hosts, devices, pods and files are others' to choose, so each format escapes them in its own way.
"""

import calendar
import csv
import hashlib
import io
import json
import re
import time
from collections import Counter
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from ansible_collections.nodeward.cilium.plugins.module_utils.text import visible

SEVERITIES = ("high", "medium", "low")
STATES = ("ok", "at_risk", "dropping", "unknown")
PROTECTIONS = ("met", "partially_met", "not_met", "unknown")
INFORMATION = "https://github.com/nodeward/cilium"


def written(text):
    """Text that can be written as UTF-8 and read again: half of a surrogate pair alone cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


# ---- JSON ------------------------------------------------------------------------------------------------------------


def as_json(document):
    """One node a line, in ASCII."""
    yield "{\n"
    for key, value in document.items():
        if key != "nodes":
            yield f"{_json(key)}: {_json(value)},\n"
    yield '"nodes": ['
    for number, node in enumerate(document["nodes"]):
        yield ("," if number else "") + "\n" + _json(node)
    yield "\n]\n}\n"


def _json(value):
    # NaN and Infinity, which Python would write, are no JSON.
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


# ---- JUnit XML -------------------------------------------------------------------------------------------------------

# What XML 1.0 has no way to say, not even as a reference; and U+FFFE and U+FFFF, which some readers refuse.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_JUDGED = "the node could be judged"


def _xml(text):
    return escape(_NO_XML.sub("\ufffd", text), {"\r": "&#13;"})


def _attribute(text):
    return quoteattr(_NO_XML.sub("\ufffd", text), {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})


def as_junit(document):
    """A suite for each node, a case for each rule, named by what holds if the rule finds nothing.

    What fails the audit fails a case; what else is found skips it.
    So whoever reads it alone comes to the verdict of the document.
    """
    totals, fails = Counter(), _failing(document["options"]["fail_on"])
    for node in document["nodes"]:
        totals.update(_case_counts(node, document["rules"], fails))
    yield f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="nodeward.cilium audit"{_counts(totals)}>\n'
    for node in document["nodes"]:
        yield "".join(_suite(node, document, fails))
    yield "</testsuites>\n"


def _failing(fail_on):
    """The severities that fail an audit."""
    return SEVERITIES[: SEVERITIES.index(fail_on) + 1] if fail_on in SEVERITIES else ()


def _counts(counts):
    return "".join(f' {key}="{counts[key]}"' for key in ("tests", "failures", "errors", "skipped"))


def _by_rule(node):
    found = {}
    for finding in node["findings"]:
        found.setdefault(finding["id"], ([], []))[finding["waived"] is not None].append(finding)
    return found


def _case_counts(node, rules, fails):
    found = _by_rule(node)
    if not node["gathered"]:
        return {"tests": 1, "errors": 1}
    failures = sum(any(each["severity"] in fails for each in counting) for counting, _waived in found.values())
    return {
        "tests": 1 + len(rules),
        "errors": int(node["state"] == "unknown"),
        "failures": failures,
        "skipped": len(found) - failures,
    }


def _suite(node, document, fails):
    name = _attribute(node["name"])
    counts = Counter(_case_counts(node, document["rules"], fails))
    yield f"<testsuite name={name} timestamp={_attribute(document['generated'].rstrip('Z'))}{_counts(counts)}>\n"
    yield f"<testcase classname={name} name={_attribute(_JUDGED)}"
    if node["state"] == "unknown":
        told = node["reason"] or node["summary"]
        yield "><error type=%s message=%s/></testcase>\n" % (
            _attribute(told.split(":")[0] if node["reason"] else "unknown"),
            _attribute(told),
        )
    else:
        yield "/>\n"
    if node["gathered"]:
        found = _by_rule(node)
        for rule_id, rule in document["rules"].items():
            case = "<testcase classname=%s name=%s" % (name, _attribute(f"{rule_id} {rule['holds']}"))
            yield case + _outcome(found.get(rule_id), rule, fails)
    yield "</testsuite>\n"


def _outcome(found, rule, fails):
    if not found:
        return "/>\n"
    counting, waived = found
    if not counting:
        reasons = sorted({each["waived"]["justification"] for each in waived})
        return "><skipped message=%s/></testcase>\n" % _attribute(f"waived: {'; '.join(reasons)}")
    message = f"{rule['title']}: {', '.join(each['subject'] for each in counting[:5])}"
    if len(counting) > 5:
        message += f" and {len(counting) - 5} more"
    worst = min((each["severity"] for each in counting), key=SEVERITIES.index)
    if worst not in fails:
        told = f"of severity {worst}, which does not fail this audit: {message}"
        return f"><skipped message={_attribute(told)}/></testcase>\n"
    lines = [sentence(each) for each in counting]
    lines += [f"waived ({each['waived']['justification']}): {sentence(each)}" for each in waived]
    remedies = dict.fromkeys(each["remedy"]["command"] for each in counting)
    lines += [f"why: {rule['why']}"] + [f"remedy: {command}" for command in remedies if command]
    return "><failure type=%s message=%s>%s</failure></testcase>\n" % (
        _attribute(worst),
        _attribute(message),
        _xml("\n".join(lines)),
    )


def sentence(finding):
    """A finding in a line: what, and where that can be seen."""
    told = f"{finding['subject']}: expected {finding['expected']}, found {finding['observed']}"
    return f"{told} ({finding['evidence']['text']})"


# ---- SARIF 2.1.0 -----------------------------------------------------------------------------------------------------

SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {"high": "error", "medium": "warning", "low": "note"}
NOT_JUDGED = "not-judged"


def as_sarif(document):
    """One run; findings that are gone since the baseline are results of baselineState absent."""
    order = {rule_id: number for number, rule_id in enumerate(list(document["rules"]) + [NOT_JUDGED])}
    driver = {
        "name": "nodeward.cilium audit",
        "semanticVersion": document["collection"],
        "informationUri": INFORMATION,
        "rules": [_sarif_rule(rule_id, rule) for rule_id, rule in document["rules"].items()] + [_SARIF_NOT_JUDGED],
    }
    invocation = {
        # The audit itself came to its end; what it could not look at is among the results.
        "executionSuccessful": True,
        "endTimeUtc": document["generated"],
    }
    yield f'{{\n"$schema": {json.dumps(SARIF_SCHEMA)},\n"version": "2.1.0",\n"runs": [{{\n'
    yield '"tool": %s,\n"invocations": %s,\n' % (json.dumps({"driver": driver}), json.dumps([invocation]))
    yield '"columnKind": "unicodeCodePoints",\n"results": ['
    between = ""
    for node in document["nodes"]:
        for result in _results(node, order, document["baseline"] is not None):
            yield between + "\n" + _json(result)
            between = ","
    yield "\n]\n}]\n}\n"


def _sarif_rule(rule_id, rule):
    mend = [rule["remedy"]["command"]] if rule["remedy"]["command"] else []
    mend += [f"variable {rule['remedy']['variable']}"] if rule["remedy"]["variable"] else []
    help_text = "%s. Remedy: %s. See %s." % (rule["why"], "; ".join(mend) or "see the documentation", rule["reference"])
    return {
        "id": rule_id,
        "name": re.sub(r"\W+", "", rule["title"].title()),
        "shortDescription": {"text": _message(rule["title"])},
        "fullDescription": {"text": _message(rule["why"])},
        "help": {"text": _message(help_text)},
        "helpUri": f"{INFORMATION}/blob/main/{rule['section']}",
        "defaultConfiguration": {"level": _LEVELS[rule["severity"]]},
        "properties": {"severity": rule["severity"], "tags": ["network", "hardening", "cilium"]},
    }


_SARIF_NOT_JUDGED = {
    "id": NOT_JUDGED,
    "name": "NodeNotJudged",
    "shortDescription": {"text": "A node could not be judged"},
    "fullDescription": {"text": "What was not seen is no pass: the node was not reached, or its facts do not tell."},
    "help": {"text": "Make the node reachable for Ansible, with root, and run the audit again."},
    "helpUri": INFORMATION,
    "defaultConfiguration": {"level": "error"},
}


def _message(text):
    """As SARIF reads a message: [text](target) is a link, and braces stand for an argument unless they are doubled."""
    text = written(text).replace("\\", "\\\\").replace("](", "]\\(") if "](" in text else written(text)
    return text.replace("{", "{{").replace("}", "}}")


def _results(node, order, has_baseline):
    seen = Counter()
    if node["state"] == "unknown":
        told = "%s could not be judged: %s" % (node["name"], node["reason"] or node["summary"])
        yield _result(node, NOT_JUDGED, "", told, "error", order, seen)
    for finding in node["findings"]:
        told = f"{node['name']}: {sentence(finding)}"
        told += f". Remedy: {finding['remedy']['command']}" if finding["remedy"]["command"] else ""
        level = _LEVELS[finding["severity"]]
        result = _result(node, finding["id"], finding["subject"], told, level, order, seen, finding["evidence"])
        if finding["waived"]:
            note = finding["waived"]["justification"]
            note += f" (until {finding['waived']['expires']})" if finding["waived"]["expires"] else ""
            result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": written(note)}]
        if finding["change"]:
            result["baselineState"] = finding["change"]
        yield result
    for gone in node["gone"] if has_baseline else ():
        told = f"{node['name']}: {gone['subject']}: no longer there"
        yield dict(
            _result(node, gone["id"], gone["subject"], told, "none", order, Counter()),
            kind="pass",
            baselineState="absent",
        )


def _result(node, rule_id, subject, told, level, order, seen, evidence=None):
    seen[rule_id, subject] += 1
    name = written(node["name"])
    logical = {"name": written(subject) or name, "fullyQualifiedName": "/".join((name, written(subject))).rstrip("/")}
    location = {"logicalLocations": [dict(logical, kind="resource")], "message": {"text": _message(node["name"])}}
    if evidence and evidence["path"]:
        physical = {"artifactLocation": {"uri": file_uri(node["name"], evidence["path"])}}
        if evidence["line"]:
            physical["region"] = {"startLine": evidence["line"]}
        location["physicalLocation"] = physical
    result = {
        "ruleId": rule_id,
        "level": level,
        "kind": "fail",
        "message": {"text": _message(told)},
        "locations": [location],
        "partialFingerprints": {"nodeRuleSubject/v1": fingerprint(name, rule_id, subject, seen[rule_id, subject])},
    }
    if rule_id in order:
        result["ruleIndex"] = order[rule_id]
    return result


def fingerprint(*parts):
    """The same for the same finding of every audit; the last of its parts tells apart two of one subject."""
    return hashlib.sha256("\0".join(written(str(part)) for part in parts).encode("utf-8")).hexdigest()


def file_uri(host, path):
    """A file on a node."""
    return f"file://{quote(written(host), safe='')}/{quote(written(path).lstrip('/'))}"


# ---- CSV -------------------------------------------------------------------------------------------------------------

COLUMNS = (
    "node",
    "state",
    "id",
    "severity",
    "title",
    "subject",
    "expected",
    "observed",
    "evidence",
    "path",
    "line",
    "value",
    "variable",
    "command",
    "waived",
    "waived_until",
    "change",
    "gathered_at",
    "told",
)
# A spreadsheet takes what begins so for a formula; the last four are the first four in full width. Spaces and quotes
# before it do not keep it from being one everywhere. One that splits at another separator than the comma makes a cell
# begin behind that, or behind a line's end, as it does not see the quotes around the whole.
_FORMULA = re.compile('(^|[;|\t\r\n])(?=[ "]*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20])')


def as_csv(document):
    """RFC 4180: a row for each finding, and one without id for a node that has none."""
    yield _row(COLUMNS)
    for node in document["nodes"]:
        told = node["reason"] or node["summary"]
        around = {"node": node["name"], "state": node["state"], "gathered_at": node["gathered_at"], "told": told}
        rows = [dict(around, **_cells(finding, document["rules"])) for finding in node["findings"]]
        yield "".join(_row(row.get(column) for column in COLUMNS) for row in rows or [around])


def _cells(finding, rules):
    waived = finding["waived"] or {"justification": None, "expires": None}
    return dict(
        {key: finding[key] for key in ("id", "severity", "subject", "expected", "observed", "change")},
        title=rules[finding["id"]]["title"],
        evidence=finding["evidence"]["text"],
        path=finding["evidence"]["path"],
        line=finding["evidence"]["line"],
        value=finding["evidence"]["value"],
        variable=finding["remedy"]["variable"],
        command=finding["remedy"]["command"],
        waived=waived["justification"],
        waived_until=waived["expires"],
    )


def _row(values):
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow([_cell(value) for value in values])
    return line.getvalue()


def _cell(value):
    text = "" if value is None else written(str(value)).replace("\0", "\ufffd")
    return _FORMULA.sub(r"\1'", text)


# ---- OpenMetrics -----------------------------------------------------------------------------------------------------


def as_openmetrics(document):
    """Gauges alone, without units and timestamps: OpenMetrics and the older text format read these alike.

    The node exporter's textfile collector reads the older one: it takes `# EOF` for a comment, and knows no stateset.
    """
    totals = document["totals"]
    yield _family("audit_timestamp_seconds", "When the audit was made.", [({}, seconds(document["generated"]))])
    yield _family("audit_passed", "Whether it passed.", [({}, int(document["verdict"]["passed"]))])
    yield _family("audit_nodes", "Nodes by state.", [({"state": state}, totals[state]) for state in STATES])
    yield _family(
        "audit_findings",
        "Findings that are not waived, by severity.",
        [({"severity": severity}, totals["findings"][severity]) for severity in SEVERITIES],
    )
    yield _family(
        "audit_spoof_protection",
        "Nodes by whether the intent of all.rp_filter=1 is met.",
        [({"intent": intent}, count) for intent, count in totals["spoof_protection"].items()],
    )
    yield _family("audit_findings_waived", "Findings that are waived.", [({}, totals["waived"])])
    rules = Counter()
    for node in document["nodes"]:
        rules.update((finding["id"], finding["severity"]) for finding in node["findings"] if not finding["waived"])
    yield _family(
        "audit_rule_findings",
        "Findings that are not waived, by rule and severity.",
        [
            ({"id": rule_id, "severity": severity}, rules[rule_id, severity])
            for rule_id in document["rules"]
            for severity in SEVERITIES
        ],
    )
    for name, told, samples_of in _NODE_FAMILIES:
        yield _family(name, told, [])
        for node in document["nodes"]:
            yield "".join(_sample(name, dict(node=node["name"], **labels), value) for labels, value in samples_of(node))
    yield "# EOF\n"


def _state_samples(node):
    return [({"state": state}, int(node["state"] == state)) for state in STATES]


def _finding_samples(node):
    found = Counter(finding["severity"] for finding in node["findings"] if not finding["waived"])
    return [({"severity": severity}, found[severity]) for severity in SEVERITIES]


def _waived_samples(node):
    return [({}, sum(finding["waived"] is not None for finding in node["findings"]))]


def _attested_samples(node):
    return [({"intent": state}, int(node["attestation"]["state"] == state)) for state in PROTECTIONS]


def _facts_samples(node):
    return [({}, seconds(node["gathered_at"]))] if node["gathered_at"] else []


_NODE_FAMILIES = (
    ("node_state", "The state of each node: 1 for the one that it is in, 0 for the others.", _state_samples),
    ("node_findings", "Findings of each node that are not waived, by severity.", _finding_samples),
    ("node_findings_waived", "Findings of each node that are waived.", _waived_samples),
    (
        "node_spoof_protection",
        "Whether the intent of all.rp_filter=1 is met: 1 for the state of each node, 0 for the others.",
        _attested_samples,
    ),
    ("node_facts_timestamp_seconds", "When the facts of each node were gathered.", _facts_samples),
)


def _family(name, told, samples):
    lines = [f"# HELP nodeward_cilium_{name} {told}\n# TYPE nodeward_cilium_{name} gauge\n"]
    return "".join(lines + [_sample(name, labels, value) for labels, value in samples])


def _sample(name, labels, value):
    shown = ",".join(f'{key}="{_label(text)}"' for key, text in labels.items())
    return "nodeward_cilium_%s%s %d\n" % (name, f"{{{shown}}}" if shown else "", value)


def _label(text):
    # A carriage return or the like would end a line for some readers. And two names must not become one, as with a
    # sample that stands twice the whole file is refused: so the bracket of what is spelled is spelled itself.
    text = visible(text.replace("\u27e8", "\u27e8U+27E8\u27e9"))
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def seconds(moment):
    """Seconds since 1970 of a time in UTC."""
    return calendar.timegm(time.strptime(moment, "%Y-%m-%dT%H:%M:%SZ"))


#: format → (its file, how it is made).
FORMATS = {
    "json": ("audit.json", as_json),
    "junit": ("audit.junit.xml", as_junit),
    "sarif": ("audit.sarif", as_sarif),
    "csv": ("audit.csv", as_csv),
    "openmetrics": ("audit.prom", as_openmetrics),
}

# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


import datetime
import functools
import json
import os
import tempfile
from itertools import chain

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.plugins.cache import BaseFileCacheModule
from ansible.plugins.loader import cache_loader
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit import document as audit_document
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit import run as audit_run
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.baseline import Baseline, parsed
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.formats import FORMATS
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.node import judged, not_judged
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.page import page
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.summary import outline, summary
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.terms import (
    FAIL_ON,
    FAILED,
    MOMENT,
    NO_FACTS,
    UNREACHABLE,
    AuditError,
    moment,
)
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.waivers import Waivers

ALL_FORMATS = dict(FORMATS, html=("audit.html", lambda document: [page(document)]))
SPEC = {
    "hosts": {"type": "list", "elements": "str", "default": []},
    "source": {"type": "str", "choices": ["run", "cache", "document"], "default": "run"},
    "document": {"type": "path", "default": ""},
    "directory": {"type": "path", "required": True},
    "formats": {"type": "list", "elements": "str", "choices": sorted(ALL_FORMATS), "default": sorted(ALL_FORMATS)},
    "fail_on": {"type": "str", "choices": list(FAIL_ON), "default": "high"},
    "waivers": {"type": "list", "elements": "raw", "default": []},
    "baseline": {"type": "path", "default": ""},
    "max_age": {"type": "float", "default": 24},
    "options_only": {"type": "bool", "default": False},
}
CHUNK = 50  # hosts judged by one process
SKEW = 5 / 60  # hours by which the clocks of controllers that share a cache may differ


class ActionModule(ActionBase):
    """Judges the facts of many hosts on the controller, and writes what was found."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _validated, options = self.validate_argument_spec(argument_spec=SPEC)
        now = datetime.datetime.now(datetime.timezone.utc)
        try:
            waivers = Waivers(options["waivers"], now.date().isoformat())
            baseline = None
            if options["baseline"]:
                baseline = Baseline.read(_text(options["baseline"], "audit_baseline"), _named(options))
            _check(options, self._task.check_mode)
            if options["options_only"]:
                return dict(result, changed=False)
            with tempfile.TemporaryDirectory(prefix="nodeward-audit-") as folder:
                document = _document(options, now, waivers, baseline, task_vars["hostvars"], folder)
                result.update(self._written(document, options, folder))
            return result
        except (AuditError, OSError) as error:
            raise AnsibleActionFail(str(error)) from error

    def _written(self, document, options, folder):
        made = {name: os.path.join(folder, file) for name, (file, _make) in ALL_FORMATS.items()}
        # The document itself is always among them: it says whether anything changed, and the others are cut from it.
        formats = sorted(set(options["formats"]) | {"json"})
        audit_run.in_processes(
            functools.partial(lambda name: audit_run.write_pieces(ALL_FORMATS[name][1](document), made[name]), name)
            for name in formats
        )
        directory = os.path.abspath(options["directory"])
        files = {name: os.path.join(directory, ALL_FORMATS[name][0]) for name in formats}
        kept = files["json"]
        result = {
            "changed": not all(os.path.exists(path) for path in files.values())
            or audit_run.digest(kept) != audit_run.digest(made["json"]),
            "passed": document["verdict"]["passed"],
            "reasons": document["verdict"]["reasons"],
            "totals": document["totals"],
            "files": files,
            "lines": summary(document),
        }
        if self._task.diff:
            result["diff"] = {
                "before": _outline(kept),
                "after": "".join(line + "\n" for line in outline(document)),
                "before_header": kept,
                "after_header": kept,
            }
        if not self._task.check_mode:
            os.makedirs(directory, exist_ok=True)
            for name, path in files.items():
                audit_run.put(made[name], path)
            result["lines"] = result["lines"] + ["Written: " + path for path in files.values()]
        return result


def _document(options, now, waivers, baseline, hostvars, folder):
    """The document; its nodes are in a file of the folder."""
    generated = now.strftime(MOMENT)
    saved_rules, source = None, options["source"]
    if source == "document":
        name = f"audit_document: {options['document']}"
        saved, nodes = parsed(_text(options["document"], "audit_document"), name)
        saved_rules = saved.get("rules")
    else:
        if source == "cache":
            _check_kept(options["hosts"], hostvars)
        nodes = _judged(options, now, baseline, hostvars, folder)
    sums = audit_document.Sums()
    path = os.path.join(folder, "nodes")
    audit_run.write_lines(audit_document.annotated(nodes, waivers, baseline, sums), path)
    document = audit_document.head(
        sums, waivers, baseline, options["fail_on"], source, generated, _version(), saved_rules
    )
    return dict(document, nodes=audit_run.Nodes(path, len(sums.names)))


def _check_kept(hosts, hostvars):
    """Refuse to replace an audit by a report of nothing, such as of a cache at another place."""
    wanted = {"rp_filter", "cilium_routes", "audit_gathering"}
    if not any(wanted & set(hostvars.raw_get(name).get("ansible_facts") or ()) for name in hosts):
        raise AuditError(
            "found no kept facts of any of the %d hosts in the fact cache (%s %s); expected those of an earlier run. "
            "Run nodeward.cilium.audit with this cache first, or set audit_document to a saved audit.json"
            % (len(hosts), constants.CACHE_PLUGIN, constants.CACHE_PLUGIN_CONNECTION or "")
        )


def _judged(options, now, baseline, hostvars, folder):
    hosts = sorted(set(options["hosts"]))
    chunks = [hosts[start : start + CHUNK] for start in range(0, len(hosts), CHUNK)]
    paths = [os.path.join(folder, f"nodes-{number}") for number in range(len(chunks))]

    def judge(chunk, path):
        audit_run.write_lines((_node(name, hostvars, options, now, baseline) for name in chunk), path)

    audit_run.in_processes(functools.partial(judge, chunk, path) for chunk, path in zip(chunks, paths))
    return chain.from_iterable(audit_run.Nodes(path, len(chunk)) for chunk, path in zip(chunks, paths))


def _node(name, hostvars, options, now, baseline):
    # Not templated: what a node says is data, and untagging it makes it Python's own types.
    known = hostvars.raw_get(name)
    facts = known.get("ansible_facts") or {}
    gathering = known.get("__audit_gathered") if options["source"] == "run" else facts.get("audit_gathering")
    gathering = _plain(gathering)
    if not isinstance(gathering, dict):
        if options["source"] == "run":
            return not_judged(name, NO_FACTS, "this run did not gather them")
        gathering = {}
    if gathering.get("kind"):
        kind = gathering["kind"] if gathering["kind"] == UNREACHABLE else FAILED
        return not_judged(name, kind, str(gathering.get("message")))
    missing = [fact for fact in ("rp_filter", "cilium_routes") if fact not in facts]
    if missing:
        return not_judged(name, NO_FACTS, f"there is no {' and no '.join(missing)}")
    gathered_at = gathering["at"] if moment(gathering.get("at")) else None
    not_young = options["source"] == "cache" and _not_young(gathered_at, now, options["max_age"])
    if not_young:
        return not_judged(name, NO_FACTS, not_young)
    before = baseline.counters(name) if baseline else None
    today = now.strftime(MOMENT)
    return judged(name, _plain(facts["rp_filter"]), _plain(facts["cilium_routes"]), gathered_at, today, before)


def _plain(value):
    return json.loads(json.dumps(value, default=str))


def _not_young(gathered_at, now, max_age):
    """Why kept facts are not taken; nothing where they are."""
    if not max_age:
        return ""
    remedy = "gather them anew by nodeward.cilium.audit, or take facts of any age by audit_max_age=0"
    then = moment(gathered_at)
    if not then:
        return f"it is not known when they were gathered, and audit_max_age asks for that; {remedy}"
    age = (now - then).total_seconds() / 3600
    if age < -SKEW:
        # They would be young until long after that time.
        told = "they are of %s, which is to come: it is %s by this controller's clock; %s"
        return told % (gathered_at, now.strftime(MOMENT), remedy)
    if age <= max_age:
        return ""
    return f"they are {age:.0f} hours old, and audit_max_age is {max_age:g}; {remedy}"


def _text(path, option):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise AuditError(f"{option}: {path}: expected a document that the audit wrote: {error}") from None


def _named(options):
    return f"audit_baseline: {options['baseline']}"


def _check(options, check_mode):
    directory = options["directory"]
    if not options["formats"]:
        raise AuditError(f"audit_formats: expected some of {', '.join(sorted(ALL_FORMATS))}, found none")
    if not options["max_age"] >= 0:
        raise AuditError(f"audit_max_age: expected hours from 0, found {options['max_age']:g}")
    if not directory:
        raise AuditError("audit_directory: expected the folder for the report, found nothing")
    _check_directory(directory, check_mode)
    if options["source"] == "cache" and not _cache_outlives_a_run():
        raise AuditError(
            f"found no fact cache that outlives a run (ANSIBLE_CACHE_PLUGIN is {constants.CACHE_PLUGIN}); expected "
            "one, such as ANSIBLE_CACHE_PLUGIN=jsonfile with ANSIBLE_CACHE_PLUGIN_CONNECTION=FOLDER. Set both and "
            "run nodeward.cilium.audit, or set audit_document to a saved audit.json"
        )


def _check_directory(directory, check_mode):
    """Refuse a folder that cannot be written; a file system may refuse what the permissions allow, so try it."""
    above = os.path.abspath(directory)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        raise AuditError(f"audit_directory: {directory}: expected a folder, found that {above} is a file")
    try:
        if not os.access(above, os.W_OK | os.X_OK):
            raise PermissionError("permission denied")
        if not check_mode:
            os.rmdir(tempfile.mkdtemp(prefix=".nodeward-", dir=above))
    except OSError as error:
        raise AuditError(
            "audit_directory: %s: expected a folder that can be written, found that %s cannot be: %s"
            % (directory, above, error.strerror or error)
        ) from None


def _cache_outlives_a_run():
    plugin = cache_loader.get(constants.CACHE_PLUGIN, class_only=True)
    if plugin is None or not getattr(plugin, "_persistent", True):
        return False
    # Without a folder, a cache of files warns and keeps nothing. issubclass refuses the loader's stand-in of a class.
    return bool(constants.CACHE_PLUGIN_CONNECTION) or BaseFileCacheModule not in plugin.__mro__


def _outline(path):
    try:
        read, nodes = parsed(_text(path, "audit_directory"), path)
        return "".join(line + "\n" for line in outline(dict(read, nodes=nodes)))
    except (AuditError, KeyError, TypeError):
        # None yet, or of another version: all of the new one is new.
        return ""


def _version():
    path = os.path.join(os.path.dirname(__file__), "..", "..")
    try:
        with open(os.path.join(path, "MANIFEST.json"), encoding="utf-8") as file:
            return str(json.load(file)["collection_info"]["version"])
    except (OSError, KeyError, ValueError):
        # From a checkout, which has no manifest.
        return "unknown"

# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of the facts that are judged, and what is left of facts of another shape. Pure.

Facts may come from a cache, from another version of the collection, or from hands. What does not have the shape is
named and left out, so that the rest can be judged without a second look at each member.
"""

from ansible_collections.nodeward.cilium.plugins.module_utils import facts_version

_NONE = type(None)
#: fact → its version, and the module that gathers it.
_FACTS = {
    "rp_filter": (facts_version.RP_FILTER, "rp_filter_facts"),
    "cilium_routes": (facts_version.CILIUM_ROUTES, "route_facts"),
}
_TEXT, _NUMBER, _FLAG = (str,), (int,), (bool,)
_MAYBE_TEXT, _MAYBE_NUMBER, _MAYBE_FLAG = (str, _NONE), (int, _NONE), (bool, _NONE)
_ANY = (object,)


class _Unsound(Exception):
    """A value does not have its shape. Where, and what is there instead."""

    def __init__(self, path, instead):
        super().__init__(path)
        self.path = path
        self.instead = instead


# Each of these makes a function of a value that returns it in its shape or raises _Unsound. ``path`` names no device
# and no number, so that a thousand devices that lack the same make one finding.


def _one_of(kinds):
    def make(path, _note):
        def take(value):
            # To Python True is a number, and to a reader of the facts it is none.
            if isinstance(value, kinds) and (bool in kinds or object in kinds or not isinstance(value, bool)):
                return value
            raise _Unsound(path, _name(value))

        return take

    return make


def _natural(path, note):
    """A number from 0: of a line, or of how many there are."""
    take_it = _number(path, note)

    def take(value):
        if take_it(value) < 0:
            raise _Unsound(path, _name(value))
        return value

    return take


def _word(*words):
    """One of these texts."""

    def make(path, _note):
        def take(value):
            if isinstance(value, str) and value in words:
                return value
            raise _Unsound(path, _name(value))

        return take

    return make


def _members(optional=(), absent=(), **shapes):
    """A dictionary with these members; those that are optional are None if missing, ``absent`` ones stay missing."""

    def make(path, note):
        takes = [(name, shape(f"{path}.{name}", note), name in optional) for name, shape in shapes.items()]

        def take(value):
            if not isinstance(value, dict):
                raise _Unsound(path, _name(value))
            taken = {}
            for name, take_member, is_optional in takes:
                if name in value:
                    taken[name] = take_member(value[name])
                elif is_optional:
                    taken[name] = None
                elif name not in absent:
                    raise _Unsound(f"{path}.{name}", "nothing")
            return taken

        return take

    return make


def _maybe(shape):
    def make(path, note):
        take_it = shape(path, note)
        return lambda value: None if value is None else take_it(value)

    return make


def _by_name(shape):
    """A dictionary of names to values of one shape; those that do not have it are left out."""

    def make(path, note):
        take_it = shape(path + ".*", note)

        def take(value):
            if not isinstance(value, dict):
                raise _Unsound(path, _name(value))
            taken = {}
            for name, entry in value.items():
                try:
                    if not isinstance(name, str):
                        raise _Unsound(path + ".*", _name(name))
                    taken[name] = take_it(entry)
                except _Unsound as error:
                    note(error)
            return taken

        return take

    return make


def _list(shape):
    """A list of values of one shape; those that do not have it are left out."""

    def make(path, note):
        take_it = shape(path + "[]", note)

        def take(value):
            if not isinstance(value, (list, tuple)):
                raise _Unsound(path, _name(value))
            taken = []
            for entry in value:
                try:
                    taken.append(take_it(entry))
                except _Unsound as error:
                    note(error)
            return taken

        return take

    return make


def _name(value):
    return "nothing" if value is None else f"{value!r:.40}"


_text, _number, _any = _one_of(_TEXT), _one_of(_NUMBER), _one_of(_ANY)
_flag = _one_of(_FLAG)
_maybe_text, _maybe_number, _maybe_flag = _one_of(_MAYBE_TEXT), _one_of(_MAYBE_NUMBER), _one_of(_MAYBE_FLAG)
_place = {"path": _text, "line": _natural}
_winner = _maybe(_members(value=_number, key=_text, **_place))
_last_word = _maybe(_members(absent=("overrides",), value=_number, key=_text, overrides=_flag, **_place))
_configured = _members(absent=("unit",), systemd_sysctl=_winner, procps=_winner, unit=_last_word)
_maybe_place = {"path": _maybe_text, "line": _maybe(_natural), "text": _maybe_text}
_names = _maybe(_list(_text))
#: udev's steps for a new interface.
_on_add = _maybe(
    _list(
        _members(
            runs=_maybe_text,
            names=_names,
            value=_maybe_text,
            sets=_maybe_number,
            certain=_flag,
            text=_text,
            **_place,
        )
    )
)
_reserved = _members(running=_maybe_number, configured=_configured)
_loader = _maybe(
    _members(
        optional=("unit", "unit_result", "unit_file"),
        version=_any,
        globs=_maybe_flag,
        unit=_maybe_text,
        unit_result=_maybe_text,
        unit_file=_maybe(_members(state=_word("runs", "masked", "disabled", "skipped", "unknown"), **_maybe_place)),
    )
)
_marks = _members(src_valid_mark=_number, accept_local=_number)
_verdict = _word("accepted", "dropped", "unknown")
_NOT_CONFIGURED = {"running": None, "configured": {"systemd_sysctl": None, "procps": None}}

_running_system = _members(observed=_flag, why=_maybe_text)
_OBSERVED = {"observed": True, "why": None}

#: member → (shape, what stands for it where it is lacking).
_RP_FILTER = {
    "schema_version": (_number, None),
    "running_system": (_running_system, _OBSERVED),
    "all": (_reserved, _NOT_CONFIGURED),
    "default": (_reserved, _NOT_CONFIGURED),
    "devices": (
        _by_name(
            _members(
                optional=("link_kind", "on_add"),
                on_add=_on_add,
                kind=_word("cilium", "uplink", "other"),
                link_kind=_maybe_text,
                running=_number,
                effective=_number,
                configured=_configured,
            )
        ),
        {},
    ),
    "patterns": (
        _by_name(
            _members(
                optional=("on_add", "of_some"),
                configured=_configured,
                of_some=_maybe(_list(_members(value=_number, key=_text, **_place))),
                on_add=_on_add,
            )
        ),
        {},
    ),
    "loaders": (_members(systemd_sysctl=_loader, procps=_loader), {"systemd_sysctl": None, "procps": None}),
    # False: not None, which says that there is no rule.
    "reload_on_add": (
        _maybe(_members(optional=("cleared_by",), cleared_by=_maybe(_members(**_place)), **_place)),
        False,
    ),
    "dropin": (
        _members(
            path=_text,
            present=_maybe_flag,
            format=_maybe_number,
            intact=_maybe_flag,
            assignments=_list(_members(name=_text, value=_number, line=_natural)),
        ),
        None,
    ),
    "globs_without_dash": (_list(_members(value=_any, key=_text, matches=_maybe(_list(_text)), **_place)), []),
    "repeated_lines": (_list(_members(value=_any, key=_text, first=_members(**_place), **_place)), []),
    "source_marks": (_members(all=_maybe(_marks), default=_maybe(_marks), devices=_by_name(_marks)), None),
    "netfilter": (
        _list(
            _members(
                family=_text,
                table=_text,
                chain=_text,
                rule=_text,
                ipv6_only=_flag,
                only_on=_maybe(_list(_text)),
                not_on=_list(_text),
            )
        ),
        [],
    ),
    "other_writers": (
        _list(
            _members(
                optional=("unit", "when", "runs", "active", "before_loader", "reapplied", "late"),
                absent=("certain",),
                by=_text,
                unit=_maybe_text,
                when=_maybe(_list(_text)),
                runs=_maybe_text,
                active=_maybe_flag,
                certain=_flag,
                before_loader=_maybe_flag,
                reapplied=_maybe_flag,
                late=_maybe_flag,
                text=_text,
                names=_names,
                value=_maybe_text,
                sets=_maybe_number,
                narrowed=_flag,
                not_on=_list(_text),
                **_place,
            )
        ),
        [],
    ),
    "agent": (
        _maybe(
            _members(
                seen=_flag,
                by=_maybe_text,
                answers=_flag,
                version=_maybe_text,
                reconciles_after=_maybe(_natural),
            )
        ),
        None,
    ),
    "lines": (_list(_members(value=_maybe_number, key=_text, **_place)), []),
    "scripts": (_list(_members(text=_text, **_place)), []),
    "counters": (
        _members(ip_reverse_path_filter=_maybe(_natural), in_martian_src=_maybe(_natural), boot_id=_maybe_text),
        None,
    ),
    "unread": (_list(_members(what=_text, why=_text, decides=_flag, needs_root=_flag)), []),
}
#: Facts of an older version do not have them; that is no fault.
_NEWER = ("agent", "lines", "scripts", "host_routing", "ipv4", "proxy_rule")
_NO_ROUTES = {"with_route": 0, "without_route": 0, "in_effect": None, "agent": None, "disagreement": None}
_ROUTES = {
    "schema_version": (_number, None),
    "running_system": (_running_system, _OBSERVED),
    "source": (_maybe(_word("agent", "state", "netns", "routes")), None),
    "endpoint_routes": (
        _members(
            with_route=_natural,
            without_route=_natural,
            in_effect=_maybe_flag,
            agent=_maybe_flag,
            disagreement=_maybe_text,
        ),
        _NO_ROUTES,
    ),
    "loosens_uplinks": (_maybe_text, None),
    "host_routing": (_maybe_text, None),
    "ipv4": (_maybe_flag, None),
    "proxy_rule": (_maybe(_members(priority=_number, mark=_text, table=_any)), None),
    "agent_options": (
        _members(
            l7_proxy=_maybe_flag,
            load_balancer_mode=_maybe_text,
            egress_gateway=_maybe_flag,
            ipam=_maybe_text,
            devices=_maybe(_list(_text)),
        ),
        None,
    ),
    "endpoints": (
        _list(
            _members(
                optional=("namespace", "is_health", "received"),
                received=_maybe_number,
                namespace=_maybe_text,
                is_health=_maybe_flag,
                address=_maybe_text,
                ipv6=_maybe_text,
                device=_maybe_text,
                pod=_maybe_text,
                peer=_members(namespace=_maybe_text),
                route_device=_maybe_text,
                symmetric=_maybe_flag,
                verdict=_verdict,
                reason=_text,
                dropped_at=_maybe(_list(_number)),
                leaves=_members(device=_maybe_text, verdict=_verdict, reason=_text),
            )
        ),
        [],
    ),
    "unread": (_list(_members(what=_text, why=_text, needs_root=_flag)), []),
}


class _Reader:
    """Facts in, their sound part out, with what they lack."""

    def __init__(self, name, shapes):
        self._lacking = {}
        self._takes = [
            (member, shape(f"{name}.{member}", self._note), f"{name}.{member}", instead)
            for member, (shape, instead) in shapes.items()
        ]

    def _note(self, unsound):
        entry = self._lacking.setdefault(unsound.path, [0, unsound.instead])
        # The least of all, so that the order of the facts does not show.
        self._lacking[unsound.path] = [entry[0] + 1, min(entry[1], unsound.instead)]

    def read(self, facts):
        sound = {}
        for member, take, path, instead in self._takes:
            try:
                if member not in facts and member in _NEWER:
                    sound[member] = instead
                    continue
                if member not in facts:
                    raise _Unsound(path, "nothing")
                sound[member] = take(facts[member])
            except _Unsound as error:
                self._note(error)
                sound[member] = instead
        return sound, [(path, count, instead) for path, (count, instead) in sorted(self._lacking.items())]


def sound_rp_filter(facts):
    """(facts, lacking): the fact rp_filter in its shape, and (path, how often, what is there instead) of the rest."""
    sound, lacking = _Reader("rp_filter", _RP_FILTER).read(facts)
    named = {path for path, _times, _instead in lacking}
    # Every kernel has lo, and a value for each of these; where they could not be read, the facts say so.
    # An image has none of it.
    if sound["running_system"]["observed"] and not any(entry["decides"] for entry in sound["unread"]):
        lacking += [
            (f"rp_filter.{path}", 1, "nothing")
            for path, value in (
                ("all.running", sound["all"]["running"]),
                ("default.running", sound["default"]["running"]),
                ("devices", sound["devices"] or None),
                ("patterns", sound["patterns"] or None),
            )
            if value is None and not any(f"rp_filter.{path.split('.', 1)[0]}" in name for name in named)
        ]
    return sound, lacking


def other_version(name, facts):
    """(what, why) of facts that another version of the collection gathered, None of those of this one.

    What a member of such facts means, or lacks, is not known: they are not judged.

    :arg name: rp_filter or cilium_routes.
    """
    expected, module = _FACTS[name]
    found = facts.get("schema_version")
    is_number = isinstance(found, int) and not isinstance(found, bool)
    if is_number and found == expected:
        return None
    what = "gathered by a newer version" if is_number and found > expected else "gathered by an older version"
    why = "%s has %s, and this version of the collection judges %d: gather it again with nodeward.cilium.%s" % (
        name,
        "no schema_version" if found is None else f"schema_version {_name(found)}",
        expected,
        module,
    )
    return what, why


def sound_routes(facts):
    """The same for the fact cilium_routes."""
    return _Reader("cilium_routes", _ROUTES).read(facts)

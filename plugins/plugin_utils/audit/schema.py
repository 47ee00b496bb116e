# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a saved document is such as the audit writes, by the very schema that is published.

A controller need not have a validator of JSON Schema. This one knows the words that our schema uses and no others; the
tests hold it against a complete one.
"""

import functools
import json
import re
from pathlib import Path

PATH = Path(__file__).resolve().parents[3] / "roles" / "audit" / "files" / "audit.schema.json"
#: Words that say nothing of a value.
_TOLD = {"$schema", "$id", "$defs", "title", "description"}
#: Words that are read with another one: `if`.
_WITH_OTHERS = {"then", "else"}


class Unfit(ValueError):
    """A value that the schema does not take; the message says where, what was expected and what was found."""

    def __init__(self, where, expected, value):
        found = "nothing" if value is _NOTHING else f"{value!r:.60}"
        super().__init__("%sexpected %s, found %s" % (where and where + ": ", expected, found))


_NOTHING = object()
_TYPES = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


@functools.lru_cache(maxsize=None)
def head():
    """A function of a document without its nodes that raises Unfit where it is none."""
    whole = _schema()
    members = {name: inner for name, inner in whole["properties"].items() if name != "nodes"}
    return _Compiled(whole).of(dict(whole, properties=members, required=list(members)))


@functools.lru_cache(maxsize=None)
def node():
    """The same for one of its nodes."""
    return _Compiled(_schema()).of({"$ref": "#/$defs/node"})


@functools.lru_cache(maxsize=None)
def _schema():
    return json.loads(PATH.read_text(encoding="utf-8"))


class _Compiled:
    """Makes functions of schemas, so that thousands of nodes are checked without reading the schema for each."""

    def __init__(self, whole):
        self._whole = whole
        self._known = {}

    def of(self, schema):
        checks = [getattr(self, "_" + word.lstrip("$"))(schema) for word in schema if word not in _TOLD | _WITH_OTHERS]

        def check(value, where=""):
            for each in checks:
                each(value, where)

        return check

    def _ref(self, schema):
        name = schema["$ref"].rpartition("/")[2]
        if name not in self._known:
            self._known[name] = self.of(self._whole["$defs"][name])
        return self._known[name]

    def _type(self, schema):
        names = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        tests, told = [_TYPES[name] for name in names], " or ".join(names)

        def check(value, where):
            if not any(test(value) for test in tests):
                raise Unfit(where, told, value)

        return check

    def _enum(self, schema):
        told = "one of " * (len(schema["enum"]) > 1) + ", ".join(json.dumps(each) for each in schema["enum"])

        def check(value, where):
            if not any(value == each and type(value) is type(each) for each in schema["enum"]):
                raise Unfit(where, told, value)

        return check

    def _const(self, schema):
        return self._enum({"enum": [schema["const"]]})

    def _minimum(self, schema):
        def check(value, where):
            if _TYPES["integer"](value) and value < schema["minimum"]:
                raise Unfit(where, f"{schema['minimum']} or more", value)

        return check

    def _pattern(self, schema):
        pattern = re.compile(schema["pattern"])

        def check(value, where):
            if isinstance(value, str) and not pattern.search(value):
                raise Unfit(where, f"text such as {schema['pattern']}", value)

        return check

    def _oneOf(self, schema):
        """What is there or null: the complaint is of what is there."""
        first, null = schema["oneOf"]
        if null != {"type": "null"}:
            raise NotImplementedError("oneOf, but for what may be null")
        check_it = self.of(first)
        return lambda value, where: None if value is None else check_it(value, where)

    def _items(self, schema):
        check_it = self.of(schema["items"])

        def check(value, where):
            for number, entry in enumerate(value if isinstance(value, list) else ()):
                check_it(entry, f"{where}[{number}]")

        return check

    def _maxItems(self, schema):
        def check(value, where):
            if isinstance(value, list) and len(value) > schema["maxItems"]:
                raise Unfit(where, f"at most {schema['maxItems']} entries", value)

        return check

    def _propertyNames(self, schema):
        check_it = self.of(schema["propertyNames"])

        def check(value, where):
            for name in value if isinstance(value, dict) else ():
                check_it(name, where)

        return check

    def _required(self, schema):
        def check(value, where):
            for name in schema["required"] if isinstance(value, dict) else ():
                if name not in value:
                    raise Unfit(_inner(where, name), "a value", _NOTHING)

        return check

    def _properties(self, schema):
        known = {name: self.of(inner) for name, inner in schema["properties"].items()}

        def check(value, where):
            for name, check_it in known.items() if isinstance(value, dict) else ():
                if name in value:
                    check_it(value[name], _inner(where, name))

        return check

    def _additionalProperties(self, schema):
        known, other = schema.get("properties", {}), schema["additionalProperties"]
        check_it = None if other is False else self.of(other)

        def check(value, where):
            for name in value if isinstance(value, dict) else ():
                if name not in known:
                    if check_it is None:
                        raise Unfit(_inner(where, name), "no such member", value[name])
                    check_it(value[name], _inner(where, name))

        return check

    def _if(self, schema):
        """The complaint says why as well: the branch's description."""
        is_so, branches = self.of(schema["if"]), {}
        for fits, word in ((True, "then"), (False, "else")):
            branches[fits] = self.of(schema[word]), schema[word]["description"].rstrip(".")

        def check(value, where):
            check_it, why = branches[_fits(is_so, value)]
            try:
                check_it(value, where)
            except Unfit as error:
                error.args = (f"{error}. {why}",)
                raise

        return check


def _fits(check, value):
    try:
        check(value)
    except Unfit:
        return False
    return True


def _inner(where, name):
    return f"{where}.{name!s:.40}" if where else f"{name!s:.40}"

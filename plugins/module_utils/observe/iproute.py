# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every call of iproute2's `ip`; nothing else in the collection runs it.

Device names are what the kernel says: any bytes but white space, slash and colon. Bytes that are no UTF-8 come as
surrogate escapes, so that os.fsencode(name) is the device's real name; printable(name) is for people and JSON.
"""

import functools
import ipaddress
import json
import re
from collections import namedtuple

from ansible_collections.nodeward.cilium.plugins.module_utils.runner import CommandError
from ansible_collections.nodeward.cilium.plugins.module_utils.text import printable

# A route asked of the kernel: to destination; with source and device, as of a packet that came in by that device.
Question = namedtuple("Question", "destination source device")
Question.__new__.__defaults__ = (None, None)

# route: a dict as `ip` prints it, or None where the kernel refused; error: its words then, or None.
Answer = namedtuple("Answer", "route error")

RP_FILTER_WORDS = {"off": 0, "strict": 1, "loose": 2}

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.:@-]+\Z")
_FAILED_LINE = re.compile(r"Command failed .*:(\d+)\s*\Z")


class IpRoute:
    """`ip`, asked through run_command(argv, data=None) -> (rc, stdout, stderr)."""

    def __init__(self, run_command, ip="ip"):
        self._run_command = run_command
        self._ip = ip
        self._unusual_names = None

    def netconf(self):
        """rp_filter of every device: {device: 0|1|2}, with 'all' and 'default'; one dump, however many devices."""
        values = {}
        for entry in self._list("-4", "-j", "netconf", "show"):
            word = entry.get("rp_filter")
            if word is None or entry.get("family", "inet") != "inet":
                continue
            # The kernel takes every other positive number as loose; `ip` calls it "unknown mode".
            values[entry["interface"]] = RP_FILTER_WORDS.get(word, 2)
        return values

    def links(self):
        """Every device: [{ifindex, ifname, kind, link_index, link_netnsid, flags, ...}].

        kind: veth, bridge, vxlan…, or None for hardware and loopback. link_index: the peer's or lower device's index,
        or None; in this namespace where link_netnsid is None, else in the namespace of that id.
        """
        links = self._list("-j", "-d", "link", "show")
        index_of = {link["ifname"]: link["ifindex"] for link in links}
        for link in links:
            link["kind"] = (link.get("linkinfo") or {}).get("info_kind")
            # A peer in this namespace comes by name, another by index.
            link["link_index"] = link.get("link_index", index_of.get(link.get("link")))
            link.setdefault("link_netnsid", None)
        return links

    def addresses(self):
        """{device: [{'address', 'prefixlen', 'scope', 'family'}]}; a device without address has an empty list."""
        return {
            link["ifname"]: [
                {
                    "address": address["local"],
                    "prefixlen": address.get("prefixlen"),
                    "scope": address.get("scope"),
                    "family": address.get("family"),
                }
                for address in link.get("addr_info") or []
                if address.get("local")
            ]
            for link in self._list("-j", "addr", "show")
            if link.get("ifname")
        }

    def routes(self):
        """IPv4 routes of all tables, as `ip` prints them; a route without 'table' is in main."""
        return self._list("-4", "-j", "route", "show", "table", "all")

    def rules(self):
        """IPv4 policy rules, as `ip` prints them."""
        return self._list("-4", "-j", "rule", "show")

    def route_get(self, destination, source=None, device=None):
        """One question; see verdicts."""
        return self.verdicts([Question(destination, source, device)])[0]

    def verdicts(self, questions):
        """Ask the kernel for routes, all questions in one `ip -batch`; a list of Answer in the same order.

        With source and device the kernel answers as for a packet from source that came in by device, its
        reverse-path check included. That check writes a martian line to the log where log_martians is on.
        """
        return self._ask(questions)

    def matches(self, questions):
        """As verdicts, but a route is the table's entry that matched, with all its next hops ('nexthops')."""
        return self._ask(questions, "fibmatch")

    def _ask(self, questions, *options):
        questions = [Question(*question) for question in questions]
        if not questions:
            return []
        lines = [self._question(question, options) for question in questions]
        argv = [self._ip, "-j", "-force", "-batch", "-"]
        rc, stdout, stderr = self._run_command(argv, data="\n".join(lines) + "\n")
        refusals = _refusals(stderr)
        routes = _json_documents(argv, stdout)
        if rc not in (0, 1) or len(routes) + len(refusals) != len(questions) or max(refusals or [0]) > len(questions):
            raise CommandError(
                f"'{' '.join(argv)}' answered {len(routes)} and refused {len(refusals)} of {len(questions)} questions "
                f"(exit {rc}). It said: {printable(stderr.strip()[-300:])}"
            )
        routes = iter(routes)
        return [
            Answer(None, refusals[number]) if number in refusals else Answer((next(routes) or [{}])[0], None)
            for number in range(1, len(questions) + 1)
        ]

    def _question(self, question, options):
        """One line of a batch. Nothing but addresses and plain names may stand in it: a bad word ends the batch."""
        words = ["route", "get", *options, _address(question.destination)]
        if question.source is not None:
            words += ["from", _address(question.source)]
        if question.device is not None:
            words += ["iif", self._word_for(question.device)]
        return " ".join(words)

    def _word_for(self, device):
        """How a batch's line names the device: itself, or `if<index>` where quoting or options could spoil the line."""
        if _PLAIN_NAME.match(device) and not device.startswith("-"):
            return device
        if self._unusual_names is None:
            links = self.links()
            taken = {name for link in links for name in [link["ifname"]] + (link.get("altnames") or [])}
            self._unusual_names = {link["ifname"]: _index_word(link["ifindex"], taken) for link in links}
        # Gone meanwhile: an index that no device has, so that the answer is "no such device".
        return self._unusual_names.get(device, _index_word(2**31 - 1, ()))

    def _list(self, *arguments):
        argv = [self._ip] + list(arguments)
        rc, stdout, stderr = self._run_command(argv)
        if rc != 0:
            raise CommandError(
                "'%s' failed (exit %d): %s" % (" ".join(argv), rc, printable(stderr.strip()[-300:]) or "no words")
            )
        documents = _json_documents(argv, stdout)
        # `ip` prints empty objects where a filter hid an entry, and nothing at all for an empty list.
        return [entry for document in documents for entry in document if entry]


@functools.lru_cache(maxsize=None)
def _address(text):
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise CommandError(f"'{printable(str(text))}' is no IP address") from None


def _index_word(index, taken):
    """`if<index>`; with leading zeros where a device is called just that."""
    for width in range(1, 14):
        word = "if%0*d" % (width, index)
        if word not in taken:
            return word
    raise CommandError(f"cannot name the device of index {index} to ip: every spelling is some device's name")


def _refusals(stderr):
    """{line number in the batch: what `ip` said}, from words that end in 'Command failed -:N'."""
    refusals = {}
    words = []
    for line in stderr.splitlines():
        failed = _FAILED_LINE.match(line)
        if failed:
            refusals[int(failed.group(1))] = printable(" ".join(words)) or "refused without a word"
            words = []
        else:
            words.append(line.strip())
    return refusals


def _json_documents(argv, output):
    """The JSON arrays that stand one after another in the output."""
    # strict=False: a device's name may hold control characters. Older releases escape the apostrophe, which JSON
    # does not know; an escaped backslash before it must be left alone.
    output = re.sub(r"\\(\\|')", lambda match: "'" if match.group(1) == "'" else match.group(0), output).strip()
    decoder = json.JSONDecoder(strict=False)
    documents = []
    position = 0
    while position < len(output):
        try:
            document, end = decoder.raw_decode(output, position)
            if not isinstance(document, list) or not all(isinstance(entry, dict) for entry in document):
                raise ValueError("no list of objects")
        except ValueError as error:
            raise CommandError(
                f"'{' '.join(argv)}' did not answer in JSON ({error}): "
                f"{printable(output[position : position + 80])}... iproute2 5.9 (Debian 11) or newer is needed."
            ) from None
        documents.append(document)
        position = end
        while output[position : position + 1].isspace():
            position += 1
    return documents

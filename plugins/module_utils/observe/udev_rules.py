# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read udev's rules as udev reads them: which files, which lines are valid, and their tokens. Pure apart from reading.

Source: systemd, src/udev/udev-rules.c; all that is said here of versions was measured with 247, 252 and 257.
"""

import re
from collections import namedtuple

MAX_LINE = 16384  # UDEV_LINE_SIZE
WHITESPACE = " \t\n\r"

#: ``line`` and ``row`` are the physical line on which the token begins. ``folded``: compared without case.
Token = namedtuple("Token", "key attribute operator value folded line row")

#: A valid rule: ``tokens`` without GOTO and LABEL. ``doubtful``: some versions ignore it as invalid.
Line = namedtuple("Line", "path tokens label goto doubtful")

_TOKEN = re.compile(
    r"(?P<key>(?:(?![+\-!:]=)[^ \t\n\r={])*)(?:\{(?P<attribute>[^}]*)\})?[ \t\n\r]*(?P<operator>[=!+:-]=|=)[ \t\n\r]*"
    r'(?P<prefix>e?i?|ie)"'
)
_PLAIN = re.compile(r'((?:\\"|(?!\\")[^"])*)"')
_ESCAPED = re.compile(r'((?:\\.|[^"\\])*)"', re.DOTALL)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.)|\Z)", re.DOTALL)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}
_ESCAPES.update({"\\": "\\", '"': '"', "'": "'"})

MATCH, NO_MATCH, REMOVE, ASSIGN = "==", "!=", "-=", "="
_MATCHES = (MATCH, NO_MATCH)
_MATCHED_ONLY = ("ACTION", "DEVPATH", "KERNEL", "SUBSYSTEM", "DRIVER", "KERNELS", "SUBSYSTEMS", "DRIVERS", "TAGS")
_MATCHED_ONLY += ("RESULT", "CONST", "ATTRS", "TEST")
_ASSIGNED_ONLY = ("OPTIONS", "OWNER", "GROUP", "MODE", "SECLABEL", "RUN")
_REMOVED = ("TAG", "SYMLINK")
_OTHERS = ("SYMLINK", "NAME", "ENV", "TAG", "ATTR", "SYSCTL", "PROGRAM", "IMPORT")
_WITH_ATTRIBUTE = ("ENV", "CONST", "ATTR", "SYSCTL", "ATTRS", "IMPORT", "SECLABEL")
_MAY_HAVE_ATTRIBUTE = _WITH_ATTRIBUTE + ("TEST", "RUN")
_ATTRIBUTES = {
    "CONST": ("arch", "virt"),
    "IMPORT": ("file", "program", "builtin", "db", "cmdline", "parent"),
    "RUN": ("program", "builtin"),
}
_NEVER_SET = ("ACTION", "DEVLINKS", "DEVNAME", "DEVPATH", "DEVTYPE", "DRIVER", "IFINDEX", "MAJOR", "MINOR", "SEQNUM")
_NEVER_SET += ("SUBSYSTEM", "TAGS")
_BUILTINS = ("blkid", "btrfs", "hwdb", "input_id", "keyboard", "kmod", "net_id", "net_setup_link", "path_id", "uaccess")
_BUILTINS += ("usb_id",)
_LATER_BUILTINS = ("net_driver", "dissect_image", "factory_reset", "tpm2_id")


class InvalidLineError(ValueError):
    """udev ignores the whole line."""


def read(reader, folders, overlay):
    """[(path, [Line])] in the order in which udev applies them: by file name, whatever the folder.

    :arg overlay: path → text of files as they will be, None for one that will be gone.
    """
    found = {}
    for folder in folders:
        names = {path.rsplit("/", 1)[1]: text for path, text in overlay.items() if path.rsplit("/", 1)[0] == folder}
        gone = {name for name, text in names.items() if text is None}
        for name in set(reader.names(folder)) | set(names):
            # The same name in a weaker folder is masked, also by a link to /dev/null and by an empty file.
            if name.endswith(".rules") and not name.startswith(".") and name not in gone:
                found.setdefault(name, f"{folder}/{name}")
    files = []
    for name in sorted(found, key=_bytes):
        path = found[name]
        rows = list(enumerate(overlay[path].split("\n"), 1)) if overlay.get(path) else reader.lines(path)
        files.append((path, parse(rows, path)))
    return files


def builtin(value):
    """The name of the builtin that a command begins with; None if there is none of that name."""
    name = re.match(r"[^ \t\n\r]*", value).group()
    return name if name in _BUILTINS or name in _LATER_BUILTINS else None


def parse(rows, path):
    """The valid lines of a file. ``rows``: (number, text) of its physical lines."""
    lines = []
    for text, pieces in _joined(rows):
        try:
            line = _line(text, pieces, path)
        except InvalidLineError:
            continue
        if line.tokens or line.label is not None or line.goto is not None:
            lines.append(line)
    return lines


def _joined(rows):
    """(text, [(offset, number, row)]) of each logical line."""
    text, pieces = "", []
    for number, row in rows:
        if len(_bytes(row)) >= MAX_LINE:
            return  # udev stops reading the file
        piece = row.rstrip("\r").lstrip(WHITESPACE)
        if piece.startswith("#"):
            continue  # also between continued lines, and whatever it ends with
        pieces.append((len(text), number, row))
        text += piece
        if text.endswith("\\"):
            text = text[:-1]
            continue
        if text and len(_bytes(text)) < MAX_LINE:
            yield text, pieces
        text, pieces = "", []


def _line(text, pieces, path):
    tokens, label, goto, doubtful, position = [], None, None, False, 0
    while True:
        position += len(text) - position - len(text[position:].lstrip(WHITESPACE + ","))
        if position >= len(text):
            return Line(path, tokens, label, goto, doubtful)
        token, position, doubt = _token(text, position, pieces)
        if token.key == "GOTO":
            goto = token.value if goto is None else goto
        elif token.key == "LABEL":
            label = token.value
        else:
            tokens.append(token)
        doubtful = doubtful or doubt


def _token(text, position, pieces):
    """(token, where it ends, whether only some versions take it)."""
    start = _TOKEN.match(text, position)
    if not start:
        raise InvalidLineError
    prefix = start.group("prefix")
    end = (_ESCAPED if "e" in prefix else _PLAIN).match(text, start.end())
    if not end:
        raise InvalidLineError
    value = _unescaped(end.group(1)) if "e" in prefix else end.group(1).replace('\\"', '"')
    at = [(number, row) for offset, number, row in pieces if offset <= position][-1]
    token = Token(start.group("key"), start.group("attribute"), start.group("operator"), value, "i" in prefix, *at)
    return token, end.end(), _check(token)


def _unescaped(text):
    def character(match):
        for code, base in zip(match.groups()[:4], (16, 16, 16, 8)):
            if code is not None:
                if not 0 < int(code, base) < 0x110000:
                    raise InvalidLineError
                return chr(int(code, base))
        if match.group(5) not in _ESCAPES:
            raise InvalidLineError
        return _ESCAPES[match.group(5)]

    return _ESCAPE.sub(character, text)


def _check(token):
    """Raise if udev ignores the line for this token. Returns whether only some versions take it."""
    key, attribute, operator, value = token[:4]
    is_match = operator in _MATCHES
    if token.folded and not is_match:
        raise InvalidLineError
    if key in ("GOTO", "LABEL"):
        valid = operator == ASSIGN and attribute is None
    elif key in _MATCHED_ONLY:
        valid = is_match
    elif key in _ASSIGNED_ONLY:
        valid = not is_match and operator != REMOVE
    else:
        valid = key in _OTHERS and (operator != REMOVE or key in _REMOVED)
    valid = valid and (attribute is None or key in _MAY_HAVE_ATTRIBUTE)
    valid = valid and (bool(attribute) or key not in _WITH_ATTRIBUTE)
    if attribute is not None and key in _ATTRIBUTES:
        valid = valid and attribute in _ATTRIBUTES[key]
    if key == "TEST" and attribute:
        valid = valid and re.match(r"[0-7]{1,5}\Z", attribute)
    if key == "NAME" and not is_match:
        valid = valid and value not in ("%k", "")
    if key == "ENV" and not is_match:
        valid = valid and attribute not in _NEVER_SET
    if key == "OPTIONS" and value.startswith("link_priority="):
        valid = valid and re.match(r"[+-]?\d+\Z", value[len("link_priority=") :])
    runs_builtin = key in ("RUN", "IMPORT") and attribute == "builtin"
    if not valid or (runs_builtin and builtin(value) is None):
        raise InvalidLineError
    # i"…" and SYMLINK-= are not known to 252.
    return (
        token.folded
        or (key == "SYMLINK" and operator == REMOVE)
        or (runs_builtin and builtin(value) in _LATER_BUILTINS)
    )


def _bytes(text):
    return text.encode("utf-8", "surrogateescape")

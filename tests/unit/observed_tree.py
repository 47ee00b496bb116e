"""A tree of files under a folder of a test, and the node that the rooms of observe see in it."""

from ansible_collections.nodeward.cilium.plugins.module_utils.observe import scripts
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.files import Reader


class EnabledUnits:
    """Stands for units.Units: these units are enabled, these writers are found in units."""

    def __init__(self, enabled=(), writers=()):
        self._enabled, self._writers = enabled, writers

    def active(self, name):
        return name in self._enabled

    def writers(self):
        return [dict(each) for each in self._writers]


def lay(root, files, executable=()):
    """Write the files; those that are executable are named once more."""
    for path, text in files.items():
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (root / path[1:]).write_text(text)
        (root / path[1:]).chmod(0o755 if path in executable else 0o644)


def node(root, files=(), executable=(), enabled=(), running=()):
    lay(root, dict(files), executable)
    return scripts.Node(Reader(str(root)), EnabledUnits(enabled), frozenset(running))


def places(writers):
    return [(each["by"], each["path"], each["line"], each["value"]) for each in writers]

"""Imports go down only: plugins → plugin_utils → module_utils, and from room to room as the design says."""

import ast
import sys
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
BASE = "ansible_collections.nodeward.cilium.plugins"

#: What a room may import besides itself. A room is a folder; ``module_utils`` stands for the files directly in it.
ALLOWED = {
    "module_utils": set(),
    "module_utils/sysctl_d": {"module_utils"},
    "module_utils/observe": {"module_utils"},
    "module_utils/write": {"module_utils", "module_utils/observe"},
    "plugin_utils": {"module_utils"},
    "plugin_utils/judge": {"module_utils", "module_utils/observe", "module_utils/write"},
    "plugin_utils/render": {"module_utils", "plugin_utils", "plugin_utils/judge"},
    "plugin_utils/audit": {"module_utils", "plugin_utils", "plugin_utils/judge", "plugin_utils/render"},
    "plugin_utils/cluster": {"module_utils", "module_utils/observe", "plugin_utils", "plugin_utils/judge"},
    "modules": {"module_utils", "module_utils/observe", "module_utils/write"},
    "action": {"module_utils", "plugin_utils", *(f"plugin_utils/{room}" for room in ("audit", "cluster", "render"))},
    "filter": {"plugin_utils", *(f"plugin_utils/{room}" for room in ("cluster", "judge", "render"))},
}
#: No plugin imports another one.
PLUGIN_FOLDERS = {"modules", "action", "filter"}


def imports(path):
    """The modules of the collection that a file imports, as paths below plugins/ without their ending."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(BASE):
            parent = node.module[len(BASE) + 1 :].replace(".", "/")
            for alias in node.names:
                module = f"{parent}/{alias.name}"
                is_module = (PLUGINS / f"{module}.py").exists() or (PLUGINS / module / "__init__.py").exists()
                found.add(module if is_module else parent)
    return found


FILES = [path for path in sorted(PLUGINS.rglob("*.py")) if path.name != "__init__.py"]
IMPORTS = {str(path.relative_to(PLUGINS).with_suffix("")): imports(path) for path in FILES}


def room(module):
    return module.rpartition("/")[0]


@pytest.mark.parametrize("module", IMPORTS)
def test_imports_go_down_only(module):
    own = room(module)
    allowed = ALLOWED.get(own, set()) | ({own} - PLUGIN_FOLDERS)
    assert {each for each in IMPORTS[module] if room(each) not in allowed} == set()


def test_every_room_has_its_rule():
    assert {room(module) for module in IMPORTS} - {"doc_fragments"} == set(ALLOWED)


def test_no_modules_import_each_other_in_a_circle():
    done = set()

    def visit(module, above):
        assert module not in above, " → ".join([*above, module])
        if module not in done:
            for each in sorted(IMPORTS.get(module, ())):
                visit(each, [*above, module])
            done.add(module)

    for module in IMPORTS:
        visit(module, [])


@pytest.mark.parametrize("module", [module for module in IMPORTS if module.startswith(("module_utils", "modules"))])
def test_a_node_needs_the_standard_library_alone(module):
    for node in ast.walk(ast.parse((PLUGINS / f"{module}.py").read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            top = name.partition(".")[0]
            assert top in sys.stdlib_module_names or name.startswith(("ansible.module_utils", BASE)), name

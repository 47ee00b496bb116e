"""Each command in README.md is one that its program takes: playbooks, variables, values, names and targets exist."""

import json
import re
import shlex

import pytest
import yaml
from ansible.cli.doc import DocCLI
from ansible.cli.playbook import PlaybookCLI
from ansible_collections.nodeward.cilium.plugins.plugin_utils import variables
from conftest import REPOSITORY as ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
OF_COLLECTION = "nodeward.cilium."
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
SPECS = {
    role: yaml.safe_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]
    for role in ROLES
}
TARGETS = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
#: Programs of a reader's machine that this collection only names.
OTHERS = {"cd", "git", "grep", "pip"}


def blocks():
    """Each line of a block of commands, with its comment; a line that ends with a backslash goes on in the next."""
    for block in re.findall(r"^```(?:console|sh)\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()


def spans():
    """Inline code, outside of blocks."""
    yield from re.findall(r"(?<!`)`([^`\n]+)`", re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL))


def commands():
    """Each command as words; of a comment only the options in it."""
    for line in blocks():
        words = shlex.split(line, comments=True)
        command = []
        for word in [*words, "|"]:
            if word in ("&&", "|"):
                yield command
                command = []
            else:
                command.append(word)
    for span in spans():
        words = shlex.split(span) if "'" not in span.replace("'{", "").replace("}'", "") else [""]
        # A program's name alone is no command.
        if len(words) > 1 and (words[0] in EXAMINE or re.match(r"[A-Z]+=\S+$", words[0])):
            yield words


def known_for(playbook):
    """The specifications of the variables that a playbook reads."""
    plays = yaml.safe_load((ROOT / "playbooks" / (playbook + ".yml")).read_text())
    roles = plays[0]["tasks"][-1 if playbook == "report" else 0]["nodeward.cilium.check_variables"]["roles"]
    return {name: spec for role in roles for name, spec in SPECS[role]["options"].items()}


def examine_playbook(words):
    cli = PlaybookCLI(words)
    cli.init_parser()
    options = cli.parser.parse_args(words[1:])
    assert options.args, words
    for name in options.args:
        assert name.startswith(OF_COLLECTION), name
        playbook = name[len(OF_COLLECTION) :]
        assert (ROOT / "playbooks" / (playbook + ".yml")).is_file(), name
        examine_variables(options.extra_vars, known_for(playbook))


def examine_variables(given, specs):
    values = {}
    for each in given:
        values.update(json.loads(each) if each.startswith("{") else [each.split("=", 1)])
    of_plays = {name: value for name, value in values.items() if name in variables.PLAYBOOK}
    assert set(values) <= set(specs) | set(variables.PLAYBOOK), values
    assert variables.wrong_values(specs, values)[0] == []
    assert variables.wrong_play_values(of_plays) == []


def examine_make(words):
    targets = [word for word in words[1:] if "=" not in word]
    assert targets and set(targets) <= TARGETS, words


def examine_doc(words):
    cli = DocCLI(words)
    cli.init_parser()
    options = cli.parser.parse_args(words[1:])
    for name in options.args:
        path = {
            "role": ROOT / "roles" / name[len(OF_COLLECTION) :] / "meta/argument_specs.yml",
            "filter": ROOT / "plugins/filter" / (name[len(OF_COLLECTION) :] + ".py"),
            "module": ROOT / "plugins/modules" / (name[len(OF_COLLECTION) :] + ".py"),
        }[options.type]
        assert path.is_file(), words
        assert options.type == "role" or "\nDOCUMENTATION = " in path.read_text()


def examine_galaxy(words):
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text())
    assert words[1:] == ["collection", "install", "%(namespace)s.%(name)s" % galaxy]


def examine_molecule(words):
    arguments = words[2:]
    assert words[1] == "test", words
    if arguments[0] == "-s":
        assert (ROOT / "molecule" / arguments[1] / "molecule.yml").is_file(), words
    else:
        assert arguments == ["--all"]


def examine_source(words):
    assert words == [".", "build/env"]
    assert "build/env" in (ROOT / "Makefile").read_text()


EXAMINE = {
    "ansible-playbook": examine_playbook,
    "ansible-doc": examine_doc,
    "ansible-galaxy": examine_galaxy,
    "make": examine_make,
    "molecule": examine_molecule,
    ".": examine_source,
}


@pytest.mark.parametrize("words", [pytest.param(each, id=shlex.join(each)) for each in commands()])
def test_each_command_is_one_that_its_program_takes(words):
    while re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    if words[0] not in OTHERS:
        EXAMINE[words[0]](words)


def test_commands_are_found():
    programs = [next(word for word in each if "=" not in word) for each in commands()]
    assert programs.count("ansible-playbook") > 10
    assert programs.count("make") > 8
    assert programs.count("ansible-doc") > 1
    assert {"ansible-galaxy", "molecule", "."} <= set(programs)


def test_options_in_comments_and_sentences_set_variables_that_are_known():
    specs = {name: spec for each in SPECS.values() for name, spec in each["options"].items()}
    comments = [line.partition("#")[2] for line in blocks()]
    given = [each for text in (*comments, *spans()) for each in re.findall(r"(?:^|[ \[])-e ([a-z_]+=[^\s\]`…]+)", text)]
    assert len(given) > 5
    for each in given:
        name, _equals, value = each.partition("=")
        if re.fullmatch("[A-Z]+", value) or name in ("nodes", "conflicts") or value == "enable":
            # Left to the reader to say; or the README's examples of what is refused.
            continue
        examine_variables([each], specs)


def test_names_of_this_collection_are_there():
    there = {path.stem for path in ROOT.glob("playbooks/*.yml")} | set(ROLES)
    there |= {path.stem for folder in ("modules", "filter", "action") for path in ROOT.glob(f"plugins/{folder}/*.py")}
    named = set(re.findall(r"\bnodeward\.cilium\.([a-z_]+)", README))
    assert len(named) > 10
    assert named - there == set()


def test_the_tables_of_variables_name_those_of_the_roles():
    rows = re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \|", README, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}
    assert len(named) > 40
    assert named <= {name for spec in SPECS.values() for name in spec["options"]} | set(variables.PLAYBOOK)

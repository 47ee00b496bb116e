"""A role's argument_specs are its interface: they list exactly its defaults, and say the same of each."""

from pathlib import Path

import pytest
import yaml

# A folder of files alone (the audit's page) is no role that one can run.
ROLES = sorted(path.parent.parent for path in (Path(__file__).parents[2] / "roles").glob("*/tasks/main.yml"))


def test_every_role_is_looked_at():
    assert {role.name for role in ROLES} >= {"diagnose", "endpoint_routes", "rp_filter"}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_argument_specs_equal_defaults(role):
    defaults = yaml.safe_load((role / "defaults/main.yml").read_text())
    options = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert {name: option.get("default") for name, option in options.items()} == defaults


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_variables_carry_the_role_s_name(role):
    defaults = yaml.safe_load((role / "defaults/main.yml").read_text())
    assert all(name.startswith(role.name + "_") for name in defaults)

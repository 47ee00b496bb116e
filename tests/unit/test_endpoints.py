"""What an endpoint is called, in every text alike."""

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils.endpoints import known_name, name_of

POD = {"pod": "shop/cart", "address": "10.0.0.7", "ipv6": "fd00::7", "device": "lxc1", "is_health": False}


@pytest.mark.parametrize(
    ("changes", "known", "name"),
    [
        ({}, "shop/cart", "shop/cart"),
        ({"pod": None}, None, "10.0.0.7"),
        ({"pod": None, "address": None}, None, "fd00::7"),
        ({"pod": None, "address": None, "ipv6": None}, None, "lxc1"),
        ({"pod": None, "address": None, "ipv6": None, "device": None}, None, "an endpoint"),
        ({"is_health": True, "pod": None}, "health endpoint", "health endpoint"),
        ({"is_health": None, "pod": None, "device": "lxc_health"}, "health endpoint", "health endpoint"),
    ],
)
def test_names(changes, known, name):
    assert (known_name({**POD, **changes}), name_of({**POD, **changes})) == (known, name)


def test_of_facts_of_an_older_version():
    assert name_of({"pod": None, "address": "10.0.0.7", "device": "lxc_health"}) == "health endpoint"

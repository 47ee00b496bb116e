"""Make the checkout importable as ansible_collections.nodeward.cilium, as Ansible itself would see it."""

import os
import sys
import tempfile
from pathlib import Path

from hypothesis import settings

# The short run makes the same examples each time; PROMISES, or --hypothesis-profile=default, makes others.
settings.register_profile("same", derandomize=True)
settings.load_profile("default" if "PROMISES" in os.environ else "same")

REPOSITORY = Path(__file__).resolve().parent.parent
FIXTURES = REPOSITORY / "tests" / "fixtures"

COLLECTIONS = _collections = Path(tempfile.mkdtemp(prefix="nodeward-collections-"))
(_collections / "ansible_collections" / "nodeward").mkdir(parents=True)
(_collections / "ansible_collections" / "nodeward" / "cilium").symlink_to(REPOSITORY)
sys.path.insert(0, str(_collections))


def pytest_unconfigure(config):
    for path in (_collections / "ansible_collections/nodeward/cilium",):
        path.unlink(missing_ok=True)
    for folder in ("ansible_collections/nodeward", "ansible_collections", "."):
        (_collections / folder).rmdir()

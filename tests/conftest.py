"""Make the checkout importable as ansible_collections.nodeward.cilium, as Ansible itself would see it."""

import sys
import tempfile
from pathlib import Path

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

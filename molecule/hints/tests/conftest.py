"""Make the built collection and the tests' support importable, and show the number of hints."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [os.environ["ANSIBLE_COLLECTIONS_PATH"], str(ROOT / "tests/support")]


def pytest_terminal_summary(terminalreporter):
    import hints

    terminalreporter.write_line(f"hints: {hints.counted()}")

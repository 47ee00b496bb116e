"""Make the built collection and the tests' support importable."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [os.environ["ANSIBLE_COLLECTIONS_PATH"], str(ROOT / "tests/support")]

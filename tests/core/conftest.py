"""Lets the tests of this folder import its hand-made traces and other tools' formulas by name."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

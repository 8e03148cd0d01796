"""Writes the attack table of autograde/SECURITY.md from a run: `python tests/attacks`, some minutes."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import attack_table

if __name__ == "__main__":
    attack_table.write_table()

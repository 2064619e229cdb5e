"""`python -m agi_bridge` is the command `agi-bridge`."""

from agi_bridge.cli import main_entry

main_entry()

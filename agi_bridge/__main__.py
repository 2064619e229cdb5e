"""`python -m agi_bridge` is the command `agi-bridge`."""

from agi_bridge.cli.command import main_entry

main_entry()

"""The command `agi-bridge`: a module a subcommand, and only the one that is run is imported."""

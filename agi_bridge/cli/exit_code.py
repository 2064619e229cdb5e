"""The exit codes of the command."""

DONE, FAILED, MISUSED, WARNED, INTERRUPTED = 0, 1, 2, 3, 130

EXIT_CODES = "Exit codes: 0 done, 1 it did not work, 2 the command line or the configuration is wrong, 3 warnings, 130 interrupted."

"""One target under the coverage-guided fuzzer, in a process of its own: libFuzzer takes the whole process and never returns.

    python -m fuzzing.worker TARGET [libFuzzer's options and folders]

Only the code under test is instrumented. The fuzzer stops at the first input that breaks a promise, hangs or grows.
"""

import sys

import atheris

# What pays attention to the bytes: ours, and the parser of the configuration's language.
with atheris.instrument_imports(include=["agi_bridge", "tomllib"]):
    from fuzzing.targets import TARGETS


def main() -> None:
    """Fuzz until libFuzzer has had enough."""
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name].broken_by)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

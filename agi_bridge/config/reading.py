"""One reading of a file: what is found wrong or doubtful in it, and the secrets that it names.

Pure: the environment and a way to read files are handed in. It knows no table; the module of each table looks at its own, and
says here what it finds.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from agi_bridge.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    ReadFile = Callable[[str], bytes]


class Reading:
    """What is known of a file while its tables are looked at, one after the other."""

    def __init__(self, problems: list[Problem], environ: Mapping[str, str], read_file: ReadFile) -> None:
        self.problems = problems
        self.warnings: list[Problem] = []
        self.environ = environ
        self._read_file = read_file

    def refuse(self, path: str, message: str, suggestion: str = "") -> None:
        """Tell what keeps the file from being a configuration."""
        self.problems.append(Problem(path, message, suggestion))

    def warn(self, path: str, message: str, suggestion: str = "") -> None:
        """Tell what can be served, but may not be meant."""
        self.warnings.append(Problem(path, message, suggestion))

    def has_refused(self, *paths: str) -> bool:
        """Return whether one of these places is wrong; a default stands in for what could not be read."""
        return any(problem.path in paths for problem in self.problems)

    def has_refused_in(self, *beginnings: str) -> bool:
        """Return whether a place is wrong whose path begins with one of these."""
        return any(problem.path.startswith(beginnings) for problem in self.problems)

    def text(self, path: str, name: str) -> str | None:
        """Return the text of the file that *path* names, None where it cannot be read."""
        try:
            return self._read_file(name).decode()
        except UnicodeDecodeError:
            self.refuse(path, f"{name} is not UTF-8 text")
        except OSError as error:
            hint = "write it beside the configuration, or name another" if isinstance(error, FileNotFoundError) else ""
            self.refuse(path, f"cannot read {name}: {error.strerror or error}", hint)
        except ValueError as error:
            self.refuse(path, f"cannot read {name!r}: {error}")
        return None

    def secret(self, path: str, name: str) -> str | None:
        """Return what a file holds but for the blanks around it, None where it cannot be read."""
        text = self.text(path, name)
        return text if text is None else text.strip()

    def certificates(self, path: str, name: str | None) -> str:
        """Return the certificates of an authority, in PEM; "" where no file is named."""
        if name is None:
            return ""
        text = self.text(path, name)
        if text is not None and "-----BEGIN CERTIFICATE-----" not in text:
            self.refuse(path, f"{name} holds no certificate in PEM")
        return text or ""


def called(kind: str, name: object, number: int) -> str:
    """Return how one of several tables is called in what is said about it: by its name, else by its number."""
    return f'{kind} "{name}"' if name and isinstance(name, str) else f"{kind} {number}"


def closest(word: str, known: Iterable[str]) -> str:
    """Suggest the known word that may have been meant, else tell them all."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f'did you mean "{close[0]}"?'
    return f"there are: {', '.join(known)}" if known else ""

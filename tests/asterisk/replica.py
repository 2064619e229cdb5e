"""Replicas of what distributions write into Asterisk's folder, and the writing of it.

The files in flavors/ are of our own making: they have the names, the includes and the order of calls that FreePBX, Issabel
and VitalPBX give the way of an inbound call, and nothing else of theirs. What a replica includes and does not have is what
the distribution leaves to the administrator.
"""

import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent / "flavors"
MODULES = Path(__file__).parents[2] / "asterisk-conf/modules.conf"

# Distributions load everything that there is. What matters here is how strangers could be recognised.
_MORE_MODULES = """
load = res_pjsip_endpoint_identifier_user.so
load = res_pjsip_endpoint_identifier_anonymous.so
"""


@dataclass(frozen=True)
class Replica:
    """One distribution, and the fallbacks that its pages recommend: of a rule, and where there is no bridge to ask."""

    flavor: str
    fallback: str
    default_fallback: str

    @property
    def generated(self) -> dict[str, str]:
        """Return what the distribution writes, by path."""
        folder = HERE / self.flavor
        return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.conf"))}

    @property
    def left_alone(self) -> set[str]:
        """Return the files that the distribution includes but does not write."""
        included = re.findall(r"^#include ([\w./-]+)$", "\n".join(self.generated.values()), re.MULTILINE)
        return {name for name in included if name not in self.generated and not name.startswith("site/")}

    @property
    def files(self) -> dict[str, str]:
        """Return Asterisk's folder as it is before anybody has added anything."""
        modules = {"modules.conf": MODULES.read_text() + _MORE_MODULES}
        return {**modules, **self.generated, **dict.fromkeys(self.left_alone, "")}

    def regenerate(self, folder: Path) -> None:
        """Do what the distribution does when somebody applies a change: write all that is its own."""
        for name, text in self.generated.items():
            (folder / name).unlink()
            (folder / name).write_text(text)


REPLICAS = {
    replica.flavor: replica
    for replica in (
        Replica("plain", "phones,200,1", "phones,600,1"),
        Replica("freepbx", "from-did-direct,200,1", "ext-queues,600,1"),
        Replica("issabel", "from-did-direct,200,1", "ext-queues,600,1"),
        Replica("vitalpbx", "cos-all,200,1", "cos-all,600,1"),
    )
}

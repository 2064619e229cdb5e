"""What Asterisk answers to one AGI command: a line of text in, a reply out, the channel changed on the way.

It follows `commands[]` of res_agi.c and app_dial for the few commands that a bridge needs; Asterisk's other ones are
answered 510 here. It must not know sockets, nor when HANGUP is said: that is `simulator/asterisk.py`.
"""

import asyncio
import re
import time
from dataclasses import dataclass

from agi_bridge.simulator.channel import ChannelMemory

MOST_WORDS = 127
APPLICATIONS = frozenset(
    {"answer", "dial", "hangup", "mset", "noop", "playback", "progress", "ringing", "verbose", "wait"}
)
USAGE = (
    "520-Invalid command syntax.  Proper usage follows:\n"
    "The simulator knows that this is wrong,\n\nbut not how it is done right.\n"
    "520 End of proper usage."
)


@dataclass(frozen=True, slots=True)
class DialEnding:
    """How `EXEC Dial` goes. A held one lasts until `release_dial` or `hang_up`: it talks if ANSWER, else it rings."""

    dialstatus: str = "ANSWER"
    hangup_cause: int = 16
    dialed_seconds: int = 9
    answered_seconds: int = 7
    held: bool = False


def parse_words(line: str) -> list[str]:
    """Split a command as parse_args in res_agi.c does: quotes group, a backslash frees the next character."""
    words: list[str] = []
    quoted = escaped = in_word = False
    for char in line:
        if char == "\\" and not escaped:
            escaped = True
            continue
        if char in " \t" and not quoted and not escaped:
            in_word = False
            continue
        if not in_word:
            if len(words) == MOST_WORDS:
                break
            words.append("")
            in_word = True
        if char == '"' and not escaped:
            quoted = not quoted
        else:
            words[-1] += char
        escaped = False
    return words


def split_arguments(text: str) -> list[str]:
    """Split the argument of an application at its commas, as `ast_app_separate_args` does (main/app.c:2357).

    Quotes and backslashes protect and disappear; a comma inside brackets stays, even where the brackets are quoted.
    """
    parts = [""]
    quoted = escaped = False
    depth = 0
    for sign in text:
        if escaped:
            escaped = False
        elif sign == "\\":
            escaped = True
            continue
        elif sign == '"':
            quoted = not quoted
            continue
        elif sign == "," and not quoted and not depth:
            parts.append("")
            continue
        elif sign in "([":
            depth += 1
        elif sign in ")]":
            depth = max(depth - 1, 0)
        parts[-1] += sign
    return parts


class AgiCommands:
    """The commands of one AGI session. ``dead`` is res_agi's dead mode: the channel is gone and most are refused."""

    def __init__(self, memory: ChannelMemory, ending: DialEnding) -> None:
        self.memory = memory
        self.dead = memory.channel.hung_up
        self.hung_up_at: float | None = None  # time.monotonic()
        self.executed: list[tuple[str, str]] = []
        self._ending = ending
        self._dial_over = asyncio.Event()

    def hang_up(self) -> None:
        """Note that the caller is gone, which ends a Dial that is under way."""
        if not self.dead and self.hung_up_at is None:
            self.hung_up_at = time.monotonic()
            self._dial_over.set()

    def release_dial(self) -> None:
        """Let a held Dial end as its DialEnding says."""
        self._dial_over.set()

    async def answer(self, line: str) -> str:
        """Obey one command and return the reply, its line feeds inside but none at its end."""
        return await self._obey(parse_words(line.partition("\0")[0]))

    async def _obey(self, words: list[str]) -> str:
        memory = self.memory
        match [word.upper() for word in words[:3]] + words[3:]:
            case ["ANSWER" | "HANGUP", *_] | ["CHANNEL", "STATUS", *_] if self.dead:
                return "511 Command Not Permitted on a dead channel or intercept routine"
            case ["ANSWER", *_]:
                memory.state = 6
                return "200 result=0"
            case ["HANGUP"] | ["HANGUP", _]:
                if words[1:] not in ([], [self.memory.channel.name]):
                    return "200 result=-1"
                self.hang_up()
                return "200 result=1"
            case ["CHANNEL", "STATUS"] | ["CHANNEL", "STATUS", _]:
                return f"200 result={memory.state if words[2:] in ([], [self.memory.channel.name]) else -1}"
            case ["SET", "VARIABLE", *_]:
                if len(words) > 3:
                    memory.set(words[2], words[3])
                return "200 result=1"
            case ["GET", "VARIABLE", _]:
                value = memory.get(words[2])
                return "200 result=0" if value is None else f"200 result=1 ({value})"
            case ["GET", "FULL", "VARIABLE", expression, *others] if others in ([], [self.memory.channel.name]):
                return f"200 result=1 ({memory.evaluate(expression)})"
            case ["GET", "FULL", "VARIABLE", _, _]:
                return "200 result=0"
            case ["EXEC", _, *_]:
                return f"200 result={await self._execute(words[1], words[2] if len(words) > 2 else '')}"
            case ["NOOP", *_]:
                return "200 result=0"
            case ["VERBOSE", _, *_]:
                return "200 result=1"
            case (
                ["GET", "VARIABLE", *_]
                | ["GET", "FULL", "VARIABLE", *_]
                | ["EXEC" | "VERBOSE" | "HANGUP", *_]
                | ["CHANNEL", "STATUS", *_]
            ):
                return USAGE
        return "510 Invalid or unknown command"

    async def _execute(self, application: str, options: str) -> int:
        self.executed.append((application, options))
        match application.lower():
            case "dial":
                return await self._dial(options)
            case "hangup":
                self.hang_up()
                return -1
            case "answer":
                self.memory.state = 6
            case "mset":
                for pair in split_arguments(options):
                    name, equals, value = pair.partition("=")
                    if equals:
                        self.memory.set(name, value)
        return 0 if application.lower() in APPLICATIONS else -2

    async def _dial(self, options: str) -> int:
        """Return 0 where the dialplan would go on, -1 after a conversation that had no option g, or a cancelled one."""
        ending, variables = self._ending, self.memory.variables
        variables.update(DIALSTATUS="", DIALEDTIME="", ANSWEREDTIME="")
        self._dial_over.clear()
        if ending.held and not self.dead:
            await self._dial_over.wait()
        caller_left = self.dead or self.hung_up_at is not None
        if ending.dialstatus == "ANSWER" and not self.dead:
            self.memory.state = 6
            variables["DIALEDTIME"] = str(ending.dialed_seconds)
            variables["ANSWEREDTIME"] = str(ending.answered_seconds)
            letters = re.sub(r"\(.*?\)", "", ",".join(options.split(",")[2:]))
            result = 0 if "g" in letters and not caller_left else -1
        elif caller_left:
            variables["DIALSTATUS"] = "CANCEL"
            return -1
        else:
            result = 0
        variables.update(DIALSTATUS=ending.dialstatus, HANGUPCAUSE=str(ending.hangup_cause))
        return result

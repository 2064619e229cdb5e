"""The configuration, whatever its author wrote.

Promised: it is read, or refused with ConfigError that names at least one problem, each with its place; what was read can be
used: every call gets a route, whose dial options, fallback and question to Asterisk fit into commands.
"""

from functools import cache
from pathlib import Path

from agi_bridge import metadata
from agi_bridge.agi.protocol import Request, assign, get_full_variable
from agi_bridge.call import Call
from agi_bridge.config import Config, load
from agi_bridge.dialplan import dial_options
from agi_bridge.errors import ConfigError
from agi_bridge.routing import choose_route
from fuzzing.target import Target

_ROOT = Path(__file__).resolve().parents[2]
_ENVIRON = {"MILLIS_API_KEY": "k3y"}
_FILES = {
    "key": b"k3y\n",
    "agent.json": b'{"language": "en-US"}',
    "agent.toml": b'language = "en-US"',
    "latin": b"\xe9",
}
_FIELDS = {
    "network_script": "route?did=%2B15551230001",
    "channel": "PJSIP/trunk-0000001a",
    "callerid": "+15557654321",
    "context": "from-trunk",
}
_REQUESTS = tuple(
    Request(_FIELDS | other) for other in ({}, {"callerid": "anonymous"}, {"network_script": "", "dnid": "s"})
)


def broken_by(data: bytes) -> None:
    """Load the text, and use what comes of it."""
    try:
        text = data.decode()
    except UnicodeDecodeError:  # which the command refuses before anything is read
        return
    try:
        config = load(text, _ENVIRON, _read_file)
    except ConfigError as error:
        _must_name_problems(error)
        return
    for request in _REQUESTS:
        _must_route(config, request)


def _read_file(name: str) -> bytes:
    try:
        return _FILES[name]
    except KeyError:
        raise FileNotFoundError(2, "No such file or directory") from None


def _must_name_problems(error: ConfigError) -> None:
    assert error.problems, "refused without a problem"
    assert all(problem.path and problem.message for problem in error.problems), "a problem without a place"


def _must_route(config: Config, request: Request) -> None:
    call = Call.from_request(request, config.rules.numbers, "0" * 32)
    route = choose_route(config.rules, call)
    known = {"MILLIS_FALLBACK": route.fallback}
    if route.answering is not None:
        agent, dialling = route.answering.agent, route.answering.dialling
        known["MILLIS_DIAL_OPTIONS"] = dial_options(dialling)
        question = metadata.question(metadata.expressions(agent))
        get_full_variable(question).encode(config.agi.command_limit_bytes)
        assert agent.account in config.api_keys, "an agent without a key"
    # The shortest command that a configuration may ask for holds no more than this.
    assign(known).encode()


@cache
def examples() -> tuple[bytes, ...]:
    """Return every TOML example of the documentation."""
    pages = (_ROOT / "README.md", *sorted((_ROOT / "docs").rglob("*.md")))
    fences = (part for page in pages for part in page.read_text().split("```toml\n")[1:])
    return tuple(part.partition("```")[0].encode() for part in fences)


TARGET = Target(
    "config-text",
    broken_by,
    seeds=(*examples(), b'[[route]]\nname = "a"\nagent_id = "a"\nfallback = "c,s,1"\n'),
    words=(
        *(
            "[agi]\n",
            "[millis]\n",
            "[account.b]\n",
            "[numbers]\n",
            "[metadata]\n",
            "[log]\n",
            "[defaults]\n",
            "[[route]]\n",
        ),
        *(
            'did = "_X."\n',
            'caller = "withheld"\n',
            'name = "b"\n',
            "reject = true\n",
            'fallback = "c,s,1"\n',
            '= "${',
            "[[",
        ),
        *(
            'dial_options = "',
            'agent_config_file = "agent.json"\n',
            'api_key_file = "latin"\n',
            "metadata = { a = 1 }\n",
        ),
        *('arguments = { a = "_N[1-9]." }\n', "inf", "nan", "1979-05-27", "'''", '"""', "0x", "= [[[[[[", "{a={a={a="),
    ),
)

"""The documentation is true: compared with the code in both directions, and its examples are run."""

import ast
import json
import re
import tomllib
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from lab import AsteriskUnavailable, SiteSettings, find_asterisk
from pydantic import BaseModel

from agi_bridge import bridge, config, dialplan, errors, metadata, routing
from agi_bridge.app import running
from agi_bridge.call import Outcome, Reason, Status
from agi_bridge.cli import command, exit_code
from agi_bridge.doctor import report
from agi_bridge.doctor.bridge_checks import check_config, check_running
from agi_bridge.doctor.console_text import Context
from agi_bridge.doctor.facts import BridgeFacts, Expected, PbxFacts, Ping, RegionFacts
from agi_bridge.doctor.finding import Check
from agi_bridge.doctor.millis_checks import check_accounts, check_standby
from agi_bridge.doctor.pbx_checks import check_ping, check_transfer
from agi_bridge.doctor.sip_checks import check_nat
from agi_bridge.records import joining
from agi_bridge.simulator.millis import SimulatedMillis
from agi_bridge.simulator.sip import CallerBehaviour, SipAgent, place_call
from agi_bridge.simulator.tone import AGENT_TONE_HZ, CALLER_TONE_HZ
from tests.asterisk import fault_rows

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
VARIABLE = re.compile(r"\bMILLIS_[A-Z_]+\b")
MINIMAL_ROUTE = '[[route]]\nname = "any"\nagent_id = "a"\nfallback = "c,s,1"\n'


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def prose(page: str) -> str:
    """Return *page* without its examples."""
    return FENCE.sub("", page)


def fences(page: str, language: str) -> list[str]:
    return [body for _, name, body in FENCE.findall(page) if name == language]


def section(page: str, heading: str) -> str:
    """Return what stands between a heading and the next one of any level, examples left out."""
    for part in re.split(r"^#+ ", prose(page), flags=re.MULTILINE):
        title, _, body = part.partition("\n")
        if title.strip() == heading:
            return body
    raise AssertionError(f"there is no heading {heading!r}")


def rows(part: str, first_column: str) -> Iterator[list[str]]:
    """Yield the rows of the tables whose first column is named *first_column*."""
    inside = False
    for line in part.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            inside = False
        elif cells[0] == first_column:
            inside = True
        elif inside and not set(cells[0]) <= set("-: "):
            yield cells


def code(cell: str) -> list[str]:
    """Return what stands between backquotes."""
    return re.findall(r"`([^`]+)`", cell)


def first_codes(part: str, first_column: str) -> list[str]:
    return [name for row in rows(part, first_column) for name in code(row[0])]


def read_example_file(name: str) -> bytes:
    """Stand in for the files that the examples name."""
    if name.endswith(".crt"):
        return b"-----BEGIN CERTIFICATE-----"
    return b'{"language": "en-US"}' if name.endswith(".json") else b"a-key-of-twenty-signs"


def load(example: str) -> config.Config:
    """Load an example; one that shows only a part is given a rule, without which no configuration is complete."""
    whole = example if "[[route]]" in example else example + MINIMAL_ROUTE
    environ = {"MILLIS_API_KEY": "key", "GLOBEX_MILLIS_KEY": "key", "BRANCH_AMI_SECRET": "secret"}
    environ |= dict.fromkeys(("WALLBOARD_SECRET", "LEDGER_SECRET"), "a-key-of-twenty-signs")
    return config.load(whole, environ, read_example_file)


# The configuration.

CONFIGURATION = text("docs/configuration.md")
TABLES: dict[str, tuple[type[BaseModel], set[str]]] = {
    "`[agi]`": (config.AgiSettings, set()),
    "`[web]`": (config.WebSettings, set()),
    "`[millis]`": (config.MillisSettings, set()),
    "`[account.NAME]`": (config.AccountSettings, set()),
    "`[numbers]`": (config.NumberSettings, set()),
    "`[metadata]`": (config.MetadataSettings, set()),
    "`[log]`": (config.LogSettings, set()),
    "`[records]`": (config.RecordSettings, set()),
    "`[prefetch]`": (config.PrefetchSettings, set()),
    "`[backfill]`": (config.BackfillSettings, set()),
    "`[[pbx]]`": (config.PbxSettings, set()),
    "`[[route]]`": (config.RouteSettings, set(config.DefaultSettings.model_fields)),
    "`[defaults]`": (config.DefaultSettings, set()),
    "`[[transfer]]`": (config.TransferSettings, set()),
    "`[originate]`": (config.OriginateSettings, set()),
    "`[[token]]`": (config.TokenSettings, set()),
    "`[[webhook]]`": (config.WebhookSettings, set()),
}


# Model, key, type and default of every key in configuration.md.
DOCUMENTED_KEYS = [
    pytest.param(model, row[0].strip("`"), row[1], row[2], id=f"{model.__name__}.{row[0].strip('`')}")
    for heading, (model, _) in TABLES.items()
    for row in rows(section(CONFIGURATION, heading), "key")
]


def effective_default(model: type[BaseModel], key: str) -> Any:
    """Return what holds where a key is left out, which for the keys of a rule is decided beyond the models."""
    field = model.model_fields[key]
    if field.default is not None and not field.is_required():
        return field.default
    if issubclass(model, config.DefaultSettings):
        rule = load('[[route]]\nname = "any"\nreject = true\n').rules.rules[0]
        if key in ("region", "failover"):
            return {"region": rule.agent.regions[0], "failover": len(rule.agent.regions) > 1}[key]
        for part in (rule.agent, rule.dialling):
            if hasattr(part, key):
                return getattr(part, key)
        if bool in get_args(field.annotation):
            return False
    return None


def test_every_table_of_the_configuration_is_documented():
    """configuration.md has a heading for each table of the file, and for no other."""
    headings = {re.sub(r"[`\[\]]|\.NAME", "", heading) for heading in TABLES}
    assert headings == set(config.File.model_fields)
    assert set(re.findall(r"^## (`\[.*)$", CONFIGURATION, re.MULTILINE)) == set(TABLES)


@pytest.mark.parametrize("heading", TABLES)
def test_every_key_is_documented(heading):
    """Each key of the models stands in the table under its heading, and no other does."""
    model, elsewhere = TABLES[heading]
    documented = first_codes(section(CONFIGURATION, heading), "key")
    assert sorted(documented) == sorted(set(model.model_fields) - elsewhere)


@pytest.mark.parametrize(("model", "key", "kind", "default"), DOCUMENTED_KEYS)
def test_documented_default_is_the_real_one(model, key, kind, default):
    """What the table gives as default holds where the key is left out; "none" is nothing at all."""
    real = effective_default(model, key)
    if default == "none":
        assert real in (None, "")
    else:
        assert tomllib.loads(f"it = {default.strip('`')}")["it"] == real


@pytest.mark.parametrize(("model", "key", "kind", "default"), DOCUMENTED_KEYS)
def test_documented_type_names_the_bounds(model, key, kind, default):
    """The least and the greatest value of a number stand in its type."""
    numbers = re.findall(r"\d+", kind)
    for bound in model.model_fields[key].metadata:
        for limit in (getattr(bound, name, None) for name in ("ge", "gt", "le", "max_length")):
            assert limit is None or str(limit) in numbers


def test_examples_show_every_key():
    """Each key of the configuration is used in an example of configuration.md."""
    shown: dict[str, set[str]] = {}
    for example in fences(CONFIGURATION, "toml"):
        for table, content in tomllib.loads(example).items():
            parts = content if isinstance(content, list) else content.values() if table == "account" else [content]
            for part in parts:
                shown.setdefault(table, set()).update(part)
    # What may stand in a rule need not be shown under [defaults] too.
    shown["defaults"] |= shown["route"] & set(config.DefaultSettings.model_fields)
    shown["route"] |= shown["defaults"]
    for heading, (model, _) in TABLES.items():
        table = re.sub(r"[`\[\]]|\.NAME", "", heading)
        assert set(model.model_fields) <= shown[table], heading


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(example, id=f"{page.relative_to(ROOT)}-{place}")
        for page in PAGES
        for place, example in enumerate(fences(page.read_text(encoding="utf-8"), "toml"), 1)
    ],
)
def test_toml_example_loads(example):
    """Every TOML example is a configuration that the bridge takes, without a warning that the text does not mention."""
    loaded = load(example)
    assert [warning for warning in loaded.warnings if "language" not in warning.message] == []


def test_environment_variables_are_documented():
    """The variables that the code reads stand in configuration.md, and no other."""
    sources = [path.read_text() for path in (ROOT / "agi_bridge" / "config").glob("*.py")]
    read = {name for source in sources for name in re.findall(r'environ\.get\("([A-Z_]+)"', source)}
    for module in (ROOT / "agi_bridge" / "cli").glob("*.py"):
        read |= set(re.findall(r'(?:envvar=|environ\.get\()"([A-Z_]+)"', module.read_text()))
    read -= {"AGI_BRIDGE_SITE"}  # is between docker-compose.yml and the image
    assert set(first_codes(section(CONFIGURATION, "Environment variables"), "variable")) == read


def test_standard_metadata_is_documented():
    """The names sent with each call stand in configuration.md in their order, and so do those that Millis keeps."""
    part = section(CONFIGURATION, "Metadata sent with each call")
    assert first_codes(part, "name") == list(metadata.STANDARD_NAMES)
    [reserved] = re.findall(r"Millis uses these names itself[^.]*", part)
    assert set(code(reserved)) - {"check"} == metadata.RESERVED_NAMES


# The dialplan.

DIALPLAN = text("docs/dialplan.md")


def outcomes() -> set[Outcome]:
    """Return every outcome that the code can give a call."""
    modules: tuple[types.ModuleType, ...] = (bridge, dialplan, routing, joining)
    named = {value for module in modules for value in vars(module).values() if isinstance(value, Outcome)}
    raised = {
        error.outcome
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.BridgeError)
    }
    dialled = {dialplan.outcome_of_dial(word) for word in first_codes(DIALPLAN, "`DIALSTATUS`")}
    called = {dialplan.outcome_of_called(word) for word in first_codes(DIALPLAN, "`DIALSTATUS`")}
    return named | raised | dialled | called


def test_every_reason_is_documented():
    """dialplan.md lists each reason once, with the result that it comes with."""
    documented = [(code(row[0])[0], code(row[1])[0]) for row in rows(DIALPLAN, "reason")]
    assert sorted(reason for reason, _ in documented) == sorted(Reason)
    assert sorted(documented) == sorted((str(outcome.reason), str(outcome.result)) for outcome in outcomes())


def test_every_status_is_documented():
    """dialplan.md says what the dialplan does for each MILLIS_STATUS."""
    assert set(first_codes(section(DIALPLAN, "What the dialplan does next"), "`MILLIS_STATUS`")) == set(Status)


def test_documented_dialstatus_has_the_documented_reason():
    """Each DIALSTATUS that the code knows is listed with the reason that it becomes in the log."""
    documented = {code(row[0])[0]: code(row[2])[0] for row in rows(DIALPLAN, "`DIALSTATUS`")}
    assert set(documented) == set(dialplan._OUTCOMES)
    for word, reason in documented.items():
        assert dialplan.outcome_of_dial(word).reason == reason


def test_every_verb_is_documented():
    """dialplan.md lists the verbs that the bridge answers, and no other."""
    patterns = [
        node.value for node in ast.walk(ast.parse(text("agi_bridge/bridge.py"))) if type(node) is ast.MatchValue
    ]
    answered = {value.value for value in patterns if isinstance(value, ast.Constant)}
    assert set(first_codes(section(DIALPLAN, "Verbs"), "verb")) == answered


def test_variables_are_documented():
    """Every MILLIS_ variable of the bridge and the shipped dialplan is in dialplan.md, and no page names another."""
    spoken = {
        node.value
        for node in ast.walk(ast.parse(text("agi_bridge/bridge.py")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and VARIABLE.fullmatch(node.value)
    }
    shipped = "".join(path.read_text() for path in (ROOT / "asterisk-conf").rglob("*.conf"))
    used = spoken | set(VARIABLE.findall(shipped))
    environment = set(first_codes(section(CONFIGURATION, "Environment variables"), "variable"))
    tables = {name for column in ("variable", "global variable") for name in first_codes(DIALPLAN, column)}
    assert tables == used
    for page in PAGES:
        mentioned = set(VARIABLE.findall(page.read_text(encoding="utf-8").replace("MILLIS_*", "")))
        assert mentioned <= used | environment, page


# Commands, modules, packages, links.

OPERATIONS = text("docs/operations.md")


def subcommands() -> Iterator[tuple[str, Any]]:
    """Yield each command that does something, by its full name."""
    pending: list[tuple[str, Any]] = [("agi-bridge", typer.main.get_command(command.commands))]
    for name, found in pending:
        inner = getattr(found, "commands", {})
        pending += [(f"{name} {word}", part) for word, part in inner.items()]
        if not inner:
            yield name, found


def test_every_command_is_documented():
    """operations.md lists each command with all its options, and nothing that does not exist."""
    documented = {code(row[0])[0]: set(code(row[1])) for row in rows(OPERATIONS, "command")}
    real = {
        name: {max(option.opts, key=len) for option in found.params if option.name != "help"}
        for name, found in subcommands()
    }
    assert documented == real


def test_every_exit_code_is_documented():
    """operations.md lists the exit codes of the command."""
    documented = {int(row[0]) for row in rows(OPERATIONS, "exit code")}
    assert documented == {code for code in vars(exit_code).values() if isinstance(code, int)}


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["route"], ["serve", "--nonsense"], ["check", "-c", "/none"]])
def test_wrong_command_line_ends_as_documented(arguments, capsys):
    """A command line or a configuration that is wrong is explained, and exits with 2."""
    assert command.main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


TROUBLESHOOTING = text("docs/troubleshooting.md")


def test_every_check_of_the_doctor_is_documented():
    """troubleshooting.md lists each check of the doctor once, and names no other anywhere."""
    assert sorted(first_codes(TROUBLESHOOTING, "check")) == sorted(Check)
    mentioned = re.findall(r"`((?:millis|bridge|pbx)-[a-z-]+)`", TROUBLESHOOTING)
    assert set(mentioned) - {"millis-ping", "millis-tls", "millis-tcp"} <= set(Check)


def test_documented_report_of_the_doctor_is_a_real_one():
    """What troubleshooting.md shows is what the checks make of such facts, line by line."""
    dial = Context({"_X.": ("AGI(agi://${MILLIS_BRIDGE}/route)", "Dial(${MILLIS_DIAL},30,iTt)")})
    pbx = PbxFacts(
        contexts={"from-did": dial},
        variables={"MILLIS_BRIDGE": "127.0.0.1:4573"},
        endpoint_settings={"millis": {"transport": "udp"}},
        transports={"udp": ("udp", "0.0.0.0:5060")},
        own_address="10.0.0.5",
    )
    rule = '[[route]]\nname = "sales"\nagent_id = "a"\nfallback = "c,s,1"\n'
    loaded = load(rule)
    account = RegionFacts("us-west", "https://api-west.millis.ai", "default", status=200)
    bridge = BridgeFacts("ok", web={"ready": True, "version": "0.1.0"})
    findings = [
        *check_accounts([replace(account, body={"credit": 0, "used_credit": 26.5})]),
        *check_transfer(pbx, Expected()),
        *check_nat(pbx, Expected()),
        *check_standby(loaded),
        *check_config("bridge.toml", (), (), 1),
        *check_running(loaded, bridge, "0.1.0"),
        check_ping(Ping("ok", "SUCCESS"), pbx),
    ]
    shown = re.sub("\x1b\\[[0-9;]*m", "", report.as_text(findings, 0.9, width=81))
    assert fences(TROUBLESHOOTING, "text") == [shown + "\n"]


def test_every_module_is_in_the_module_map():
    """architecture.md has a line for each module, and for none that is gone."""
    package = ROOT / "agi_bridge"
    modules = {str(path.relative_to(package)) for path in package.rglob("*.py") if path.name != "__init__.py"}
    documented = first_codes(section(text("docs/architecture.md"), "Modules"), "module")
    assert sorted(documented) == sorted(modules)


def test_every_dependency_has_its_line():
    """decisions/dependencies.md names each package of pyproject.toml, and no other."""
    project = tomllib.loads(text("pyproject.toml"))
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    for group in project["dependency-groups"].values():
        wanted += group
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in wanted}  # type: ignore[index]
    assert set(first_codes(text("docs/decisions/dependencies.md"), "package")) == names


def test_faults_are_those_of_the_matrix():
    """faults.md is what the rows of the matrix make of it, but for the times measured; scripts/faults writes it anew."""
    assert fault_rows.without_measurements(text("docs/faults.md")) == fault_rows.page()


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, made as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """A link to a file of ours names one that exists, and a heading that it has."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), target


def test_every_page_is_reached_from_the_readme():
    """Whoever follows the links from README.md meets every page."""
    met: set[Path] = set()
    pending = [ROOT / "README.md"]
    for page in pending:
        links = re.findall(r"\]\(([^)\s#]+\.md)[^)]*\)", prose(page.read_text(encoding="utf-8")))
        met.add(page)
        pending += {found for link in links if (found := (page.parent / link).resolve()) not in pending}
    assert set(PAGES) <= met


def test_json_examples_are_json():
    """Every JSON example can be read."""
    for page in PAGES:
        for example in fences(page.read_text(encoding="utf-8"), "json"):
            json.loads(example)


# The first thing that anybody copies.


def readme_example(language: str) -> str:
    return fences(text("README.md"), language)[0]


@pytest.mark.parametrize("language", ["ini", "toml"])
def test_readme_example_has_ten_lines(language):
    """README.md promises ten lines each."""
    assert len(readme_example(language).splitlines()) == 10


@pytest.mark.asterisk
async def test_readme_examples_work_together_on_a_real_asterisk():
    """With the dialplan and the configuration of README.md, caller and agent hear each other; a stranger is received."""
    try:
        asterisk = find_asterisk()
    except AsteriskUnavailable as unavailable:
        pytest.skip(f"no real Asterisk: {'; '.join(unavailable.reasons)}")
    async with SipAgent() as agent:
        host, port = agent.address
        async with SimulatedMillis(sip_host=f"{host}:{port}") as millis:
            ours = '[agi]\nlisten = "127.0.0.1:0"\n[web]\nlisten = []\n[millis]\nallowed_hosts = "127.0.0.1"\n'
            loaded = load(f'{ours}base_url = "{millis.url}"\n{readme_example("toml")}')
            async with running(loaded) as server:
                listening = ":".join(map(str, server.addresses[0]))
                theirs = readme_example("ini").replace("127.0.0.1:4573", listening)
                reception = "[reception]\nexten => s,1,Hangup(17)\n"
                with asterisk.start(SiteSettings(files={"extensions.conf": theirs + reception})) as pbx:
                    sip = (pbx.address, pbx.sip_port)
                    call = CallerBehaviour(talk_seconds=1)
                    known = await place_call(sip, "15551230001", behaviour=call, host="127.0.0.2")
                    heard = await agent.next_report()
                    unknown = await place_call(sip, "15559990000", behaviour=call, host="127.0.0.2")
                    problems = pbx.problems()

    assert known.heard_hz == (AGENT_TONE_HZ,)
    assert heard.heard_hz == (CALLER_TONE_HZ,)
    assert millis.registrations[0].body["metadata"]["team"] == "sales"
    assert (unknown.answered, unknown.status) == (False, 486)
    assert problems == []

"""What has to stand in Asterisk's files, by distribution, and how our part finds its place among the administrator's text."""

import re

import pytest

from agi_bridge import config
from agi_bridge.asterisk_conf import shipped
from agi_bridge.errors import CannotPlace
from agi_bridge.flavor import BEGIN, END, FLAVORS, placed, plan, removal

TOML = """
{agi}
[defaults]
{defaults}
[[route]]
name = "sales"
agent_id = "-Nabc"
fallback = "ext-queues,600,1"
{sales}
"""
SECRET = "a-secret-of-twenty-signs"


def load(agi="", defaults="", sales="", secret=""):
    text = TOML.format(agi=agi, defaults=defaults, sales=sales)
    return config.load(text, {"AGI_BRIDGE_SECRET": secret}, lambda name: b"", need_keys=False)


def planned(flavor, found=None, *, bridge="", **toml):
    """Return what is to stand in each file, by path, and the steps that are left."""
    made = plan(load(**toml), FLAVORS[flavor], shipped(), found or {}, bridge)
    return {file.path: file.ours for file in made.files}, made.steps


def headers(text):
    return re.findall(r"^\[([^\]]+)\]", text, re.MULTILINE)


PATHS = {
    "plain": ["pjsip.conf", "extensions.conf"],
    "freepbx": ["pjsip_custom.conf", "globals_custom.conf", "extensions_custom.conf"],
    "issabel": ["pjsip_custom.conf", "globals_custom.conf", "extensions_custom.conf"],
    "vitalpbx": ["vitalpbx/pjsip__90-millis.conf", "vitalpbx/extensions__90-millis.conf"],
}


@pytest.mark.parametrize("flavor", FLAVORS)
def test_files_of_each_flavor(flavor):
    """Each distribution gets the files that it leaves alone; the dialplan is written last."""
    assert list(planned(flavor)[0]) == PATHS[flavor]


@pytest.mark.parametrize("flavor", FLAVORS)
def test_dialplan_is_the_shipped_one(flavor):
    """Every context of ours is there, line for line as it is shipped, and none that is the site's."""
    text = planned(flavor)[0][FLAVORS[flavor].dialplan]
    ours = shipped()["extensions.conf"]
    body = ours[ours.index("; Gosub(millis,s,1(did))") : ours.index("#include site")].rstrip("\n") + "\n"

    assert text.endswith(body)
    assert [name for name in headers(ours) if name.startswith("millis")] == headers(body)
    assert "from-trunk" not in headers(text)


@pytest.mark.parametrize("flavor", FLAVORS)
def test_places_of_transfers_are_the_dialplan_s_last(flavor):
    """Where agents may send their callers stands behind the context to which it is added, which is else empty."""
    sales = '[[transfer]]\nname = "sales"\ndestination = "ext-queues,600,1"'
    text = planned(flavor, sales=sales)[0][FLAVORS[flavor].dialplan]

    assert headers(text)[-2:] == ["millis-transfer", "millis-transfer-to"]
    assert text.index("[millis-transfer]\n") < text.index("[millis-transfer](+)\n")
    assert text.endswith("\n[millis-transfer-to]\nexten => sales,1,Goto(ext-queues,600,1)\n")
    assert "[millis-transfer](+)" not in planned(flavor)[0][FLAVORS[flavor].dialplan]


@pytest.mark.parametrize("flavor", FLAVORS)
def test_endpoint_is_the_shipped_one(flavor):
    """The endpoint and its templates are there, and those with a transport only where a rule names them."""
    text = planned(flavor)[0][FLAVORS[flavor].pjsip]

    assert headers(text) == ["any-endpoint", "millis-endpoint", "millis"]
    assert "transport = " not in text
    assert set(text.splitlines()) <= set(shipped()["pjsip.conf"].splitlines())


TRANSPORTS = {"plain": "tls", "freepbx": "0.0.0.0-tls", "issabel": "transport-tls", "vitalpbx": "transport-tls"}


@pytest.mark.parametrize("flavor", FLAVORS)
def test_transport_has_the_distribution_s_name(flavor):
    """An endpoint over TLS names the transport as the distribution does."""
    files, _ = planned(flavor, sales='endpoint = "millis-tls"')
    text = files[FLAVORS[flavor].pjsip]

    assert headers(text) == ["any-endpoint", "millis-endpoint", "millis", "millis-tls"]
    assert re.findall("^transport = (.*)$", text, re.MULTILINE) == [TRANSPORTS[flavor]]


TRANSPORT_FILE = (
    "[tmpl](!)\nprotocol=tls\n[10.0.0.1-udp]\nprotocol=udp\n[10.0.0.1-tls]\ntype=transport\nprotocol = tls\n"
)


def test_transport_that_is_there_counts():
    """Where Asterisk's files name a transport otherwise, theirs is taken."""
    files, steps = planned("freepbx", {"pjsip.transports.conf": TRANSPORT_FILE}, sales='endpoint = "millis-tls"')

    assert "transport = 10.0.0.1-tls\n" in files["pjsip_custom.conf"]
    assert not any("needs a PJSIP transport" in step for step in steps)


def test_transport_that_is_missing_is_told():
    """Whoever wants TLS and has no transport for it reads where to click."""
    _, steps = planned(
        "freepbx", {"pjsip.transports.conf": "[0.0.0.0-udp]\nprotocol=udp\n"}, sales='endpoint = "millis-tls"'
    )

    assert steps[0].startswith(
        "The endpoint millis-tls needs a PJSIP transport for TLS: Settings > Asterisk SIP Settings"
    )


def test_endpoint_of_the_administrator_s_own_is_told():
    """An endpoint that is not ours is not made up, but mentioned."""
    files, steps = planned("freepbx", sales='endpoint = "skylark"')

    assert "skylark" not in files["pjsip_custom.conf"]
    assert (
        steps[0]
        == "The endpoint skylark, which a rule names, is not one of ours: it must be a PJSIP endpoint of yours."
    )


def settings(text):
    return dict(re.findall(r"^(MILLIS_\w+) =[ ]?(.*)$", text, re.MULTILINE))


def test_settings_are_those_of_the_configuration():
    """What the dialplan has to know follows from the configuration, whose limits come first."""
    files, _ = planned(
        "freepbx",
        agi='[agi]\nlisten = "192.168.1.9:4600"\nsetup_timeout_seconds = 8.5',
        defaults='fallback = "from-did-direct,200,1"\nmax_duration_seconds = 20000',
        secret=SECRET,
    )

    assert settings(files["globals_custom.conf"]) == {
        "MILLIS_BRIDGE": "192.168.1.9:4600",
        "MILLIS_SECRET": SECRET,
        "MILLIS_BUDGET_SECONDS": "9",
        "MILLIS_REPORT_SECONDS": "1",
        "MILLIS_LONGEST_CALL_SECONDS": "20060",
        "MILLIS_DEFAULT_FALLBACK": "from-did-direct,200,1",
        "MILLIS_CDR_FIELD": "userfield",
    }


def test_settings_are_else_the_shipped_ones():
    """Where the configuration says nothing, the values are those of site/extensions.conf; and no section begins."""
    text = planned("freepbx")[0]["globals_custom.conf"]

    assert settings(text) == settings(shipped()["site/extensions.conf"])
    assert headers(text) == []


@pytest.mark.parametrize("flavor", ["plain", "vitalpbx"])
def test_settings_without_a_file_for_them_are_a_subroutine(flavor):
    """Where no file surely takes global variables, the dialplan sets the same values on the channel."""
    text = planned(flavor, secret=SECRET)[0][FLAVORS[flavor].dialplan]

    lines = [line for line in text.partition("[millis-settings]\n")[2].partition("\n[")[0].splitlines() if "," in line]
    lines = [line for line in lines if not line.startswith(";")]
    assert lines == [
        "exten => s,1,Set(MILLIS_BRIDGE=127.0.0.1:4573)",
        f" same => n,Set(MILLIS_SECRET={SECRET})",
        " same => n,Set(MILLIS_BUDGET_SECONDS=6)",
        " same => n,Set(MILLIS_REPORT_SECONDS=1)",
        " same => n,Set(MILLIS_LONGEST_CALL_SECONDS=14400)",
        " same => n,Set(MILLIS_DEFAULT_FALLBACK=millis-fallback,s,1)",
        " same => n,Set(MILLIS_CDR_FIELD=userfield)",
        " same => n,Return()",
    ]


BRIDGES = {
    'listen = "0.0.0.0:4573"': ("", "127.0.0.1:4573"),
    'listen = "[::]:4573"': ("", "[::1]:4573"),
    'listen = ["10.0.0.5:4573", "127.0.0.1:4573"]': ("", "10.0.0.5:4573"),
    'listen = "0.0.0.0:4600"': ("172.17.0.1:4573", "172.17.0.1:4573"),
}


@pytest.mark.parametrize("listen", BRIDGES)
def test_bridge_is_where_asterisk_reaches_it(listen):
    """Every address of this machine is its own; what --bridge says counts before what the bridge listens on."""
    said, expected = BRIDGES[listen]
    files, _ = planned("freepbx", agi=f"[agi]\n{listen}", bridge=said)

    assert settings(files["globals_custom.conf"])["MILLIS_BRIDGE"] == expected


def test_bridge_on_any_free_port_must_be_named():
    """A port that is different at each start cannot be written down."""
    with pytest.raises(CannotPlace, match="with --bridge HOST:PORT"):
        planned("freepbx", agi='[agi]\nlisten = "127.0.0.1:0"')


PART = f"{BEGIN}: old\n[old]\n{END}\n"
TEXTS = {
    "nothing": ("", "", ""),
    "text": ("; mine\n", "; mine\n", ""),
    "text-without-a-last-line-feed": ("; mine", "; mine\n", ""),
    "text-from-windows": ("; mine\r\n", "; mine\r\n", ""),
    "part": (PART, "", ""),
    "part-amid-text": (f"[a]\r\n; ä\x0b\x85{PART}\n[b]", "[a]\r\n; ä\x0b\x85", "\n[b]"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_our_part_stands_between_its_lines_and_nothing_else_changes(name):
    """Our part is put at the end, or in the place of the one before it; a second time changes nothing; it can be taken out."""
    existing, before, after = TEXTS[name]
    once = placed("f", existing, "[ours]\n")

    assert re.fullmatch(re.escape(before) + rf"{BEGIN}.*\n\[ours\]\n{END}\n" + re.escape(after), once)
    assert placed("f", once, "[ours]\n") == once
    assert placed("f", once, "") == before + after


BROKEN = {
    "no-end": (f"; mine\n{BEGIN}: x\n[ours]\n", "line 2: ; >>> agi_bridge"),
    "no-beginning": (f"[ours]\n{END}\n", "line 2: ; <<< agi_bridge"),
    "two": (PART + PART, "line 1: ; >>> agi_bridge; line 3: ; <<< agi_bridge; line 4: ; >>> agi_bridge; line 6: ; <<<"),
    "wrong-order": (f"{END}\n{BEGIN}\n", "line 1: ; <<< agi_bridge; line 2: ; >>> agi_bridge"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("ours", ["[ours]\n", ""])
def test_broken_marks_are_left_to_a_person(name, ours):
    """Where one of our lines is missing, or there are two, nobody can know what is ours; the lines are named."""
    text, said = BROKEN[name]

    with pytest.raises(CannotPlace) as error:
        placed("extensions_custom.conf", text, ours)
    assert str(error.value).startswith("extensions_custom.conf: our part must begin with one line")
    assert said in str(error.value)
    assert str(error.value).endswith("delete what is left of our part by hand, both lines included, and run this again")


DOUBLES = {
    "pjsip.endpoint.conf": ("[millis]\ntype=endpoint\n", "rename the trunk or extension of that name"),
    "pjsip_custom.conf": ("[any-endpoint](!)\n", "or delete a copy made by hand"),
    "extensions_custom.conf": ("[millis]\nexten => s,1,NoOp()\n", "delete that copy"),
    "extensions_additional.conf": ("[millis-inbound]\n", "delete that copy"),
}


@pytest.mark.parametrize("path", DOUBLES)
def test_name_that_is_taken_is_refused(path):
    """A trunk of the name of our endpoint, or an older copy of our contexts, is told and nothing is written."""
    text, remedy = DOUBLES[path]

    with pytest.raises(CannotPlace, match=rf"{re.escape(path)} has a section \[[a-z-]+\] already; .*{remedy}"):
        planned("freepbx", {path: text})


def test_our_own_part_and_additions_to_it_are_no_doubles():
    """Our part is not in its own way, nor is what an administrator adds to a section of ours with (+)."""
    files, _ = planned("freepbx")
    found = {path: placed(path, "", text) for path, text in files.items()}
    found["pjsip_custom_post.conf"] = "[millis](+)\nrtp_timeout = 30\n"
    found["extensions_custom.conf"] += "[millis-fallback](+)\nexten => s,1,Hangup()\n"

    assert planned("freepbx", found)[0] == files


def test_endpoint_of_another_technology_is_no_double():
    """A context may have the name of an endpoint."""
    assert planned("freepbx", {"pjsip.endpoint.conf": "[millis-ask]\n"})[0]


@pytest.mark.parametrize("flavor", FLAVORS)
def test_secret_is_not_forgotten(flavor):
    """Where Asterisk has a secret and we are not told one, nothing is written: it may be known to the service alone."""
    files, _ = planned(flavor, secret=SECRET)
    found = {path: placed(path, "", text) for path, text in files.items()}

    with pytest.raises(CannotPlace, match="has a MILLIS_SECRET, but neither AGI_BRIDGE_SECRET nor secret_file"):
        planned(flavor, found)
    assert planned(flavor, found, secret=SECRET)[0] == files


def test_file_with_the_secret_is_known():
    """Whoever writes the files can tell which ones must not be read by all."""
    made = plan(load(secret=SECRET), FLAVORS["freepbx"], shipped(), {})
    assert [file.path for file in made.files if file.holds_secret] == ["globals_custom.conf"]
    assert not any(file.holds_secret for file in plan(load(), FLAVORS["freepbx"], shipped(), {}).files)


def test_removal_takes_the_files_that_are_there():
    """Our part goes from every file of the flavor that exists, the dialplan first; files that do not exist stay so."""
    found = {"pjsip_custom.conf": f"; mine\n{PART}", "extensions_custom.conf": PART}

    made = removal(FLAVORS["freepbx"], found)

    assert [(file.path, file.whole) for file in made.files] == [
        ("extensions_custom.conf", ""),
        ("pjsip_custom.conf", "; mine\n"),
    ]

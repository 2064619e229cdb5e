"""What the console of Asterisk 22.10.1 printed, and the values it stands for; over AMI the blanks at the beginning are gone."""

import re

import pytest

from agi_bridge.doctor import console_text
from agi_bridge.doctor.console_text import Context

DIALPLAN = """\
[ Context 'from-trunk' created by 'pbx_config' ]
  '_+X.' =>         1. Gosub(millis,s,1(+${FILTER(0-9,${EXTEN})})) [extensions.conf:11]
                    2. Hangup()                                   [extensions.conf:12]
  's' (CID match '200') => 1. NoOp()                              [extensions.conf:13]
  Include =>        'parkedcalls'                                 [pbx_config]
  Include =>        'millis'                                      [pbx_config]

[ Context 'millis-agent' created by 'pbx_config' ]

[ Context 'millis' created by 'pbx_config' ]
  's' =>            1. Gosub(millis-ask,s,1(route,${ARG1}))       [extensions.conf:19]
     [asked]        2. GotoIf($["${MILLIS_STATUS}" = "ok"]?dial)  [extensions.conf:20]
                    10. Dial(${MILLIS_DIAL},${MILLIS_DIAL_TIMEOUT},${MILLIS_DIAL_OPTIONS}g) [extensions.conf:31]

-= 4 extensions (6 priorities) in 3 contexts. =-
"""

ENDPOINT = """\

 Endpoint:  <Endpoint/CID.....................................>  <State.....>  <Channels.>
  Transport:  <TransportId........>  <Type>  <cos>  <tos>  <BindAddress..................>
==========================================================================================

 Endpoint:  millis                                               Unavailable   0 of inf

 ParameterName                      : ParameterValue
 ===================================================================================================
 100rel                             : yes
 allow                              : (ulaw|alaw)
 callerid                           : <unknown>
 transport                          :
"""

ENDPOINTS = """\
 Endpoint:  <Endpoint/CID.....................................>  <State.....>  <Channels.>
   Identify:  <Identify/Endpoint.........................................................>
        Match:  <criteria.........................>
==========================================================================================

 Endpoint:  100/15551230001                                      Not in use    0 of inf
     InAuth:  100/100

 Endpoint:  trunk                                                Unavailable   0 of inf
  Transport:  udp                       udp      0      0  127.0.0.1:20000
   Identify:  trunk/trunk
        Match: 127.0.0.2/32
        Match: 192.0.2.0/24

Objects found: 2
"""

TRANSPORTS = """\
Transport:  <TransportId........>  <Type>  <cos>  <tos>  <BindAddress....................>
==========================================================================================

Transport:  tls                       tls      0      0  0.0.0.0:5061
Transport:  udp6                      udp      0      0  [::]:5060

Objects found: 2
"""

MODULES = """\
Module                         Description                              Use Count  Status      Support Level
acl                            Named ACL system                         2          Running              core
res_agi.so                     Asterisk Gateway Interface (AGI)         1          Running              core
res_srtp.so                    Secure RTP (SRTP)                        0          Not Running          core
"""


def as_over_ami(text: str) -> str:
    return re.sub("^ +", "", text, flags=re.MULTILINE)


@pytest.fixture(params=[str, as_over_ami], ids=["console", "AMI"])
def said(request):
    """Pass a text the way it comes."""
    return request.param


def test_dialplan_is_read(said):
    """Contexts have their extensions, with each step, and the contexts that they include."""
    assert console_text.dialplan(said(DIALPLAN)) == {
        "from-trunk": Context(
            {"_+X.": ("Gosub(millis,s,1(+${FILTER(0-9,${EXTEN})}))", "Hangup()"), "s": ("NoOp()",)},
            ("parkedcalls", "millis"),
        ),
        "millis-agent": Context(),
        "millis": Context(
            {
                "s": (
                    "Gosub(millis-ask,s,1(route,${ARG1}))",
                    'GotoIf($["${MILLIS_STATUS}" = "ok"]?dial)',
                    "Dial(${MILLIS_DIAL},${MILLIS_DIAL_TIMEOUT},${MILLIS_DIAL_OPTIONS}g)",
                )
            }
        ),
    }
    assert console_text.dialplan("No such command 'dialplan show'") == {}


def test_settings_of_an_object_are_read(said):
    """The table of an endpoint becomes its settings; an object that is not there has none."""
    settings = console_text.parameters(said(ENDPOINT))

    assert (settings["allow"], settings["100rel"], settings["transport"]) == ("(ulaw|alaw)", "yes", "")
    assert "ParameterName" not in settings
    assert console_text.parameters("Unable to find object nosuch.\n\n") == {}


def test_endpoints_are_read_with_their_addresses(said):
    """An endpoint that is known by its address is told from one that logs in."""
    assert console_text.endpoints(said(ENDPOINTS)) == {"100": (), "trunk": ("127.0.0.2/32", "192.0.2.0/24")}


def test_transports_are_read(said):
    """Each transport has its protocol and the address that it is bound to."""
    assert console_text.transports(said(TRANSPORTS)) == {"tls": ("tls", "0.0.0.0:5061"), "udp6": ("udp", "[::]:5060")}


def test_modules_are_read(said):
    """A module that is loaded but does not run is told from one that does."""
    assert console_text.modules(said(MODULES)) == {"res_agi": True, "res_srtp": False}


def test_global_variables_are_read(said):
    """The value is whatever follows the first sign of equality."""
    text = "   MILLIS_BRIDGE=127.0.0.1:4573\n   MILLIS_SECRET=\n   A=b=c\n\n    -- 3 variable(s)\n"

    assert console_text.globals_(said(text)) == {"MILLIS_BRIDGE": "127.0.0.1:4573", "MILLIS_SECRET": "", "A": "b=c"}


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("Asterisk 22.10.1+dfsg+~cs6.17.60671434-1 built by nobody @ buildd.debian.org", "22.10.1"),
        ("Asterisk certified-20.7-cert5 built by root", "certified-20.7"),
        ("Asterisk 16.28.0 built by mockbuild", "16.28.0"),
        ("Asterisk GIT-master-1234 built by me", "GIT-master-1234"),
        ("nothing of the kind", ""),
    ],
)
def test_version_is_read(text, version):
    """The version is told without what a distribution adds to it."""
    assert console_text.version(text) == version


@pytest.mark.parametrize(("allow", "codecs"), [("(ulaw|alaw)", ["ulaw", "alaw"]), ("(nothing)", []), ("", [])])
def test_codecs_are_read(allow, codecs):
    """An endpoint without a codec has none."""
    assert console_text.codecs(allow) == codecs


def test_rtp_settings_are_read():
    """The range of ports and the protection against strangers are read."""
    text = "  Port start:      10000\n  Port end:        20000\n  Strict RTP:      No\n"

    assert console_text.rtp_ports(text) == (10000, 20000)
    assert not console_text.rtp_is_strict(text)
    assert console_text.rtp_ports("No such command") is None
    assert console_text.rtp_is_strict("")


def test_place_exists_where_it_is_shown():
    """An extension that a pattern or an included context has is shown under its context."""
    assert console_text.exists("[ Context 'from-trunk' created by 'pbx_config' ]\n  '_X.' => 1. NoOp()\n")
    assert console_text.exists("[ Included context 'inner' created by 'pbx_config' ]\n")
    assert not console_text.exists("There is no existence of 9@from-trunk extension\nCommand failed.\n")

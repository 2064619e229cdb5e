"""Who is told of calls, and what that is signed with."""

import pytest

from agi_bridge import config
from agi_bridge.events.event import EventType
from tests.config.bridge_toml import ENVIRON, GOOD, load, problems, reader

HOOK = ENVIRON | {"CRM": "a-secret-of-twenty-signs"}


def webhook(lines="", name="crm", url="https://crm.example/hook", secret='secret_env = "CRM"'):
    """Return a `[[webhook]]` table."""
    return f'\n[[webhook]]\nname = "{name}"\nurl = "{url}"\n{secret}\n{lines}\n'


def test_webhook_has_defaults_for_all_but_name_address_and_secret():
    """A target is told everything, numbers whole, unless the file says otherwise."""
    [crm] = load(GOOD + webhook(), HOOK).webhooks

    assert crm.events == list(EventType)
    assert (crm.numbers, crm.secret.get_secret_value()) == ("full", "a-secret-of-twenty-signs")
    assert "a-secret" not in repr(crm)
    assert load(GOOD).webhooks == ()


def test_webhook_with_an_authority_and_a_secret_in_a_file():
    """Both are read beside the configuration, and the address stays as it is written."""
    more = webhook(
        'ca_file = "ca.crt"\nevents = "call-ended"', url="https://crm.example/hook/", secret='secret_file = "crm"'
    )
    certificate = "-----BEGIN CERTIFICATE-----\n"
    [crm] = load(GOOD + more, crm="sixteen-signs-at-least\n", ca_crt=certificate).webhooks

    assert (crm.url, crm.events, crm.authority) == ("https://crm.example/hook/", ["call-ended"], certificate)
    assert crm.secret.get_secret_value() == "sixteen-signs-at-least"


def test_secrets_of_webhooks_are_not_asked_for_where_nothing_is_done():
    """A command that sends nothing does not need them."""
    [crm] = config.load(GOOD + webhook(secret=""), {}, reader(), need_keys=False).webhooks
    assert crm.secret.get_secret_value() == ""


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/x", "http://[::1]/", "http://10.1.2.3", "http://192.168.0.9/", "http://crm:8080/x"]
)
def test_plain_http_is_for_what_is_near_and_wants_a_reason(url):
    """This machine, a private network or another container may be told without TLS, if somebody has said why."""
    assert load(GOOD + webhook('plain_http_reason = "beside us"', url=url), HOOK).webhooks[0].url == url
    assert problems(GOOD + webhook(url=url), HOOK) == [
        'webhook "crm": plain_http_reason: is missing: what is sent can be read on the way '
        '(use https, or say why not, such as plain_http_reason = "the CRM is on this machine")'
    ]


@pytest.mark.parametrize(
    "url",
    ["http://crm.example/x", "http://8.8.8.8/", "http://134744072/", "http://0x8080808/", "http://[2001:4860::1]/"],
)
def test_plain_http_goes_nowhere_else(url):
    """No reason makes it good to send callers' numbers over the internet as they are."""
    assert problems(GOOD + webhook('plain_http_reason = "it works"', url=url), HOOK) == [
        'webhook "crm": url: would send numbers of callers over the network unencrypted '
        "(use https; plain http is for this machine and for private networks)"
    ]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (webhook() + webhook(), 'webhook "crm": the name is given to two webhooks (rename one of them)'),
        (webhook(name="../up"), 'webhook "../up": name: string should match pattern'),
        (webhook(url="crm"), 'webhook "crm": url: must be an http:// or https:// address without user name'),
        (
            webhook(url="https://u:p@crm/"),
            'webhook "crm": url: must be an http:// or https:// address without user name',
        ),
        (webhook('events = "call-end"'), 'webhook "crm": events: is no event; did you mean "call-ended"?'),
        (webhook("events = []"), 'webhook "crm": events: must not be empty'),
        (webhook('plain_http_reason = "x"'), 'webhook "crm": plain_http_reason: is of no use with https (take it out)'),
        (webhook("retry_seconds = 400"), 'webhook "crm": retry_seconds: is longer than retry_limit_seconds'),
        (webhook(secret=""), 'webhook "crm": secret_file: there is no secret to sign events with (name a file'),
        (
            webhook(secret='secret_env = "NONE"'),
            'webhook "crm": secret_file: there is no secret to sign events with (set',
        ),
        (
            webhook(secret='secret_env = "SHORT"'),
            "SHORT: the secret is of no use: can be guessed: it has fewer than 16",
        ),
        (webhook(secret='secret_env = "BROKEN"'), "BROKEN: the secret is of no use: what follows whsec_ is not base64"),
        (webhook(secret='secret_file = "none"'), 'webhook "crm": secret_file: cannot read none'),
        (webhook('ca_file = "crm"'), 'webhook "crm": ca_file: crm holds no certificate in PEM'),
        (webhook('ca_file = "empty"'), 'webhook "crm": ca_file: empty holds no certificate in PEM'),
        ('\n[webhook]\nname = "crm"\n', "webhook: is one table, but webhooks are a list (write [[webhook]]"),
    ],
)
def test_webhook_that_cannot_be_used(table, told):
    """Each fault is named with its place, and with what to do."""
    [problem] = problems(GOOD + table, HOOK | {"SHORT": "short", "BROKEN": "whsec_!"}, crm="x", empty="")
    assert problem.startswith(told)

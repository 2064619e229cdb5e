"""Where callers are looked up, and what is needed to get there."""

import pytest

from tests.config.bridge_toml import GOOD, load, problems

PEOPLE = 'sql = "SELECT name FROM people WHERE phone = :caller_number"\ndatabase_url = "postgresql://agi@db/crm"\n'


def test_lookup_has_its_secrets_from_files():
    """The configuration names files; what they say is in no text of it."""
    by_http = load(
        GOOD + '\n[prefetch]\nurl = "https://crm/people"\ntoken_file = "crm"\n', crm=" of the crm\n"
    ).prefetch
    by_sql = load(GOOD + f'\n[prefetch]\n{PEOPLE}password_file = "db"\n', db="of the db").prefetch

    assert [secret.get_secret_value() for secret in (*by_http.secrets, *by_sql.secrets)] == [
        "of the crm",
        "",
        "",
        "of the db",
    ]
    assert "of the crm" not in repr(by_http)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (f'{PEOPLE}url = "https://crm/"', "prefetch.sql: stands beside url; keep one of the two"),
        ('sql = "SELECT 1"', "prefetch.database_url: is missing; sql needs it"),
        ('database_url = "postgresql://agi@db/crm"', "prefetch.sql: is missing; database_url needs it"),
        (
            'sql = "SELECT 1 WHERE a = :caller"\ndatabase_url = "postgresql://agi@db/crm"',
            "prefetch.sql: there is no parameter :caller; there are: bridge_call_id, ",
        ),
        (f'{PEOPLE}password_file = "empty"', "prefetch.password_file: empty holds no secret on one line"),
        (f'{PEOPLE}password_file = "none"', "prefetch.password_file: cannot read none"),
        ('url = "crm"', "prefetch.url: must be an http:// or https:// address"),
    ],
)
def test_lookup_that_cannot_be_used(lines, told):
    """Each fault is named with its place, before any call comes."""
    assert problems(GOOD + f"\n[prefetch]\n{lines}\n", empty="\n")[0].startswith(told)


def test_types_in_a_query_are_no_parameters():
    """PostgreSQL writes them with two colons."""
    sql = "SELECT visits::text FROM people WHERE phone = :caller_number"
    assert load(GOOD + f'\n[prefetch]\nsql = "{sql}"\ndatabase_url = "postgresql://agi@db/crm"\n').prefetch.sql == sql


def test_lookup_over_the_network_wants_encryption():
    """Who calls whom is told to whoever listens on the way."""
    warnings = load(GOOD + '\n[prefetch]\nurl = "http://crm.example/people"\n').warnings

    assert [warning.path for warning in warnings] == ["prefetch.url"]

"""Where records are kept, and the password that is needed to get there."""

import pytest

from agi_bridge import config
from agi_bridge.errors import ConfigError
from tests.config.bridge_toml import ENVIRON, GOOD, load, problems, reader


def records(line="", environ=None, **files):
    """Return what holds for records, the rest of the file being wrong."""
    text = f"[records]\n{line}\n[[route]]\nnonsense = 1\n"
    return config.where_records_are(text, environ or {}, reader(**files))[0]


@pytest.mark.parametrize(
    ("environ", "line", "files", "url", "password"),
    [
        pytest.param({}, "", {}, "", "", id="nowhere: the usual file"),
        pytest.param({}, 'url = "sqlite:////data/calls.sqlite"', {}, "sqlite:////data/calls.sqlite", "", id="a file"),
        pytest.param({}, 'url = "postgresql://agi@db/calls"', {}, "postgresql://agi@db/calls", "", id="a server"),
        pytest.param(
            {},
            'url = "postgresql://agi@db:5433/calls?sslmode=require"\npassword_file = "db.password"',
            {"db_password": "hunter2\n"},
            "postgresql://agi@db:5433/calls?sslmode=require",
            "hunter2",
            id="a server with a password",
        ),
        pytest.param({}, 'url = "postgresql:///calls?host=/run/postgresql"', {}, "postgresql:///calls?host=/run/postgresql", "", id="a socket"),
        pytest.param(
            {"AGI_BRIDGE_RECORDS_URL": "postgresql://agi:hunter2@db/calls\n"},
            'url = "sqlite:////x"\npassword_file = "gone"',
            {},
            "postgresql://agi:hunter2@db/calls",
            "",
            id="the environment before the file",
        ),
    ],
)  # fmt: skip
def test_records_are_kept_where(environ, line, files, url, password):
    """Address and password of the database come from the environment, else from the file; no password is ever shown."""
    loaded = records(line, environ, **files)

    assert tuple(each.get_secret_value() for each in loaded.database) == (url, password)
    assert "hunter2" not in repr(loaded) + str(loaded)
    whole = load(f"[records]\n{line}\n{GOOD}", ENVIRON | environ, **files).records
    assert whole.database == loaded.database


@pytest.mark.parametrize(
    ("line", "environ", "files", "problem"),
    [
        (
            'url = "mysql://db/calls"',
            {},
            {},
            'records.url: must be such as "postgresql://user@host/database" or "sqlite:////var/lib/agi-bridge/calls.sqlite"',
        ),
        (
            'url = "sqlite:///calls.sqlite"',
            {},
            {},
            'records.url: must be such as "postgresql://user@host/database" or "sqlite:////var/lib/agi-bridge/calls.sqlite"',
        ),
        (
            'url = "postgresql://agi:hunter2@db/calls"',
            {},
            {},
            "records.url: must not hold a password; write it into a file, and name that in password_file",
        ),
        (
            'password_file = "gone"',
            {},
            {},
            "records.password_file: cannot read gone: No such file or directory (write it beside the configuration, or name another)",
        ),
        ('password_file = "x.y"', {}, {"x_y": " \n"}, "records.password_file: x.y is empty"),
        (
            "",
            {"AGI_BRIDGE_RECORDS_URL": "db:5432"},
            {},
            'AGI_BRIDGE_RECORDS_URL: must be such as "postgresql://user:password@host/database"',
        ),
        ("keep_days = -1", {}, {}, "records.keep_days: input should be greater than or equal to 0"),
        ("keepdays = 1", {}, {}, 'records.keepdays: there is no such key (did you mean "keep_days"?)'),
    ],
)
def test_problem_with_records(line, environ, files, problem):
    """What is wrong with the place of records is told by those who only read them, too."""
    with pytest.raises(ConfigError) as caught:
        records(line, environ, **files)

    assert str(caught.value).splitlines() == [problem]
    assert problems(f"[records]\n{line}\n{GOOD}", ENVIRON | environ, **files) == [problem]
    assert "hunter2" not in str(caught.value)

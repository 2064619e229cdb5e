"""The conversation of `agi-bridge init`, in a real terminal and without one."""

import os
import pty
import select
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from agi_bridge import config

KEY = "sk-0123456789SECRET"
FLAGS = {
    "--flavor": "freepbx",
    "--country": "DE",
    "--region": "eu-west",
    "--key-from": "-",
    "--did": "030 1234567",
    "--agent": "-NxAgent",
    "--fallback": "ext-queues,600,1",
}
CTRL_C, CTRL_D = "\x03", "\x04"


@pytest.fixture(autouse=True)
def nothing_said_yet(tmp_path, monkeypatch):
    """Run in an empty folder, with no answer in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("MILLIS_API_KEY", "MILLIS_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AGI_BRIDGE_CONFIG", str(tmp_path / "bridge.toml"))


def init(*arguments, typed=f"{KEY}\n", closed=False, **flags):
    """Run `init` without a terminal, with all flags but those named; they are changed, or left out where None."""
    chosen = FLAGS | {f"--{name.replace('_', '-')}": text for name, text in flags.items()}
    words = [f"{flag}={text}" for flag, text in chosen.items() if text is not None]
    command = [sys.executable, "-m", "agi_bridge", "init", *words, *arguments]
    if closed:
        command = ["sh", "-c", 'exec "$@" <&-', "sh", *command]
    ran = subprocess.run(command, input=typed, capture_output=True, text=True, check=False)
    assert KEY not in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    return ran.returncode, ran.stdout, ran.stderr


class Person:
    """Somebody at a terminal, who reads what is asked before typing."""

    def __init__(self, master):
        self.master = master
        self.seen = ""
        self.understood = 0

    def reads(self, words):
        """Read on until *words* are there, after those read before; fail with all that was shown where they never come."""
        while (place := self.seen.find(words, self.understood)) < 0:
            self._read(words)
        self.understood = place + len(words)

    def types(self, text):
        os.write(self.master, text.encode())

    def leaves_by(self, key):
        """Press *key*, and again where nothing comes of it: Python overlooks a signal in the moment before it reads."""
        self.types(key)
        while "nothing is written" not in self.seen:
            if select.select([self.master], [], [], 5.0)[0]:
                self._read("nothing is written")
            else:
                self.types(key)

    def reads_to_the_end(self):
        """Read until the program has closed the terminal, and return all that was shown."""
        while True:
            try:
                self._read("the end")
            except AssertionError:
                return self.seen.replace("\r\n", "\n")

    def _read(self, wanted):
        try:
            part = os.read(self.master, 4096).decode()
        except OSError:  # what Linux says when nobody holds the other side any more
            part = ""
        if not part:
            raise AssertionError(f"{wanted!r} was not shown, but:\n{self.seen}")
        self.seen += part


@contextmanager
def at_a_terminal(*arguments):
    """Run `init` in a terminal of its own; gives the person there and the process."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "agi_bridge", "init", *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        # Of its own session, whose terminal this one becomes, so that Ctrl-C is a signal and the key is read from it.
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
    )
    os.close(slave)
    try:
        yield Person(master), process
    finally:
        process.kill()
        process.wait()
        os.close(master)


def written():
    return sorted(os.listdir())


def load():
    return config.load(Path("bridge.toml").read_text(), {}, lambda name: Path(name).read_bytes())


def test_every_question_is_asked_until_it_is_answered_well():
    """A person answers, mistypes, is told so at once, and has a configuration at the end; the key is never shown."""
    with at_a_terminal() as (person, process):
        for asked, typed in [
            ("vitalpbx [plain]: ", "issabell\n"),
            ("! must be plain, freepbx, issabel or vitalpbx", ""),
            ("vitalpbx [plain]: ", "freepbx\n"),
            ("US or DE: ", "de\n"),
            ("eu-west [eu-west]: ", "\n"),
            ("it is not shown: ", f"{KEY} {KEY}\n"),
            ("! the Millis key holds blanks", ""),
            ("it is not shown: ", f"{KEY}\n"),
            ("or all: ", "030 1234567\n"),
            ("= +49301234567", ""),
            ("-NxYourAgentId: ", "-NxAgent\n"),
            ("ext-queues,600,1 (queue 600): ", "ext-queues,600,1\n"),
        ]:
            person.reads(asked)
            person.types(typed)
        shown = person.reads_to_the_end()
        assert process.wait() == 0

    assert shown.endswith(
        "next: agi-bridge asterisk-config --flavor freepbx --config " + os.environ["AGI_BRIDGE_CONFIG"] + "\n"
    )
    assert KEY not in shown
    [rule] = load().rules.rules
    assert (rule.did[0].text, rule.fallback) == ("+49301234567", "ext-queues,600,1")


def test_what_the_command_line_says_is_not_asked():
    """At a terminal, too, an option answers its question."""
    with at_a_terminal("--flavor=plain", "--country=US", "--region=us-west", "--did=all", "--agent=-Nx") as (
        person,
        process,
    ):
        person.reads("it is not shown: ")
        person.types(f"{KEY}\n")
        person.reads("[millis-fallback,s,1]: ")
        person.types("\n")
        shown = person.reads_to_the_end()
        assert process.wait() == 0
    assert shown.count("?") == 2


@pytest.mark.parametrize("left_by", [CTRL_C, CTRL_D])
@pytest.mark.parametrize("asked", ["vitalpbx [plain]: ", "it is not shown: "])
def test_whoever_leaves_has_written_nothing(left_by, asked):
    """Ctrl-C and Ctrl-D end the conversation in words, also where the key is typed unseen."""
    answers = ("--flavor=plain", "--country=US", "--region=us-west") if "shown" in asked else ()
    with at_a_terminal(*answers) as (person, process):
        person.reads(asked)
        person.leaves_by(left_by)
        shown = person.reads_to_the_end()
        assert process.wait() == 130
    assert shown.endswith("\nnothing is written\n")
    assert "Traceback" not in shown
    assert written() == []


def test_bad_option_is_told_before_anything_is_asked_on():
    """An option that cannot be used ends the command; a person would not look for it in the middle of a conversation."""
    with at_a_terminal("--flavor=asterisk") as (person, process):
        shown = person.reads_to_the_end()
        assert process.wait() == 2
    assert shown.endswith("\n--flavor: must be plain, freepbx, issabel or vitalpbx\n")


def test_scripts_need_no_terminal(tmp_path):
    """With every option there is nothing to ask; the configuration is good, and the key readable by its owner alone."""
    code, out, err = init()

    path = tmp_path / "bridge.toml"
    assert (code, err) == (0, "")
    assert out == (
        f"wrote {tmp_path}/millis.key\nwrote {path}\nnext: agi-bridge asterisk-config --flavor freepbx --config {path}\n"
    )
    assert load().warnings == ()
    assert [os.stat(name).st_mode & 0o777 for name in ("bridge.toml", "millis.key")] == [0o640, 0o600]


def test_options_may_be_left_out_where_there_is_a_usual_answer():
    """The distribution, the region and, for the plain one, the fallback need not be said."""
    assert init(flavor=None, region=None, fallback=None)[0] == 0
    loaded = load()
    assert (loaded.millis.region, loaded.rules.default_fallback) == ("eu-west", "millis-fallback,s,1")


@pytest.mark.parametrize("closed", [False, True])
def test_every_missing_option_is_named_at_once(closed):
    """Without a terminal, or with no standard input at all, each option that is missing is a line, and nothing is written."""
    code, out, err = init(country=None, key_from=None, did=None, agent=None, fallback=None, closed=closed)

    assert (code, out) == (2, "")
    assert [line.partition(" (")[0] for line in err.splitlines()] == [
        f"{flag}: is missing, and there is no terminal to ask at"
        for flag in ("--country", "--key-from", "--did", "--agent", "--fallback")
    ]
    assert written() == []


def test_every_bad_option_is_named_at_once():
    """One run tells all that is wrong."""
    code, out, err = init(country="Germany", region="mars", did="1XX")
    assert (code, out) == (2, "")
    assert [line.partition(":")[0] for line in err.splitlines()] == ["--country", "--region", "--did"]
    assert written() == []


@pytest.mark.parametrize(
    ("key_from", "typed", "complaint"),
    [
        ("-", "", "--key-from: there is no key in standard input"),
        ("-", "two words\n", "--key-from: the Millis key holds blanks or signs that no HTTP header can carry"),
        ("nowhere", "", "--key-from: cannot read nowhere: No such file or directory"),
        (".", "", "--key-from: cannot read .: Is a directory"),
    ],
)
def test_key_that_cannot_be_had(key_from, typed, complaint):
    """A key that is not where the option says is told in one line."""
    assert init(key_from=key_from, typed=typed) == (2, "", f"{complaint}\n")
    assert written() == []


def test_key_may_be_in_the_environment_or_in_a_file(monkeypatch, tmp_path):
    """A key that is at hand is taken from there, the option before the environment."""
    monkeypatch.setenv("MILLIS_API_KEY", "of-the-environment")
    assert init(key_from=None)[0] == 0
    assert Path("millis.key").read_text() == "of-the-environment\n"

    (tmp_path / "key.txt").write_text(f"\ufeff{KEY}\n")
    assert init("--force", key_from="key.txt")[0] == 0
    assert Path("millis.key").read_text() == f"{KEY}\n"


def test_configuration_that_is_there_stays():
    """Without --force nothing is replaced, and nobody is asked a question in vain."""
    Path("bridge.toml").write_text("# mine\n")
    code, out, err = init()
    assert (code, out) == (2, "")
    assert err.endswith("bridge.toml is there already (--force replaces it, and keeps a backup)\n")
    assert Path("bridge.toml").read_text() == "# mine\n"
    assert written() == ["bridge.toml"]


def test_force_keeps_what_it_replaces():
    """With --force there is a backup of both files; neither becomes readable by more people than before."""
    Path("bridge.toml").write_text("# mine\n")
    Path("millis.key").write_text("old-key\n")
    Path("millis.key").chmod(0o644)
    code, out, _ = init("--force")
    assert code == 0
    assert out.count("kept the one before as ") == 2
    assert Path("bridge.toml.before-agi-bridge").read_text() == "# mine\n"
    assert Path("millis.key.before-agi-bridge").read_text() == "old-key\n"
    assert [os.stat(name).st_mode & 0o007 for name in ("millis.key", "millis.key.before-agi-bridge")] == [0, 0]


def test_key_written_before_is_used_again():
    """A second run, for another agent perhaps, needs the key no more."""
    assert init()[0] == 0
    Path("bridge.toml").unlink()
    assert init(key_from=None, agent="-Nother")[0] == 0
    assert Path("millis.key").read_text() == f"{KEY}\n"
    assert load().rules.rules[0].agent.agent_id == "-Nother"


def test_another_key_stays_without_force():
    """A key that is there already is not lost to a new one by accident."""
    Path("millis.key").write_text("old-key\n")
    code, out, err = init()
    assert (code, out) == (2, "")
    assert err.endswith("millis.key holds another key (--force replaces it, and keeps a backup)\n")
    assert (written(), Path("millis.key").read_text()) == (["millis.key"], "old-key\n")


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("nowhere/bridge.toml", "--config: there is no folder nowhere (make it: install -d -m 750 nowhere)"),
        (".", "--config: . is a folder (name the file, such as bridge.toml in it)"),
        ("/proc/bridge.toml", "--config: cannot write "),
    ],
)
def test_place_where_nothing_can_be_written(path, complaint):
    """A path that cannot be written to is told in one line, most of them before any question."""
    code, _, err = init(f"--config={path}")
    assert code == 2
    assert err.startswith(complaint)
    assert err.count("\n") == 1

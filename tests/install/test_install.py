"""scripts/install below a folder of its own: what is there afterwards, the units with it, upgrade, rollback and uninstall."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agi_bridge import __version__
from tests.served import two_free_ports

ROOT = Path(__file__).parents[2]
INSTALL = ROOT / "scripts/install"
UNITS = ("agi-bridge.service", "agi-bridge.socket")

# In tenths. The unit itself says what makes up the rest.
HIGHEST_EXPOSURE = 12

# Each build of a version takes a quarter of a minute on two cores.
pytestmark = [pytest.mark.install, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", autouse=True)
def systemd_tools():
    subprocess.run([ROOT / "scripts/get-systemd"], check=True)


def run(*command, **environ):
    ran = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert "Traceback" not in ran.stderr
    return ran


def install(root, *arguments, **environ):
    return run(INSTALL, "--root", root, *arguments, **environ)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Install once, with a configuration made by the installed command."""
    root = tmp_path_factory.mktemp("machine")
    ran = install(root)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.endswith(
        f"install: installed {__version__}\n"
        f"install: next, on the machine that {root} is for: agi-bridge init; then: systemctl start agi-bridge.socket agi-bridge.service\n"
    )
    ran = run(
        *(root / "opt/agi-bridge/current/bin/agi-bridge", "init", "--config", root / "etc/agi-bridge/bridge.toml"),
        *("--country=US", "--did=all", "--agent=-NxAgent"),
        MILLIS_API_KEY="sk-0123456789",
    )
    assert ran.returncode == 0, ran.stderr
    return root


def unit(root, name):
    """Return the text of an installed unit, whose paths lead below *root*."""
    text = (root / "etc/systemd/system" / name).read_text()
    return text.replace("/opt/agi-bridge", f"{root}/opt/agi-bridge").replace(
        "/etc/agi-bridge", f"{root}/etc/agi-bridge"
    )


def value(text, key):
    [found] = re.findall(f"^{key}=(.*)$", text, re.MULTILINE)
    return found


def links(root):
    """Return which version is current and which is the one before, and all that are there."""
    opt = root / "opt/agi-bridge"
    named = [os.readlink(opt / name) if (opt / name).is_symlink() else None for name in ("current", "previous")]
    return [*named, sorted(f"releases/{name}" for name in os.listdir(opt / "releases") if name != ".lock")]


def everything(root):
    """Return each file below *root* but the Pythons', with its content or where it leads."""
    return {
        str(path.relative_to(root)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in root.rglob("*")
        if "releases/" not in str(path) and (path.is_symlink() or path.is_file())
    }


def test_installed_command_runs(installed):
    """The command is on the usual path, and runs from a version of its own."""
    assert os.readlink(installed / "usr/local/bin/agi-bridge") == "/opt/agi-bridge/current/bin/agi-bridge"
    ran = run(installed / "opt/agi-bridge/current/bin/agi-bridge", "--version", PYTHONPATH="")
    assert ran.stdout == f"agi-bridge {__version__}\n"


def test_units_are_enabled(installed):
    """Both begin with the machine."""
    for name in UNITS:
        ran = run("systemctl", f"--root={installed}", "is-enabled", name)
        assert ran.stdout.strip() == "enabled"


def test_configuration_is_for_the_service_alone(installed):
    """What is written into the folder belongs to the group of the service, and the key to its owner."""
    folder = installed / "etc/agi-bridge"
    assert folder.stat().st_mode & 0o007 == 0
    assert (folder / "millis.key").stat().st_mode & 0o777 == 0o600
    assert (folder / "bridge.toml").stat().st_mode & 0o777 == 0o640
    if os.geteuid() == 0:
        [group] = re.findall(r"^agi-bridge:x:(\d+):", (installed / "etc/group").read_text(), re.MULTILINE)
        assert {folder.stat().st_gid, (folder / "bridge.toml").stat().st_gid} == {int(group)}


def test_units_are_what_systemd_understands(installed, tmp_path):
    """systemd finds nothing wrong with either unit, and the command that they name is there."""
    for name in UNITS:
        (tmp_path / name).write_text(unit(installed, name))
    ran = run("systemd-analyze", "verify", *(tmp_path / name for name in UNITS))
    assert (ran.returncode, [line for line in ran.stderr.splitlines() if "agi-bridge" in line]) == (0, [])


def test_service_is_shut_in():
    """What systemd says of the service's exposure stays as low as a service with a network can have it."""
    path = ROOT / "scripts/systemd/agi-bridge.service"
    ran = run("systemd-analyze", "security", "--offline=true", f"--threshold={HIGHEST_EXPOSURE}", path)
    assert ran.returncode == 0, ran.stdout


def test_service_takes_over_the_socket_and_says_that_it_is_ready(installed, tmp_path):
    """What the unit starts takes calls on the socket of the other unit, and tells systemd so."""
    port = two_free_ports()
    text = (installed / "etc/agi-bridge/bridge.toml").read_text()
    config = tmp_path / "bridge.toml"
    config.write_text(
        f"[web]\nlisten = []\n\n{text}".replace("millis.key", str(installed / "etc/agi-bridge/millis.key"))
    )
    command = value(unit(installed, "agi-bridge.service"), "ExecStart").split()
    command[-1] = str(config)
    assert value(unit(installed, "agi-bridge.socket"), "ListenStream") == "127.0.0.1:4573"
    assert value(unit(installed, "agi-bridge.service"), "Type") == "notify"

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)
        process = subprocess.Popen(
            [
                *("systemd-socket-activate", f"--listen=127.0.0.1:{port}"),
                # It hands on nothing of its own environment, and the first connection starts the service.
                *(f"--setenv=NOTIFY_SOCKET={tmp_path}/notify", f"--setenv=PATH={os.environ['PATH']}"),
                *command,
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stderr is not None
            while "Listening on" not in (line := process.stderr.readline()):
                assert line, "systemd-socket-activate ended"
            ping = [sys.executable, "-m", "agi_bridge", "simulate", "call", "--did=0", "--verb=ping"]
            pinged = run(*ping, f"--bridge=127.0.0.1:{port}")
            assert "MILLIS_STATUS  ok" in pinged.stdout, pinged.stderr
            assert systemd.recv(4096).decode() == "READY=1\nSTATUS=takes calls by 1 rule\n"
        finally:
            process.terminate()
            process.communicate()


def test_upgrade_and_rollback(installed, tmp_path):
    """Installing again is the upgrade: the configuration stays, the version before is kept, and can be had back."""
    root = shutil.copytree(installed, tmp_path / "machine", symlinks=True)
    [first, none, _] = links(root)
    assert none is None
    service = root / "etc/systemd/system/agi-bridge.service"
    service.write_text("# changed by hand\n")
    # The key where systemd reads it, who is no shell.
    config = root / "etc/agi-bridge/bridge.toml"
    config.write_text(re.sub("(?m)^api_key_file = .*\n", "", config.read_text()))
    config.with_name("millis.key").unlink()
    config.with_name("environment").write_text(f'# of ours\nMILLIS_API_KEY="sk-;$(touch${{IFS}}{tmp_path}/run)"\n')
    before = config.read_text()

    ran = install(root)
    assert (ran.returncode, ran.stdout.splitlines()[-1:]) == (
        0,
        [f"install: installed {__version__}; scripts/install --rollback goes back"],
    ), ran.stderr
    [second, *rest] = links(root)
    assert second != first
    assert rest == [first, sorted([first, second])]
    assert config.read_text() == before
    assert not (tmp_path / "run").exists()
    assert service.read_text() == (ROOT / "scripts/systemd/agi-bridge.service").read_text()
    assert service.with_name("agi-bridge.service.before-agi-bridge").read_text() == "# changed by hand\n"

    ran = install(root, "--rollback")
    assert (ran.returncode, ran.stdout) == (0, f"install: back to agi-bridge {__version__}\n")
    assert links(root) == [first, second, sorted([first, second])]


def test_upgrade_that_would_not_start_changes_nothing(installed, tmp_path):
    """A configuration that the new version does not take is told before anything is in its place."""
    root = shutil.copytree(installed, tmp_path / "machine", symlinks=True)
    (root / "etc/agi-bridge/bridge.toml").write_text("[agi]\nno_such_key = 1\n")
    before = everything(root), links(root)

    ran = install(root)

    assert ran.returncode == 1
    assert "agi.no_such_key: there is no such key" in ran.stderr
    assert ran.stderr.endswith(f"the new version does not take {root}/etc/agi-bridge/bridge.toml; nothing is changed\n")
    assert (everything(root), links(root)) == before


def test_packages_that_cannot_be_had_change_nothing(tmp_path):
    """Without an index to install from, nothing is left behind, and pip's reason is there to read."""
    ran = install(tmp_path, PIP_NO_INDEX="1", PIP_FIND_LINKS="", PIP_CONFIG_FILE=os.devnull)
    assert ran.returncode == 1
    assert ran.stderr.endswith("install: the packages cannot be had; nothing is changed\n")
    assert links(tmp_path) == [None, None, []]
    assert not (tmp_path / "etc/agi-bridge").exists()


def test_older_systemd_gets_a_drop_in(installed, tmp_path):
    """Where systemd cannot hand over the key, the unit lets the bridge open it; a rollback sees to that as well."""
    root = shutil.copytree(installed, tmp_path / "machine", symlinks=True)
    (root / "opt/agi-bridge/previous").symlink_to(links(root)[0])
    older = tmp_path / "older"
    older.mkdir()
    (older / "systemctl").write_text(
        f'#!/bin/sh\n[ "$1" = --version ] || exec {shutil.which("systemctl")} "$@"\necho "systemd 249 (249.11)"\n'
    )
    (older / "systemctl").chmod(0o755)
    drop_in = root / "etc/systemd/system/agi-bridge.service.d/before-251.conf"

    assert install(root, "--rollback", PATH=f"{older}:{os.environ['PATH']}").returncode == 0
    assert drop_in.read_text() == (ROOT / "scripts/systemd/before-251.conf").read_text()
    assert install(root, "--uninstall").returncode == 0
    assert not drop_in.parent.exists()


def test_uninstall_keeps_the_configuration(installed, tmp_path):
    """All that was installed is gone; what the operator wrote is not, drop-ins for the units included."""
    root = shutil.copytree(installed, tmp_path / "machine", symlinks=True)
    drop_in = root / "etc/systemd/system/agi-bridge.service.d/override.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\n")

    ran = install(root, "--uninstall")

    assert ran.returncode == 0, ran.stderr
    assert f"the configuration stays in {root}/etc/agi-bridge" in ran.stdout
    kept = {name for name in everything(root) if name.partition("/")[2].startswith(("agi-bridge", "systemd"))}
    assert kept == {
        "etc/agi-bridge/bridge.toml",
        "etc/agi-bridge/millis.key",
        "etc/systemd/system/agi-bridge.service.d/override.conf",
    }
    assert not (root / "opt/agi-bridge").exists()
    assert not (root / "usr/local/bin/agi-bridge").is_symlink()
    again = install(root, "--uninstall")
    assert (again.returncode, again.stderr) == (1, f"install: there is nothing in {root}/opt/agi-bridge\n")


def test_without_root_nothing_is_tried():
    """Only root can install for the whole machine."""
    as_nobody = ["setpriv", "--reuid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    ran = run(*as_nobody, INSTALL)
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", "install: must be run as root\n")


@pytest.mark.parametrize(
    ("arguments", "environ", "complaint"),
    [
        (["--upgrade"], {}, "install: there is no option --upgrade; scripts/install --help lists them\n"),
        (["--rollback"], {}, "install: there is no version to go back to\n"),
        ([], {"PYTHON": "/bin/false"}, "python: /bin/false is not a Python 3.11 or newer\n"),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path, arguments, environ, complaint):
    """Each obstacle is one line that says what to do, and leaves no version behind."""
    ran = install(tmp_path, *arguments, **environ)
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", complaint)
    assert not (tmp_path / "opt").exists()


def test_folder_that_cannot_be_made(tmp_path):
    """A folder in whose place something else stands is named."""
    (tmp_path / "opt").write_text("")
    ran = install(tmp_path)
    assert (ran.returncode, ran.stderr) == (1, f"install: cannot make the folder {tmp_path}/opt/agi-bridge\n")


def test_command_of_somebody_else_stays(tmp_path):
    """A program of the same name that is no link of ours is not replaced."""
    command = tmp_path / "usr/local/bin/agi-bridge"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n")
    ran = install(tmp_path)
    assert (ran.returncode, ran.stderr) == (1, f"install: {command} is there, and not ours; move it away\n")
    assert command.read_text() == "#!/bin/sh\n"


def test_root_that_is_not_there(tmp_path):
    """A mistyped --root must not become a new tree."""
    ran = install(tmp_path / "nowhere")
    assert (ran.returncode, ran.stderr) == (1, "install: --root needs a folder that is there\n")

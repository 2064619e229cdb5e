"""The command `scripts/asterisk-lab`: one function a verb."""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

from .asterisk import find_asterisk
from .errors import LabError
from .pbx import Pbx, ask
from .site import SiteSettings
from .slot import held


def main() -> int:
    arguments = _parser().parse_args()
    try:
        return int(arguments.verb(arguments))
    except LabError as error:
        print(f"asterisk-lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _get(_: argparse.Namespace) -> int:
    asterisk = find_asterisk()
    where = f" in {asterisk.root}" if asterisk.root else ""
    print(f"Asterisk {asterisk.version}, {asterisk.kind}{where}")
    return 0


def _start(arguments: argparse.Namespace) -> int:
    asterisk = find_asterisk()
    site = SiteSettings(
        bridge=arguments.bridge,
        dialplan=arguments.dialplan.read_text() if arguments.dialplan else "",
    )
    # Ended from outside, it stops its Asterisk in good order too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with asterisk.start(site) as pbx:
        print(_card(asterisk.version, site, pbx), flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("stopping")
    return 0


def _cli(arguments: argparse.Namespace) -> int:
    running = {slot.number: slot for slot in held()}
    if not running:
        raise LabError("none is running; start one with: asterisk-lab start")
    number = arguments.pbx if arguments.pbx is not None else min(running)
    if number not in running or (arguments.pbx is None and len(running) > 1):
        raise LabError(f"say which one: --pbx with one of {', '.join(map(str, running))}")
    print(ask(running[number].folder, " ".join(arguments.words), seconds=30), end="")
    return 0


def _sipp(arguments: argparse.Namespace) -> int:
    place = find_asterisk().place
    return subprocess.run(place.command(["sipp", *arguments.words], Path.cwd()), check=False).returncode


def _card(version: str, site: SiteSettings, pbx: Pbx) -> str:
    sip = f"{pbx.address}:{pbx.sip_port}"
    lab = os.path.relpath(sys.argv[0])
    return f"""\
Asterisk {version} is up, number {pbx.slot.number}. Ctrl-C stops it and leaves nothing behind.
  SIP            {sip} over UDP and TCP, port {pbx.tls_port} over TLS
  bridge         agi://{site.bridge}/
  configuration  {pbx.conf_dir}
  log            {pbx.folder}/log/full.log
  console        {lab} cli --pbx {pbx.slot.number} core show channels
  a call         {lab} sipp {sip} -sn uac -i {site.trunk} -s 15551230001 -m 1"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asterisk-lab",
        description="Get a real Asterisk and play with it: the installed one, else a Debian tree of our own in the "
        "user's cache (as root), else one in Docker. It runs the shipped asterisk-conf/ on ports of its own.",
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    get = verbs.add_parser("get", help="prepare an Asterisk and tell which one it is")
    get.set_defaults(verb=_get)

    start = verbs.add_parser("start", help="run a private Asterisk until Ctrl-C")
    start.add_argument("--bridge", default=SiteSettings.bridge, metavar="HOST:PORT", help="default: %(default)s")
    start.add_argument("--dialplan", type=Path, metavar="FILE", help="contexts to add to extensions.conf")
    start.set_defaults(verb=_start)

    cli = verbs.add_parser("cli", help="run a console command on a running one")
    cli.add_argument("--pbx", type=int, metavar="NUMBER", help="which one, if there are several")
    cli.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help="such as: dialplan show millis")
    cli.set_defaults(verb=_cli)

    # No argument can begin with a NUL, so argparse takes none of SIPp's for an option of ours, not even the first.
    sipp = verbs.add_parser("sipp", help="run SIPp in this folder", prefix_chars="\0", add_help=False)
    sipp.add_argument("words", nargs=argparse.REMAINDER, metavar="ARGUMENT", help="given to SIPp as they are")
    sipp.set_defaults(verb=_sipp)
    return parser

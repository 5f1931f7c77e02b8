"""`netemu story`: three apps on one port, as real processes, told step by step."""

from __future__ import annotations

import os
from typing import Annotated

import typer


def story(
    pcap: Annotated[
        str, typer.Option("--pcap", metavar="FILE", help="Where the capture is kept (pcapng).")
    ] = "story.pcapng",
    inside: Annotated[bool, typer.Option("--inside", hidden=True)] = False,
) -> int:
    """Tell whose packet is whose, with three processes on a port.

    A, B and C bind port 12345 with SO_REUSEPORT; C listens; A connects outwards from that port to a real server; a real
    nc connects to it; strays are sent. After each step the table and the packets are shown, and what is told is checked:
    the exit status is 1 if anything was not so. All of it happens in a private network namespace.

    \b
    Examples:
      sudo netemu story
      netemu why --pcap story.pcapng --frame 5     # afterwards: why did this one go there?
    """
    from netemu.cli.common import python_command
    from netemu.cli.run import enter_private_namespace, settle
    from netemu.cli.settings import DEFAULT_NAME, Settings, build_config
    from netemu.runtime.running import run_command

    settings = Settings(name=f"story-{os.getpid()}", tun=DEFAULT_NAME, no_apps=True, pcap=pcap, user="root")
    checked = build_config(settings)
    if not inside:
        enter_private_namespace("story")
    settle(checked.name)
    script = "from netemu.cli import guarded; from netemu.story.script import main; sys.exit(guarded(main))"
    status = run_command(checked, python_command(script, pcap))
    give_to_caller(pcap)
    return status


def give_to_caller(path: str) -> None:
    """Root may have made it for the one who called sudo."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() == 0 and uid.isdigit() and gid.isdigit():
        os.chown(path, int(uid), int(gid))

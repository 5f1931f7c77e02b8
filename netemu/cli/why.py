"""`netemu why`: whose a packet would be, by which rule, and what the stack would answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from netemu.apps.base import UsageError
from netemu.cli.common import Instance, Json, client, print_json, print_table, printable
from netemu.runtime.errors import RuntimeFailure

if TYPE_CHECKING:
    from netemu.capture.frames import Frame
    from netemu.runtime.client import Client
    from netemu.runtime.messages import Verdict

LAST = 2**32 - 1
"""Sequence number."""
FIRST = 8
"""Answers that are printed; the others are counted."""


def why(
    protocol: Annotated[str | None, typer.Argument(metavar="[PROTO]", help="tcp or udp.")] = None,
    src: Annotated[
        str | None, typer.Argument(metavar="[SRC]", help="ADDRESS:PORT that it comes from; [ADDRESS]:PORT for IPv6.")
    ] = None,
    dst: Annotated[str | None, typer.Argument(metavar="[DST]", help="ADDRESS:PORT that it goes to.")] = None,
    flags: Annotated[
        str | None,
        typer.Option("--flags", metavar="S", help="Letters of SFRPU. or words (syn,ack) [default: what fits]."),
    ] = None,
    seq: Annotated[
        int | None, typer.Option("--seq", metavar="N", min=0, max=LAST, help="Sequence number [default: in order].")
    ] = None,
    ack: Annotated[
        int | None, typer.Option("--ack", metavar="N", min=0, max=LAST, help="Acknowledges up to [default: all].")
    ] = None,
    length: Annotated[int, typer.Option("--len", metavar="BYTES", min=0, max=60000, help="Bytes of payload.")] = 0,
    pcap: Annotated[str | None, typer.Option("--pcap", metavar="FILE", help="Ask about a captured packet.")] = None,
    frame: Annotated[
        int | None, typer.Option("--frame", metavar="N", min=1, help="Which, as Wireshark counts.")
    ] = None,
    name: Instance = None,
    json: Json = False,
) -> None:
    """Tell whose a packet would be, and why.

    That is, if it arrived now; nothing is changed by asking. Every socket on its port is listed with the reason why it
    would get the packet or not, then what the stack would answer. What stands before the host is named first: the link to
    it, and rules that match the packet. With --pcap a packet of a capture is explained by
    what was decided then (its comment) and by the table now.

    \b
    Examples:
      netemu why tcp 198.18.0.1:40000 198.18.0.2:80 --flags S
      netemu why udp '[2001:2::1]:5000' '[2001:2::2]:7'
      netemu why --pcap out.pcapng --frame 5
    """
    if (pcap is None) != (frame is None):
        raise UsageError("--pcap FILE and --frame N go together")
    if pcap is not None and frame is not None:
        if protocol is not None:
            raise UsageError("either PROTO SRC DST or --pcap FILE --frame N")
        return explain_frame(pcap, frame, name, json)
    if protocol is None or src is None or dst is None:
        raise UsageError("PROTO SRC DST are missing, as in `netemu why tcp 198.18.0.1:40000 198.18.0.2:80`")
    from netemu.runtime.messages import Question

    verdict = client(name).why(Question(protocol.lower(), src, dst, flags or "", seq, ack, length))
    if json:
        return print_json(verdict)
    return print_verdict(verdict)


def explain_frame(path: str, number: int, name: str | None, json: bool) -> None:
    found = read(path, number)
    instance, missing = running(name)
    verdict = judged(instance, found) if instance is not None else None
    if json:
        return print_json(as_json(found, number, verdict, missing))
    from netemu.wire.describe import describe

    direction = {True: "in  ", False: "out ", None: ""}[found.inbound]
    print(printable(f"frame {number}, {moment(found.wall_ns)} {direction}{describe(found.data)}"))
    if len(found.data) < found.length:
        print(f"{found.length - len(found.data)} of its {found.length} bytes are not in the capture")
    print(printable(f"then: {with_meaning(found.comment) if found.comment else '(the capture has no comment on it)'}"))
    if verdict is None or instance is None:
        print(f"now: {missing}: what the table would say now is not known")
        return None
    print(f"now: by the table of instance {instance.name} as it is now:")
    return print_verdict(verdict, with_packet=False)


def read(path: str, number: int) -> Frame:
    from netemu.capture.frames import FrameError, read_frame

    try:
        with open(path, "rb") as file:
            return read_frame(file, number)
    except OSError as error:
        raise RuntimeFailure(f"--pcap {path}: {error.strerror}") from None
    except FrameError as error:
        raise RuntimeFailure(f"--pcap {path} --frame {number}: {error}") from None


def running(name: str | None) -> tuple[Client | None, str]:
    """The instance to ask; or None, and why there is none."""
    try:
        instance = client(name)
        instance.status()
    except RuntimeFailure as error:
        if name is not None:
            raise
        return None, str(error).partition(":")[0]
    return instance, ""


def judged(instance: Client, found: Frame) -> Verdict:
    """A capture that does not tell directions leaves it to the source address."""
    sent = found.inbound is False
    if found.inbound is None:
        from netemu.wire.describe import describe

        source = describe(found.data).split(" ", 1)[0]
        sent = any(source == a or source.startswith((f"{a}:", f"[{a}]:")) for a in instance.status().addresses)
    return instance.why_packet(found.data, found.length, sent)


def as_json(found: Frame, number: int, verdict: Verdict | None, missing: str) -> dict[str, object]:
    from netemu.wire.describe import describe

    return {
        "frame": number,
        "time": found.wall_ns / 1e9,
        "packet": describe(found.data),
        "inbound": found.inbound,
        "then": found.comment,
        "now": verdict,
        "missing": missing,
    }


def with_meaning(comment: str) -> str:
    """A capture's comment names the rule by which a packet was delivered; here with what the rule says."""
    from netemu.reasons import Match

    before, _, rule = comment.rpartition(" ")
    return f"{before} {rule} ({Match[rule].value})" if rule in Match.__members__ else comment


def moment(wall_ns: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(wall_ns / 1e9)) + f".{wall_ns % 1_000_000_000:09d}"


def print_verdict(verdict: Verdict, with_packet: bool = True) -> None:
    if with_packet:
        print(printable(verdict.packet))
    if verdict.direction == "out":
        print(printable(f"was sent; {verdict.effects[0]}" + (f": {owner(verdict)}" if verdict.socket else "")))
        return
    for what in verdict.on_the_way:
        print(printable(f"on its way: {what}"))
    print(printable(result(verdict)))
    if verdict.candidates:
        cells = [
            ("=>" if c.wins else "", c.socket, c.app, c.state, c.local, c.peer, c.reason) for c in verdict.candidates
        ]
        print_table(("", "Socket", "App", "State", "Local Address:Port", "Peer Address:Port", "Why"), cells)
    for effect in verdict.effects:
        print(printable(f"effect: {effect}"))
    for answer in verdict.answers[:FIRST]:
        because = f"  [{answer.reason}: {answer.meaning}]" if answer.reason else ""
        print(printable(f"answer: {answer.kind}  {answer.packet}{because}"))
    if len(verdict.answers) > FIRST:
        print(f"answer: and {len(verdict.answers) - FIRST} more packets")
    if not verdict.answers:
        print("answer: nothing")


def result(verdict: Verdict) -> str:
    rule = f"{verdict.reason} ({verdict.meaning})"
    whose = owner(verdict)
    if verdict.kind == "match":
        return f"goes to {whose} by {rule}" if whose else f"is taken by the host: {rule}"
    return f"would be dropped: {rule}" + (f", at {whose}" if whose else "")


def owner(verdict: Verdict) -> str:
    if not verdict.socket:
        return ""
    process = f' ("{verdict.program}", pid {verdict.pid})' if verdict.pid else ""
    return f"{verdict.socket} of app {verdict.app}{process}" if verdict.app else f"{verdict.socket}{process}"

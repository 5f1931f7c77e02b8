"""Whose packet is this? Three apps hold port 12345; one listens, one connects outwards, one only holds it."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from netemu.capture.pcapng import Record
from netemu.story.stage import Stage, line_of, send_datagram, send_raw, write
from netemu.wire.ip import parse_address
from netemu.wire.output import Template
from netemu.wire.tcp import ACK, RST, Segment

PORT, OTHER_PORT, SERVER_PORT, STRANGER = 12345, 12346, 9000, 4444
HOST, KERNEL = "198.18.0.2", "198.18.0.1"
PACKETS = f"port {PORT} or port {OTHER_PORT} or icmp"


def main() -> int:
    """Play it; 0 when all was as told. Our argument is the file in which the instance keeps the capture."""
    stage = Stage()
    try:
        Story(stage).play()
    except BrokenPipeError:
        raise  # whoever is told this has heard enough
    except OSError as problem:
        stage.expect(False, f"the story broke off: {problem}")
    finally:
        stage.close()
    if stage.failures:
        stage.tell(f"\n{stage.failures} of the things told above were not so.")
    stage.tell(
        f"\nThe capture is in {sys.argv[1]}: open it in Wireshark (each packet has its comment), or ask\n"
        f"`netemu why --pcap {sys.argv[1]} --frame N` about one packet."
    )
    return 1 if stage.failures else 0


class Story:
    """The scenes, in order; each tells, shows the table or the packets, and checks."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.a, self.b, self.c = (stage.actor(app) for app in "ABC")
        self.server: subprocess.Popen[str]
        self.client: subprocess.Popen[str]

    def play(self) -> None:
        self.three_bind()
        self.nobody_listens()
        self.c_listens()
        self.a_connects()
        self.a_client_comes()
        self.all_at_once()
        self.the_rejected()
        self.a_dies()
        self.what_was_learned()

    # -- the scenes -----------------------------------------------------------------------------------------------------------

    def three_bind(self) -> None:
        stage = self.stage
        stage.scene(f"Three processes, A, B and C, bind port {PORT} of {HOST} with SO_REUSEPORT")
        for actor in (self.a, self.b, self.c):
            actor.does("bind", str(PORT))
        stage.table()
        bound = [row for row in stage.sockets() if row.local.endswith(f":{PORT}")]
        stage.expect([row.app for row in bound] == ["A", "B", "C"], "all three hold the port, and nobody listens")
        pids = [self.a.process.pid, self.b.process.pid, self.c.process.pid]
        stage.expect([row.pid for row in bound] == pids, "each socket is known to be its process's (SO_PEERCRED)")

    def nobody_listens(self) -> None:
        stage = self.stage
        stage.scene("A client comes too early: a socket that is merely bound gets no SYN")
        with stage.watching(PACKETS) as packets:
            status = stage.run("nc", "-z", HOST, str(PORT))
        stage.expect(status == 1, "nc was refused")
        stage.expect(decided(packets, True) == ["dropped: ONLY_BOUND"], "the SYN was dropped: ONLY_BOUND")
        stage.expect(flags(packets, False) == ["R."], "and answered by a RST")

    def c_listens(self) -> None:
        stage = self.stage
        stage.scene("C listens")
        self.c.does("listen")
        stage.table()
        stage.expect([row.state for row in stage.sockets("C")] == ["LISTEN"], "C's socket is in LISTEN")
        stage.expect({stage.id_of(app, "LISTEN") for app in "AB"} == {"?"}, "A's and B's are not")

    def a_connects(self) -> None:
        stage = self.stage
        stage.scene(f"A connects outwards from {PORT} to a server of the kernel's")
        self.server = stage.start("nc", "-l", KERNEL, str(SERVER_PORT))
        stage.tell(f"   $ nc -l {KERNEL} {SERVER_PORT}")
        stage.until(lambda: listens_in_kernel(SERVER_PORT))
        mine = stage.id_of("A")
        with stage.watching(PACKETS) as packets:
            self.a.does("connect", KERNEL, str(SERVER_PORT))
            self.a.does("send", "hello from A")
            stage.tell(f"   server: received {line_of(self.server)!r}, answers 'hello A'")
            write(self.server, "hello A")
            self.a.does("recv")
        stage.table()
        stage.expect(
            set(decided(packets, True)) == {f"delivered to {mine} of app A by CONNECTION"},
            f"every segment of A's connection went to A's socket {mine}, by its 4-tuple, though C listens on {PORT}",
        )

    def a_client_comes(self) -> None:
        stage = self.stage
        stage.scene(f"A client connects to {HOST}:{PORT}: its SYN goes to C")
        listener = stage.id_of("C")
        with stage.watching(PACKETS) as packets:
            self.client = stage.start("nc", HOST, str(PORT))
            stage.tell(f"   $ nc {HOST} {PORT}")
            self.c.does("accept")
            write(self.client, "hello from nc")
            self.c.does("recv")
            self.c.does("send", "hello nc")
            stage.tell(f"   nc: received {line_of(self.client)!r}")
        stage.table()
        child = stage.id_of("C", "ESTABLISHED")
        syn, *rest = decided(packets, True) or ["nothing"]
        stage.expect(syn == f"delivered to {listener} of app C by LISTEN_WILDCARD", f"the SYN went to C's {listener}")
        stage.expect(child not in ("?", listener), "the accepted connection has a socket of its own")
        own = f"delivered to {child} of app C by CONNECTION"
        stage.expect(own in rest and set(rest[1:]) == {own}, f"and its data went there: {own}")

    def all_at_once(self) -> None:
        """What the port looks like now."""
        stage = self.stage
        stage.scene("One port, four sockets: both connections go on, and B has not seen a packet")
        with stage.watching(PACKETS) as packets:
            self.a.does("send", "A again")
            write(self.client, "nc again")
            self.c.does("recv")
        apps = {
            decision.split(" of app ")[1].split()[0] for decision in decided(packets, True) if " of app " in decision
        }
        stage.expect(apps == {"A", "C"}, "A got A's, C got C's")
        stage.expect(not any("app B" in record.comment for record in packets), "nothing went to B")

    def the_rejected(self) -> None:
        stage = self.stage
        stage.scene("Everything else is rejected, and the reason is known")
        at = f", at {stage.id_of('C', 'LISTEN')} of app C"
        with stage.watching(PACKETS) as packets:
            stage.tell(f"   a SYN to port {OTHER_PORT}, which nobody holds")
            stage.run("nc", "-z", HOST, str(OTHER_PORT))
            stage.tell(f"   an ACK to port {PORT} from {KERNEL}:{STRANGER}, which has no connection")
            send_raw(stray(STRANGER, ACK))
            stage.tell("   a RST from there")
            send_raw(stray(STRANGER, RST))
            stage.tell("   a segment of A's own 4-tuple, far outside its window")
            send_raw(stray(SERVER_PORT, ACK))
            stage.tell(f"   a UDP datagram to port {PORT}: another protocol's port")
            send_datagram(b"not TCP", HOST, PORT)
        why = [decision.removesuffix(at) for decision in decided(packets, True)]
        mine = stage.id_of("A")
        for wanted, told in (
            ("dropped: NO_SOCKET", "the SYN: NO_SOCKET, and a RST"),
            ("dropped: LISTEN_NOT_SYN", "the ACK: LISTEN_NOT_SYN at C's listener, and a RST"),
            ("dropped: LISTEN_RST", "the RST: LISTEN_RST, and no answer"),
            (
                f"dropped: OUTSIDE_WINDOW, at {mine} of app A",
                "A's: it went to A, as all of that 4-tuple, and was refused",
            ),
            ("dropped: UDP_NO_SOCKET", "the datagram: UDP_NO_SOCKET, and an ICMP port unreachable"),
        ):
            stage.expect(wanted in why, told)
        stage.expect(flags(packets, False).count("R.") + flags(packets, False).count("R") == 2, "two RSTs were sent")

    def a_dies(self) -> None:
        stage = self.stage
        stage.scene("A is killed: its connection is reset, and the others do not notice")
        with stage.watching(PACKETS) as packets:
            self.a.process.kill()
            self.a.process.wait()
            stage.expect(stage.until(lambda: not stage.sockets("A")), "A's socket is gone")
            write(self.client, "still there?")
            self.c.does("recv")
        stage.table()
        stage.expect("R." in flags(packets, False), "the server got a RST")
        stage.expect([row.app for row in stage.sockets() if row.state == "LISTEN"] == ["C"], "C still listens")

    def what_was_learned(self) -> None:
        self.stage.tell(
            f"""
So, for a packet to {HOST}:{PORT}:
   of a connection's 4-tuple      to that connection's socket: A's own, or the one that C accepted
   a SYN, and somebody listens    to the listener: C, never to A or B, who are merely bound
   a SYN, and nobody listens      to nobody: ONLY_BOUND where the port is held, NO_SOCKET where it is not, and a RST
   anything else                  rejected: the reason stands in the capture, and `netemu nstat` counts it"""
        )


# -- small things -------------------------------------------------------------------------------------------------------------


def decided(packets: list[Record], inbound: bool) -> list[str]:
    """What was decided about each packet of one direction, the explanation in parentheses left out."""
    return [re.sub(r" \(.*\)(?=$|, at)", "", record.comment) for record in packets if record.inbound == inbound]


def flags(packets: list[Record], inbound: bool) -> list[str]:
    """The TCP flags of each, in tcpdump's letters."""
    from netemu.wire.describe import describe

    lines = [describe(record.data) for record in packets if record.data is not None and record.inbound == inbound]
    return [found[1] for line in lines if (found := re.search(r"Flags \[(.*?)\]", line))]


def stray(sport: int, bits: int) -> bytes:
    """A TCP segment from ``sport`` of the kernel's side that nobody there has sent."""
    template = Template(parse_address(KERNEL), parse_address(HOST), sport, PORT, 64, 0)
    return bytes(template.packet(Segment(0x1234, 0x5678, bits, 1000), 1, False))


def listens_in_kernel(port: int) -> bool:
    """Is there a listener of this namespace's kernel (proc(5), /proc/net/tcp)?"""
    with open(f"/proc/{os.getpid()}/net/tcp") as lines:
        return any(fields[1].endswith(f":{port:04X}") and fields[3] == "0A" for fields in map(str.split, lines))

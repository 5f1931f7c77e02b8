"""Why a packet goes where it goes: every candidate with its reason. (tests/property/test_why_agrees.py: that it is so.)"""

from __future__ import annotations

import pytest
from stack_bench import HOST, HOST6, PEER, Bench, tcp, udp

from netemu.stack import constants as so
from netemu.stack.craft import craft, wanted
from netemu.stack.stream_socket import StreamSocket
from netemu.stack.verdict import Verdict
from netemu.stack.why import why, why_sent
from netemu.wire.packet import Packet
from netemu.wire.tcp import ACK, FIN, PSH, RST, SYN


def ask(bench: Bench, packet: bytes) -> Verdict:
    return why(bench.host, Packet(packet), bench.now)


def reasons(verdict: Verdict) -> dict[str, str]:
    return {candidate.socket: candidate.reason for candidate in verdict.candidates}


def test_the_story() -> None:
    """A and B merely bound 12345, C listens there: who gets a SYN, and what a segment of A's own connection does."""
    bench = Bench()
    a, b, c = (bench.tcp(app=app, reuseport=True) for app in "ABC")
    for socket in (a, b, c):
        socket.bind((HOST, 12345))
    c.listen()
    verdict = ask(bench, tcp(SYN, dport=12345))
    assert (verdict.socket, verdict.app, verdict.reason) == ("s3", "C", "LISTEN_SPECIFIC")
    assert [candidate.socket for candidate in verdict.candidates] == ["s3", "s1", "s2"]
    assert reasons(verdict) == {
        "s3": "on exactly this address and port",
        "s1": "bound only, not in LISTEN",
        "s2": "bound only, not in LISTEN",
    }
    assert [answer.kind for answer in verdict.answers] == ["SYN-ACK"]
    syn = bench.connecting(a, 80)
    verdict = ask(bench, tcp(SYN | ACK, 5, syn.segment.seq + 1, sport=80, dport=12345))
    assert (verdict.socket, verdict.reason, verdict.answers[0].kind) == ("s1", "CONNECTION", "ACK")
    assert verdict.effects == ["the connection goes from SYN-SENT to ESTABLISHED"]
    assert reasons(verdict)["s3"] == "a connection's 4-tuple comes before every listener"
    assert reasons(ask(bench, tcp(SYN, dport=12345)))["s1"] == "connected: gets what comes from 198.18.0.1:80 only"


def test_listeners_from_best_to_worst() -> None:
    bench = Bench()
    listeners = []
    for family, address, only in (
        (so.AF_INET6, "::", False),
        (so.AF_INET, "", False),
        (so.AF_INET6, f"::ffff:{HOST}", False),
        (so.AF_INET, HOST, False),
        (so.AF_INET6, "::", True),
        (so.AF_INET6, HOST6, False),
        (so.AF_INET, "127.0.0.1", False),
    ):
        socket = bench.tcp(family, reuseport=True, v6only=only)
        socket.bind((address, 80))
        socket.listen()
        listeners.append(socket)
    lo = bench.tcp(reuseport=True)
    lo.setsockopt(so.SOL_SOCKET, so.SO_BINDTODEVICE, b"lo")
    lo.bind(("", 80))
    lo.listen()
    verdict = ask(bench, tcp(SYN))
    assert [candidate.socket for candidate in verdict.candidates[:4]] == ["s4", "s3", "s2", "s1"]
    assert reasons(verdict) == {
        "s4": "on exactly this address and port",
        "s3": "dual stack loses to AF_INET",
        "s2": "a wildcard loses to a specific address",
        "s1": "a wildcard loses to a specific address",
        "s5": "v6only: it takes no IPv4",
        "s6": "bound to an IPv6 address",
        "s7": "bound to another address",
        "s8": "bound to another device (lo)",
    }
    for socket in listeners[2:4]:
        socket.close()
    verdict = ask(bench, tcp(SYN))
    assert (verdict.socket, verdict.reason) == ("s2", "LISTEN_WILDCARD")
    assert reasons(verdict)["s1"] == "dual stack loses to AF_INET"
    verdict = ask(bench, tcp(SYN, src="2001:2::1", dst=HOST6))
    assert verdict.socket == "s6"
    assert reasons(verdict)["s2"] == "an IPv4 socket"


def test_a_group_has_its_hash_and_index() -> None:
    bench = Bench()
    members = [bench.listen(reuseport=True) for _ in range(3)]
    seen = set()
    for port in range(40000, 40020):
        verdict = ask(bench, tcp(SYN, sport=port))
        winner, *others = verdict.candidates
        assert winner.wins
        start, _, index = winner.reason.rpartition(" index ")
        assert start.startswith("on exactly this address and port, one of a group of 3: hash 0x")
        assert members[int(index)].id == int(winner.socket[1:])
        assert all(
            other.reason.startswith("another member of its group was chosen; its own index is") for other in others
        )
        seen.add(winner.socket)
    assert len(seen) == 3


def test_a_selector_is_asked_and_not_moved_on() -> None:
    bench = Bench()
    members = [bench.listen(reuseport=True) for _ in range(2)]
    members[0].set_selector("round-robin")
    for _ in range(3):
        verdict = ask(bench, tcp(SYN))
        assert verdict.socket == "s1"
        assert "round-robin chose index 0" in verdict.candidates[0].reason
    bench.give(tcp(SYN))
    assert ask(bench, tcp(SYN, sport=40001)).socket == "s2"


def test_a_listener_that_asks_its_app_first() -> None:
    bench = Bench()
    bench.listen().setsockopt(so.SOL_NETEMU, so.HOLD_SYNACK, 1)
    verdict = ask(bench, tcp(SYN))
    assert (verdict.reason, verdict.answers) == ("LISTEN_SPECIFIC", [])
    assert verdict.effects[1] == "no answer yet: its app is asked first (HOLD_SYNACK)"


def test_datagrams() -> None:
    bench = Bench()
    wild, exact, connected = bench.udp(reuseaddr=True), bench.udp(reuseaddr=True), bench.udp(reuseaddr=True)
    wild.bind(("", 7))
    exact.bind((HOST, 7))
    connected.bind((HOST, 7))
    connected.connect((PEER, 40000))
    assert reasons(ask(bench, udp())) == {
        "s3": "connected to exactly this sender",
        "s2": "a socket connected to the sender comes first",
        "s1": "a socket connected to the sender comes first",
    }
    verdict = ask(bench, udp(sport=40001))
    assert (verdict.socket, verdict.reason, verdict.answers) == ("s2", "UDP_SPECIFIC", [])
    assert reasons(verdict) == {
        "s2": "on exactly this address and port",
        "s1": "a wildcard loses to a specific address",
        "s3": "connected: gets what comes from 198.18.0.1:40000 only",
    }
    verdict = ask(bench, udp(dport=9))
    assert (verdict.reason, [answer.kind for answer in verdict.answers]) == ("UDP_NO_SOCKET", ["ICMP port unreachable"])


@pytest.mark.parametrize(
    ("flags", "kind", "reason"),
    [(RST, None, "LISTEN_RST"), (ACK, "RST", "LISTEN_NOT_SYN"), (FIN, None, "LISTEN_NOT_SYN")],
)
def test_what_is_no_syn(flags: int, kind: str | None, reason: str) -> None:
    bench = Bench()
    bench.listen()
    verdict = ask(bench, tcp(flags))
    assert (verdict.kind, verdict.reason, verdict.socket) == ("drop", reason, "s1")
    assert [answer.kind for answer in verdict.answers] == ([kind] if kind else [])


def test_of_a_connection() -> None:
    bench = Bench()
    socket, peer = bench.connected()
    assert isinstance(socket, StreamSocket)
    bench.wait(1)
    for _ in range(20):  # past the time of quick acknowledgements
        peer.send(ACK | PSH, b"x")
    socket.recv(100)
    verdict = ask(bench, peer.made(ACK | PSH, data=b"12345"))
    assert verdict.answers == []
    assert verdict.effects[0] == "5 bytes for the app to read"
    assert verdict.effects[1].startswith("an ACK follows within ")
    verdict = ask(bench, peer.made(FIN | ACK))
    assert verdict.effects[0] == "the connection goes from ESTABLISHED to CLOSE-WAIT"
    verdict = ask(bench, peer.made(RST))
    assert verdict.effects[1] == "a connection ends: RESET_BY_PEER (the peer sent a RST)"
    verdict = ask(bench, peer.made(RST, peer.snd_nxt + 5))
    assert (verdict.reason, verdict.answers[0].kind) == ("RST_CHALLENGED", "challenge ACK")
    bench.give(peer.made(RST, peer.snd_nxt + 5))
    bench.take()
    verdict = ask(bench, peer.made(RST, peer.snd_nxt + 5))
    assert verdict.answers == []
    assert verdict.effects == ["no challenge ACK: one was sent a moment ago (RFC 5961 section 7)"]
    assert socket.state_name == "ESTABLISHED"


def test_a_crafted_segment_is_as_the_peer_would_send_it() -> None:
    bench = Bench()
    bench.connected()
    socket, _ = bench.connected(81, 40001)
    end = f"{PEER}:81", f"{HOST}:{socket.lport}"
    for words, reason, kinds in (
        ({}, "CONNECTION", []),
        ({"length": 3}, "CONNECTION", ["ACK"]),
        ({"flags": "F."}, "CONNECTION", ["ACK"]),
        ({"flags": "R"}, "CONNECTION", []),
        ({"flags": "S"}, "SYN_CHALLENGED", ["challenge ACK"]),
        ({"seq": 77, "flags": "."}, "OUTSIDE_WINDOW", ["ACK"]),
        ({"ack": 1 << 31, "flags": "."}, "BAD_ACK", ["challenge ACK"]),
    ):
        packet = craft(bench.host, wanted("tcp", *end, **words), bench.now)
        verdict = why(bench.host, packet, bench.now)
        assert (verdict.reason, [answer.kind for answer in verdict.answers]) == (reason, kinds), words


def test_what_was_sent() -> None:
    bench = Bench()
    socket = bench.tcp(app="A")
    syn = bench.connecting(socket)
    verdict = why_sent(bench.host, Packet(syn.raw))
    assert (verdict.direction, verdict.socket, verdict.app) == ("out", "s1", "A")
    assert verdict.effects == ["this 4-tuple is now that of a connection in SYN-SENT"]
    assert why_sent(bench.host, Packet(udp(src=HOST, dst=PEER))).effects == ["no UDP socket has this port now"]
    assert why_sent(bench.host, Packet(b"\x45")).effects == ["it has no ports that belong to a socket"]


def test_what_comes_as_far_as_no_socket() -> None:
    bench = Bench()
    bench.listen()
    broken = bytearray(tcp(SYN))
    broken[-1] ^= 1
    for packet, reason in (
        (bytes(broken), "BAD_TCP_CHECKSUM"),
        (tcp(SYN, dst="198.18.0.99"), "NOT_FOR_US"),
        (b"", "TRUNCATED"),
    ):
        verdict = ask(bench, packet)
        assert (verdict.reason, verdict.candidates, verdict.answers, verdict.socket) == (reason, [], [], "")

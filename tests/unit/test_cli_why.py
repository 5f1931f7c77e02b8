"""`netemu why`: questions in words, captured frames, and what is printed."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from instance_fake import NS, Served, served
from stack_bench import HOST, HOST6, PEER, PEER6, tcp, udp

from netemu.apps.base import UsageError
from netemu.capture.frames import FrameError, read_frame
from netemu.capture.pcapng import PcapngWriter
from netemu.cli import main
from netemu.runtime.client import Client
from netemu.runtime.messages import Question
from netemu.stack.craft import flags_of, wanted
from netemu.wire.ip import parse_address
from netemu.wire.tcp import ACK, FIN, PSH, RST, SYN, URG

SYN_TO_80 = tcp(SYN, 7)
ETHERNET_HEADER = bytes(12) + b"\x08\x00"


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NETEMU_DIR", str(tmp_path))
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("NETEMU_NAME", raising=False)
    return tmp_path


@pytest.fixture
def server(base: Path) -> Iterator[Served]:
    (base / "netemu0").mkdir()
    with served(base / "netemu0" / "control.sock") as running:
        yield running


# -- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("S", SYN), ("s.", SYN | ACK), ("SA", SYN | ACK), ("FPU", FIN | PSH | URG), ("R", RST), (".", ACK),
        ("syn", SYN), ("syn,ack", SYN | ACK), ("RST,ACK", RST | ACK), ("push,ack", PSH | ACK), ("fin", FIN),
    ],
)  # fmt: skip
def test_flags(text: str, bits: int) -> None:
    assert flags_of(text) == bits


def test_a_question() -> None:
    want = wanted("tcp", "[2001:2::1]:5000", "[2001:2::2]:80", "S", 7, None, 3)
    assert (want.src, want.sport, want.dst, want.dport) == (parse_address(PEER6), 5000, parse_address(HOST6), 80)
    assert (want.flags, want.seq, want.ack, want.length) == (SYN, 7, None, 3)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("icmp", f"{PEER}:1", f"{HOST}:1"), "'icmp' is no protocol: tcp or udp"),
        (("tcp", PEER, f"{HOST}:1"), "SRC: '198.18.0.1' is not ADDRESS:PORT"),
        (("tcp", f"{PEER}:1", f"{HOST}:65536"), "DST: '198.18.0.2:65536' is not ADDRESS:PORT"),
        (("tcp", f"{PEER6}:1", f"[{HOST6}]:1"), "SRC: '2001:2::1:1' is not ADDRESS:PORT"),
        (("tcp", f"[{PEER}]:1", f"{HOST}:1"), "is not ADDRESS:PORT"),
        (("tcp", f"{PEER}:1", f"[{HOST6}]:1"), "are not of one family"),
        (("tcp", f"{PEER}:1", f"{HOST}:1", "SX"), "--flags: 'X' is no flag"),
        (("udp", f"{PEER}:1", f"{HOST}:1", "S"), "a UDP datagram has no flags"),
        (("tcp", f"{PEER}:1", f"{HOST}:1", "", None, None, 60_001), "a payload of 60001 bytes"),
    ],
)
def test_wrong_questions(arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # what it says is checked below
        wanted(*arguments)  # type: ignore[arg-type]  # numbers among them
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


# -- frames ----------------------------------------------------------------------------------------------------------


def own(*packets: tuple[bytes, bool, str], snaplen: int = 65535) -> io.BytesIO:
    file = io.BytesIO()
    writer = PcapngWriter(file, "netemu0", snaplen)
    for number, (data, inbound, comment) in enumerate(packets):
        writer.packet(data, NS + number, inbound, comment)
    writer.close()
    file.seek(0)
    return file


def pcap(linktype: int, *frames: bytes, order: str = "<", magic: int = 0xA1B2C3D4) -> io.BytesIO:
    out = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, linktype)
    for number, data in enumerate(frames):
        out += struct.pack(f"{order}IIII", 1_700_000_000, number, len(data), len(data) + 5) + data
    return io.BytesIO(out)


def test_a_frame_of_our_own_pcapng() -> None:
    file = own((SYN_TO_80, True, "delivered"), (b"\x45" + bytes(99), False, "sent"), snaplen=60)
    frame = read_frame(file, 2)
    assert (frame.data, frame.length) == (b"\x45" + bytes(59), 100)
    assert (frame.comment, frame.inbound, frame.wall_ns) == ("sent", False, NS + 1)
    file.seek(0)
    with pytest.raises(FrameError, match="there is no frame 3 in it"):
        read_frame(file, 3)


def test_a_cut_file() -> None:
    whole = own((SYN_TO_80, True, "")).getvalue()
    with pytest.raises(FrameError, match="ends within a block"):
        read_frame(io.BytesIO(whole[:140]), 1)


@pytest.mark.parametrize(
    ("linktype", "header"),
    [
        (101, b""), (12, b""), (0, bytes(4)), (1, ETHERNET_HEADER), (1, bytes(12) + b"\x81\0\0\5\x08\0"),
        (113, bytes(14) + b"\x08\0"), (276, b"\x08\0" + bytes(18)),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("order", "magic"), [("<", 0xA1B2C3D4), (">", 0xA1B2C3D4), ("<", 0xA1B23C4D)])
def test_frames_of_pcap_files(linktype: int, header: bytes, order: str, magic: int) -> None:
    frame = read_frame(pcap(linktype, b"junk", header + SYN_TO_80, order=order, magic=magic), 2)
    assert (frame.data, frame.length) == (SYN_TO_80, len(SYN_TO_80) + 5)
    assert (frame.inbound, frame.comment) == (None, "")
    assert frame.wall_ns == 1_700_000_000_000_000_000 + (1 if magic == 0xA1B23C4D else 1000)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (pcap(1, bytes(12) + b"\x08\x06" + bytes(30)), "the frame is not IP"),
        (pcap(276, b"\x08\x06" + bytes(30)), "the frame is not IP"),
        (pcap(105, bytes(30)), "link type 105 is not known"),
        (io.BytesIO(b"neither pcap nor pcapng"), "no capture that can be read"),
        (io.BytesIO(), "no capture that can be read"),
    ],
)
def test_frames_that_cannot_be_used(file: io.BytesIO, says: str) -> None:
    with pytest.raises(FrameError) as caught:
        read_frame(file, 1)
    assert says in str(caught.value)


def test_others_pcapng() -> None:
    """As another program would have written it: read by scapy, with comment and direction where they are."""
    theirs = own((b"\x45", True, ""), (SYN_TO_80, False, "a remark")).getvalue().replace(b"netemu 0", b"dumper 0", 1)
    frame = read_frame(io.BytesIO(theirs), 2)
    assert frame.data == SYN_TO_80
    assert (frame.length, frame.comment, frame.inbound) == (len(SYN_TO_80), "a remark", False)
    assert frame.wall_ns == NS + 1


# -- the verb --------------------------------------------------------------------------------------------------------


def test_a_syn_for_a_listener(server: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "tcp", f"{PEER}:40000", f"{HOST}:80", "--flags", "S", "--seq", "7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "198.18.0.1:40000 > 198.18.0.2:80 Flags [S], seq 7, win 64240, options [mss 1460], length 0",
        "goes to s1 of app http by LISTEN_WILDCARD (a SYN to a listener on this port of any address)",
        "    Socket  App   State   Local Address:Port  Peer Address:Port  Why",
        "=>  s1      http  LISTEN  0.0.0.0:80          0.0.0.0:*          on this port of any address",
    ]
    assert lines[4] == "effect: a connection begins, in SYN-RECEIVED"
    assert lines[5].startswith(
        "answer: SYN-ACK  198.18.0.2:80 > 198.18.0.1:40000 Flags [S.], seq chosen when it is sent"
    )
    assert len(lines) == 6


def test_nobody_there(server: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "udp", f"{PEER}:40000", f"{HOST}:80", "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert (verdict["kind"], verdict["reason"], verdict["socket"]) == ("drop", "UDP_NO_SOCKET", "")
    assert [answer["kind"] for answer in verdict["answers"]] == ["ICMP port unreachable"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "PROTO SRC DST are missing"),
        (["tcp", f"{PEER}:1"], "PROTO SRC DST are missing"),
        (["--pcap", "x"], "--pcap FILE and --frame N go together"),
        (["tcp", "a", "b", "--pcap", "x", "--frame", "1"], "either PROTO SRC DST or"),
        (["tcp", "a:1", f"{HOST}:1"], "SRC: 'a:1' is not ADDRESS:PORT"),
    ],
)
def test_wrong_usage(server: Served, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", *arguments]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


def test_no_instance_and_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "tcp", f"{PEER}:1", f"{HOST}:1"]) == 1
    assert main(["why", "--pcap", "/no/such", "--frame", "1"]) == 1
    assert capsys.readouterr().err.splitlines()[1] == "netemu: --pcap /no/such: No such file or directory"


@pytest.fixture
def captured(tmp_path: Path) -> str:
    path = tmp_path / "out.pcapng"
    answer = tcp(SYN | ACK, 1, 8, src=HOST, dst=PEER, sport=80, dport=40000)
    packets = (
        (SYN_TO_80, True, "delivered to s1 of app C by LISTEN_WILDCARD"),
        (answer, False, "sent by s1"),
        (udp(b"x"), True, "dropped"),
    )
    path.write_bytes(own(*packets).getvalue())
    return str(path)


def test_a_frame_then_and_now(server: Served, captured: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "--pcap", captured, "--frame", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("frame 1, 22:13:20.000000000 in  198.18.0.1:40000 > 198.18.0.2:80 Flags [S], seq 7")
    assert lines[1:4] == [
        "then: delivered to s1 of app C by LISTEN_WILDCARD (a SYN to a listener on this port of any address)",
        "now: by the table of instance netemu0 as it is now:",
        "goes to s1 of app http by LISTEN_WILDCARD (a SYN to a listener on this port of any address)",
    ]
    assert main(["why", "--pcap", captured, "--frame", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "was sent; no connection has this 4-tuple now"
    assert main(["why", "--pcap", captured, "--frame", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["then"], told["now"]["reason"], told["missing"]) == ("dropped", "UDP_NO_SOCKET", "")


def test_directions_that_the_file_does_not_tell(
    server: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.pcap"
    path.write_bytes(pcap(101, SYN_TO_80, tcp(src=HOST, dst=PEER)).getvalue())
    for number, direction in ((1, "in"), (2, "out")):
        assert main(["why", "--pcap", str(path), "--frame", str(number), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["now"]["direction"] == direction


def test_a_frame_without_an_instance(captured: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "--pcap", captured, "--frame", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == [
        "then: delivered to s1 of app C by LISTEN_WILDCARD (a SYN to a listener on this port of any address)",
        "now: no instance is running: what the table would say now is not known",
    ]
    assert main(["why", "--pcap", captured, "--frame", "1", "--name", "other"]) == 1


# -- the control API -------------------------------------------------------------------------------------------------


def test_the_api_refuses_nonsense(server: Served) -> None:
    client = Client(server.path)
    with pytest.raises(UsageError, match="no protocol"):
        client.why(Question("sctp", f"{PEER}:1", f"{HOST}:1"))
    with pytest.raises(UsageError, match="length"):
        client.why_packet(SYN_TO_80, 3, False)
    with pytest.raises(UsageError, match="protocol"):
        client._ask("GET", "/why", Question)
    assert client.why_packet(SYN_TO_80, len(SYN_TO_80), False).reason == "LISTEN_WILDCARD"
    assert client.why_packet(b"", 0, False).reason == "TRUNCATED"

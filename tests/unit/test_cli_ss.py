"""`netemu ss`: its filters, columns and --watch."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from instance_fake import Served, eventually, served
from stack_bench import HOST, Bench

from netemu.apps.base import UsageError
from netemu.cli import main
from netemu.cli import ss as ss_module
from netemu.cli.ssfilter import compile_filter
from netemu.runtime.messages import SocketRow
from netemu.stack import constants as so

COMMAND = [sys.executable, "-m", "netemu"]
ROWS = [
    SocketRow("s1", "C", "tcp", "LISTEN", 0, 128, "0.0.0.0:12345", "0.0.0.0:*", uid=1000, pid=42, program="c"),
    SocketRow("s2", "A", "tcp", "CLOSED", 0, 0, "0.0.0.0:12345", "0.0.0.0:*", uid=1000, pid=43, program="a"),
    SocketRow("s3", "C", "tcp", "ESTABLISHED", 0, 0, "198.18.0.2:12345", "198.18.0.1:40000", pid=42, program="c"),
    SocketRow("-", "C", "tcp", "SYN-RECEIVED", 0, 0, "198.18.0.2:12345", "198.18.0.1:40001"),
    SocketRow("s4", "web", "tcp", "ESTABLISHED", 0, 0, "[::ffff:198.18.0.2]:80", "[::ffff:198.18.0.9]:443"),
    SocketRow("s5", "web", "tcp", "TIME-WAIT", 0, 0, "[2001:2::2]:80", "[2001:2::1]:40002"),
    SocketRow("s6", "dns", "udp", "UNCONN", 0, 0, "*:53", "*:*"),
    SocketRow("s7", "dns", "udp", "ESTAB", 0, 0, "198.18.0.2:5353", "198.18.0.1:53"),
]


def kept(text: str) -> list[str]:
    chosen = compile_filter(text)
    return [row.id for row in ROWS if chosen.keeps(row)]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", ["s1", "s2", "s3", "-", "s4", "s5", "s6", "s7"]),
        ("state listening", ["s1"]),
        ("state listen state closed", ["s1", "s2", "s6"]),
        ("state established", ["s3", "s4", "s7"]),
        ("state connected exclude time-wait", ["s3", "-", "s4", "s7"]),
        ("exclude connected", ["s1", "s2", "s6"]),
        ("state bucket", ["-", "s5"]),
        ("state all exclude listening exclude closed", ["s3", "-", "s4", "s5", "s7"]),
        ("state synchronized sport = :80", ["s4", "s5"]),
        ("sport = :12345", ["s1", "s2", "s3", "-"]),
        ("sport :12345 and dport = :40000", ["s3"]),
        ("sport == 12345 dport eq :40000", ["s3"]),
        ("sport=:12345 && ! dport=:40000", ["s1", "s2", "-"]),
        ("dport = :https", ["s4"]),
        ("dport > :40000", ["-", "s5"]),
        ("dport >= 40000 and dport lt 40002", ["s3", "-"]),
        ("dport != :0", ["s3", "-", "s4", "s5", "s7"]),
        ("src 198.18.0.2", ["s3", "-", "s4", "s7"]),
        ("src = 198.18.0.0/24", ["s3", "-", "s4", "s7"]),
        ("src != 198.18.0.0/24", ["s1", "s2", "s5", "s6"]),
        ("src 198.18.0.2:80", ["s4"]),
        ("dst 2001:2::1", ["s5"]),
        ("dst [2001:2::1]:40002", ["s5"]),
        ("dst [2001:2::]/32", ["s5"]),
        ("src *:53", ["s6"]),
        ("src :53", ["s6"]),
        ("sport = :53 or sport = :80 and dport = :443", ["s4", "s6"]),
        ("( sport = :53 or sport = :80 ) and dport = :443", ["s4"]),
        ("not (sport = :53 | sport = :80) & not sport = :12345", ["s7"]),
    ],
)
def test_filters(text: str, ids: list[str]) -> None:
    assert kept(text) == ids


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("frobnicate", "filter: expected state, exclude, src, dst, sport, dport … but found 'frobnicate'"),
        ("state", "filter: state needs one of all, connected"),
        ("state open", "not 'open'"),
        ("sport =", "filter: 'sport' needs a value"),
        ("sport = :nosuchservice", "filter: sport needs a port from 0 to 65535 or a service, not 'nosuchservice'"),
        ("sport = :65536", "not '65536'"),
        ("src > 1.2.3.4", "filter: src knows = and != only"),
        ("src 1.2.3", "filter: src needs an address, a prefix or :PORT, not '1.2.3'"),
        ("( sport = :1", "filter: a '(' without its ')'"),
        ("sport = :1 )", "filter: expected 'and' or 'or' before ')'"),
        ("sport = :1 and", "but found 'the end'"),
        ("( " * 300, "filter: 300 words are too many"),
    ],
)
def test_wrong_filters_are_one_line(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        compile_filter(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


# -- the verb --------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("NETEMU_DIR", str(tmp_path))
    monkeypatch.delenv("NETEMU_NAME", raising=False)
    (tmp_path / "netemu0").mkdir()
    with served(tmp_path / "netemu0" / "control.sock") as running:
        running.instance.sockets = lambda: ROWS  # type: ignore[method-assign]  # other rows than the fake's
        yield running


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["ss", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_what_is_merely_bound_is_seen_with_its_owner(server: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "-tap", "sport", "=", ":12345") == [
        "Netid  State         Recv-Q  Send-Q  Local Address:Port  Peer Address:Port  App  Socket  Process",
        'tcp    LISTEN             0     128  0.0.0.0:12345       0.0.0.0:*          C    s1      users:(("c",pid=42))',
        'tcp    CLOSED             0       0  0.0.0.0:12345       0.0.0.0:*          A    s2      users:(("a",pid=43))',
        'tcp    ESTABLISHED        0       0  198.18.0.2:12345    198.18.0.1:40000   C    s3      users:(("c",pid=42))',
        "tcp    SYN-RECEIVED       0       0  198.18.0.2:12345    198.18.0.1:40001   C    -",
    ]


def test_by_default_what_has_a_peer(server: Served, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads("\n".join(printed(capsys, "--json")))
    assert [row["id"] for row in rows] == ["s3", "-", "s4", "s5", "s7"]
    assert rows[0]["program"] == "c"
    assert len(printed(capsys, "state", "listening")) == 2  # a state that is named overrides the options
    assert len(printed(capsys, "-l")) == 3


def test_users(server: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "-le", "-t")[1].split()[-3:] == ["C", "s1", "uid:1000"]
    assert printed(capsys, "-lepi", "-t") == [
        's1  C  tcp LISTEN 0.0.0.0:12345 0.0.0.0:*  recv-q 0 send-q 128  uid:1000  users:(("c",pid=42))'
    ]


def test_a_wrong_filter_is_wrong_usage(server: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ss", "sport", "=", ":x!"]) == 2
    assert capsys.readouterr().err.startswith("netemu: filter: sport needs a port")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["--watch"], ["--watch=1"]),
        (["--watch", "state", "all"], ["--watch=1", "state", "all"]),
        (["--watch", "0.5", "-a"], ["--watch", "0.5", "-a"]),
        (["-a", "--watch", "--json"], ["-a", "--watch=1", "--json"]),
        (["--watch=2"], ["--watch=2"]),
    ],
)
def test_watch_may_have_a_number(given: list[str], meant: list[str]) -> None:
    assert list(ss_module.with_interval(given)) == meant


def test_watch_appends_blocks_until_interrupted(server: Served) -> None:
    with subprocess.Popen([*COMMAND, "ss", "--watch", "0.05"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        headers = 0
        for line in process.stdout:
            headers += line.startswith("Netid")
            if headers == 3:
                break
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


def test_watch_redraws_a_terminal(server: Served) -> None:
    terminal, other_end = pty.openpty()
    with subprocess.Popen([*COMMAND, "ss", "--watch", "0.05"], stdout=other_end) as process:
        seen = b""

        def drawn() -> bool:
            nonlocal seen
            seen += os.read(terminal, 65536)
            return seen.count(b"\x1b[H\x1b[2J") >= 2

        eventually(drawn)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    os.close(terminal)
    os.close(other_end)
    assert b"more lines" in seen or b"s7" in seen


# -- the rows --------------------------------------------------------------------------------------------------------


def test_rows_name_process_and_user() -> None:
    bench = Bench()
    socket = bench.host.socket(app="A", uid=1000)
    socket.pid, socket.program = 4711, "nc"
    socket.bind((HOST, 12345))
    row = bench.host.sockets()[0]
    assert (row.state, row.local, row.app, row.uid, row.pid, row.program) == (
        "CLOSED", f"{HOST}:12345", "A", 1000, 4711, "nc",
    )  # fmt: skip
    socket.listen()
    bench.give(bench.handshake(12345).made(2, 77))
    assert {(row.uid, row.pid, row.program) for row in bench.host.sockets()} == {(1000, 4711, "nc")}


def test_details_name_all_timers_and_both_counts_of_retransmissions() -> None:
    bench = Bench()
    socket, _ = bench.connected()
    socket.setsockopt(so.SOL_SOCKET, so.SO_KEEPALIVE, 1)
    socket.send(b"lost")
    bench.wait(700_000_000)
    row = bench.host.sockets()[0]
    assert (row.info["retransmits"], row.info["total_retransmits"], row.info["pacing"]) == (2, 2, "none")
    assert row.info["timer"] == "retransmit,700ms keepalive,7199300ms"
    text = ss_module.details(row.info)
    assert row.info["last_sent_ms"] == 99  # and some ns: the round trip took one
    assert "  last_sent 99 ms  " in text
    assert f"rcvbuf {1 << 20} B" in text

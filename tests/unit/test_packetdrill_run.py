"""What a script's run finds: every field that differs, every packet too many, every time that is not kept."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from netemu.capture.pcapng import read_blocks
from netemu.cli import main
from netemu.packetdrill.many import run_many, run_script, run_text
from netemu.packetdrill.outcome import Outcome
from netemu.packetdrill.settings import Settings

SCRIPTS = Path(__file__).parents[1] / "packetdrill"
HEAD = """
0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0 < S 0:0(0) win 65535 <mss 1000,sackOK,nop,nop>
+0 > S. 0:0(0) ack 1 <...>
+.1 < . 1:1(0) ack 1 win 65535
+0 accept(3, ..., ...) = 4
"""


def run(tail: str, settings: Settings | None = None) -> Outcome:
    return run_text(HEAD + tail, "script.pkt", settings or Settings())


def failed(tail: str, words: str, settings: Settings | None = None) -> Outcome:
    outcome = run(tail, settings)
    assert outcome.status == "failed", outcome
    assert words in outcome.problem or any(words in line for line in outcome.details), outcome
    return outcome


def marked(outcome: Outcome) -> list[str]:
    """The words of the actual packet that are marked as wrong."""
    actual = next(line for line in outcome.details if line.startswith("  actual:"))
    marks = outcome.details[outcome.details.index(actual) + 1].ljust(len(actual))
    assert "^" in marks, outcome.details
    kept = "".join(c if m == "^" else "\0" for c, m in zip(actual, marks, strict=False))
    return [word for word in kept.split("\0") if word]


def test_a_script_that_holds() -> None:
    outcome = run("+0 write(4, ..., 2500) = 2500\n+0 > P. 1:2501(2500) ack 1")
    assert (outcome.status, outcome.problem) == ("passed", "")


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("> . 1:501(500) ack 1", ["P."]),
        ("> P. 2:502(500) ack 1", ["1:501(500)"]),
        ("> P. 1:401(400) ack 1", ["1:501(500)"]),
        ("> P. 1:501(500) ack 2", ["ack 1"]),
        ("> P. 1:501(500) ack 1 win 7", None),
        ("> P. 1:501(500) ack 1 <nop,nop>", ["<>"]),
        ("> P. 1:501(500) ack 1 urg 1", ["urg 0"]),
        ("> [ce] P. 1:501(500) ack 1", ["[noecn]"]),
        ("> (tos 0x4) P. 1:501(500) ack 1", ["(tos 0x0)"]),
        ("> (ttl 63) P. 1:501(500) ack 1", ["(ttl 64)"]),
        ("> udp (500)", ["P. 1:501(500) ack 1 win"]),
    ],
)
def test_each_field_is_compared_and_the_one_that_differs_is_marked(line: str, wrong: list[str] | None) -> None:
    outcome = failed(f"+0 write(4, ..., 500) = 500\n+0 {line}", "another packet than expected")
    assert outcome.line == 10
    if wrong is not None:
        assert [word[: len(w)] for word, w in zip(marked(outcome), wrong, strict=True)] == wrong


def test_options_are_compared_in_order() -> None:
    head = HEAD.replace("<...>", "<mss 1460,sackOK,nop,nop>")
    outcome = run_text(head, "script.pkt", Settings())
    assert outcome.status == "failed"
    assert marked(outcome) == ["<mss 1460,nop,nop,sackOK>"]
    right = HEAD.replace("<...>", "<mss 1460,nop,nop,sackOK>")
    assert run_text(right, "script.pkt", Settings()).status == "passed"


def test_segments_are_gathered_unless_strict() -> None:
    tail = "+0 write(4, ..., 3000) = 3000\n+0 > P. 1:3001(3000) ack 1"
    assert run(tail).status == "passed"
    assert "1:1001(1000)" in failed(f"--strict_segments\n{tail}", "another packet").details[2]
    tail = "+0 write(4, ..., 3000) = 3000\n+0 > . 1:2001(2000) ack 1\n+0 > P. 2001:3001(1000) ack 1"
    assert run(tail).status == "passed"
    failed("+0 write(4, ..., 3000) = 3000\n+0 > P. 1:2501(2500) ack 1", "another packet")


def test_a_packet_that_no_line_expects() -> None:
    failed("+0 write(4, ..., 10) = 10", "the script has ended, and there is a packet that no line expects")
    failed("+0 write(4, ..., 10) = 10\n+0 close(4) = 0\n+0 > F. 11:11(0) ack 1", "another packet than expected")
    failed("+0 > . 1:1(0) ack 1", "no such packet left the host")


def test_times() -> None:
    write = "+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1\n"
    assert run(f"{write}+.3 > P. 1:11(10) ack 1").status == "passed"
    assert run(f"{write}+.303 > P. 1:11(10) ack 1").status == "passed"
    outcome = failed(f"{write}+.1 > P. 1:11(10) ack 1", "timing: the packet left at 0.400000 s, expected at 0.200000 s")
    assert "tolerance 12.5 ms" in outcome.problem
    assert run(f"{write}+.1~+.35 > P. 1:11(10) ack 1").status == "passed"
    assert run(f"{write}* > P. 1:11(10) ack 1").status == "passed"
    assert run(f"--tolerance_usecs=250000\n{write}+.1 > P. 1:11(10) ack 1").status == "passed"
    assert run(f"--tolerance_percent=300\n{write}+.1 > P. 1:11(10) ack 1").status == "passed"


def test_blocking_calls_return_when_they_can() -> None:
    arrives = "+.2 < P. 1:11(10) ack 1 win 65535\n+0 > . 1:1(0) ack 11"
    assert run(f"+0...0.2 read(4, ..., 100) = 10\n{arrives}").status == "passed"
    failed(f"+0...0.1 read(4, ..., 100) = 10\n{arrives}", "timing: read returned at 0.300000 s, expected at 0.200000 s")
    failed(f"+0...0.2 read(4, ..., 100) = 9\n{arrives}", "read returned something else")
    failed("+0 read(4, ..., 100) = 10", "read blocks")
    failed("+0...0.1 read(4, ..., 100) = 10", "read never returns")


def test_results_and_errnos() -> None:
    failed("+0 write(4, ..., 10) = 11", "write returned something else")
    failed("+0 bind(4, ..., ...) = 0", "EINVAL")
    assert run("+0 bind(4, ..., ...) = -1 EINVAL (Invalid argument)").status == "passed"
    failed("+0 bind(4, ..., ...) = -1 EBADF (Bad file descriptor)", "EINVAL")
    assert run("+0 bind(9, ..., ...) = -1 EBADF (Bad file descriptor)").status == "passed"
    failed("+0 listen(3, 1) = -1 EINVAL (Invalid argument)", "listen returned something else")
    assert run("+0 getsockopt(4, SOL_SOCKET, SO_TYPE, [SOCK_STREAM], [4]) = 0").status == "passed"
    failed("+0 getsockopt(4, SOL_SOCKET, SO_TYPE, [SOCK_DGRAM], [4]) = 0", "SO_TYPE 2")


def test_python_sees_tcp_info() -> None:
    assert (
        run("+0 %{ assert tcpi_snd_cwnd == 10, tcpi_snd_cwnd\nassert tcpi_state == TCP_ESTABLISHED }%").status
        == "passed"
    )
    outcome = failed("+0 %{ assert tcpi_snd_cwnd == 11, tcpi_snd_cwnd }%", "the assertion does not hold")
    assert "  it is 10" in outcome.details
    assert run("+0 %{ print(tcpi_snd_mss) }%").printed == ["1000"]
    failed("+0 %{ 1/0 }%", "ZeroDivisionError")
    failed("+0 %{ assert }%", "not valid")
    assert run("+0 %{ x = 7 }%\n+0 %{ assert x == 7 }%").status == "passed"


def test_commands() -> None:
    assert run("`sysctl -q net.ipv4.tcp_syn_retries=2`").status == "passed"
    off = "`./set_sysctls.py /proc/sys/net/ipv4/tcp_sack=0`" + HEAD.replace("<...>", "<mss 1460>")
    assert run_text(off, "s.pkt", Settings()).status == "passed"
    for command in ("curl http://192.0.2.1/", "sysctl net.ipv4.tcp_nonsense=1", "ss -tn | awk '{print}'"):
        outcome = run(f"`{command}`")
        assert (outcome.status, outcome.line) == ("not run", 9), outcome
    assert run("+0 `nstat -az | grep -q TcpPassiveOpens`").status == "passed"
    failed("+0 `ss -tan | grep -q FIN-WAIT-1`", "the command failed")
    assert run("+0 `ss -tan | grep -q ESTAB`").status == "passed"
    assert run("+0 nonsense(4) = 0").status == "not run"
    assert run("+0 setsockopt(4, SOL_SOCKET, SO_NONSENSE, [1], 4) = 0").status == "not run"


def test_defaults_are_sourced(tmp_path: Path) -> None:
    (tmp_path / "defaults.sh").write_text("#!/bin/bash\n# off\nsysctl -q net.ipv4.tcp_sack=0 > /dev/null 2>&1\n")
    script = tmp_path / "a.pkt"
    script.write_text("`./defaults.sh`" + HEAD.replace("<...>", "<mss 1460>"))
    assert run_script(str(script), Settings()).status == "passed"
    (tmp_path / "defaults.sh").write_text("reboot\n")
    assert run_script(str(script), Settings()).status == "not run"


def test_defines_and_options() -> None:
    assert run("--define KIND=SOCK_STREAM\n+0 getsockopt(4, SOL_SOCKET, SO_TYPE, [KIND], [4]) = 0").status == "passed"
    assert "no such option" in run("--nonsense=1\n").problem
    assert run("--mtu=abc\n").line == 9


@pytest.mark.parametrize(
    "line",
    [
        "+0 < . 1:1(0) ack 1 win 99999",
        "+0 < S 0:0(0) win 1 <mss 99999>",
        "+0 < . 1:70001(70000) ack 1 win 1",
        "+0 < . 1:4294967295(4294967294) ack 1 win 1",
        "+0 < udp (4294967295)",
        "+0 write(4, ..., -5) = 0",
        '+0 bind(3, {sa_family=AF_INET, sin_port=htons(70000), sin_addr=inet_addr("192.168.0.1")}, ...) = 0',
        '+0 bind(3, {sa_family=AF_INET, sin_port=htons(7), sin_addr=inet_addr("1.2.3")}, ...) = 0',
        "+0 write(4) = 0",
        '+0 read(4, ..., "x") = 0',
        "+0 poll([{fd=4}], 1) = 0",
        "+0 recvmsg(4, 5, 0) = 0",
        "+0 < icmp nonsense",
        "+0 < icmp unreachable nonsense",
        "+0 < . 1:1(0) ack 1 win 1 <nop>",
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(line: str) -> None:
    outcome = run(line)
    assert outcome.status == "failed"
    assert outcome.line == 9
    assert outcome.problem
    assert "\n" not in outcome.problem


def test_whatever_a_script_says_it_has_an_outcome() -> None:
    """Scripts of our own with lines lost, doubled, moved, and numbers and words changed."""
    random = Random(5)
    scripts = [path.read_text().split("\n") for path in sorted(SCRIPTS.rglob("*.pkt"))]
    assert len(scripts) >= 150
    found = Counter[str]()
    for _ in range(150):
        lines = list(random.choice(scripts))
        for _ in range(random.randint(1, 4)):
            mutate(lines, random.choice(scripts), random)
        outcome = run_text("\n".join(lines), "script.pkt", Settings())
        assert outcome.status == "passed" or outcome.problem
        assert "bug in netemu" not in outcome.problem
        found[outcome.status] += 1
    assert found["failed"] > 50
    assert found["passed"]


def mutate(lines: list[str], others: list[str], random: Random) -> None:
    at = random.randrange(len(lines))
    match random.randrange(5):
        case 0 if len(lines) > 1:
            del lines[at]
        case 1:
            lines.insert(at, random.choice(lines))
        case 2:
            lines.insert(at, random.choice(others))
        case 3:
            numbers = ["0", "1", "4294967295", "65535", "-3", "1000"]
            lines[at] = re.sub(r"\d+", lambda old: random.choice([old[0], *numbers]), lines[at])
        case _:
            random.shuffle(lines)


def test_the_packets_of_a_failed_script_are_kept(tmp_path: Path) -> None:
    script = tmp_path / "bad.pkt"
    script.write_text(HEAD + "+0 > . 1:1(0) ack 1")
    outcome = run_script(str(script), Settings(), str(tmp_path))
    with open(outcome.pcap, "rb") as file:
        packets = [record for record in read_blocks(file.read) if record.data is not None]
    assert [record.inbound for record in packets] == [True, False, True]
    assert packets[0].comment == "LISTEN_SPECIFIC"
    assert packets[-1].wall_ns == 100_000_000
    assert any("last packet in: CONNECTION" in line for line in outcome.details)


def test_many_at_a_time_come_in_order(tmp_path: Path) -> None:
    paths = []
    for number in range(12):
        path = tmp_path / f"{number:02}.pkt"
        path.write_text(HEAD + ("+0 > . 1:1(0) ack 1" if number % 3 == 0 else ""))
        paths.append(str(path))
    outcomes = list(run_many(paths, Settings(), None, 2))
    assert [o.path for o in outcomes] == paths
    assert [o.status for o in outcomes] == ["failed", "passed", "passed"] * 4


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, odd = tmp_path / "good.pkt", tmp_path / "bad.pkt", tmp_path / "odd.pkt"
    good.write_text(HEAD)
    bad.write_text(HEAD + "+0 write(4, ..., 1) = 1")
    odd.write_text(HEAD + "`reboot`")
    where = ["--pcap-dir", str(tmp_path)]
    assert main(["packetdrill", *where, str(good)]) == 0
    assert capsys.readouterr().out == ""
    assert main(["packetdrill", *where, "--ip_version=ipv6", "-D", "A=1", str(good)]) == 0
    assert main(["packetdrill", *where, str(bad)]) == 1
    assert "no line expects" in capsys.readouterr().out
    assert main(["packetdrill", *where, str(odd)]) == 1
    assert "not run: the command 'reboot' is not known" in capsys.readouterr().out
    assert main(["packetdrill", *where, str(tmp_path)]) == 1
    assert "3 scripts: 1 passed, 1 failed, 1 not run" in capsys.readouterr().out
    assert main(["packetdrill", *where, "--json", str(tmp_path)]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["summary"] == {"passed": 1, "failed": 1, "not run": 1}
    assert main(["packetdrill", "--verbose", *where, str(good)]) == 0
    assert "line 5: +0 < S 0:0(0)" in capsys.readouterr().out
    assert main(["packetdrill", "--nonsense=1", str(good)]) == 2
    assert main(["packetdrill", str(tmp_path / "nowhere.pkt")]) == 1
    assert "Traceback" not in capsys.readouterr().err

"""Captures of real traffic, judged by tshark: nothing malformed, no bad checksum, a decision on every packet."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from emulated import ADDRESS4, ADDRESS6, NETEMU, Emulated, emulated, scratch, until
from netns import PATIENCE, Namespace

pytestmark = pytest.mark.e2e

VALIDATE = [
    word
    for protocol in ("ip", "tcp", "udp")
    for word in ("-o", f"{protocol}.check_checksum:TRUE")
]  # fmt: skip
FAULTS = (
    "_ws.malformed || _ws.expert.group == Malformed || _ws.expert.group == Checksum || _ws.expert.severity == Error"
    ' || ip.checksum.status == "Bad" || tcp.checksum.status == "Bad" || udp.checksum.status == "Bad"'
    ' || icmp.checksum.status == "Bad" || icmpv6.checksum.status == "Bad"'
)


def tshark(path: Path, *options: str) -> list[str]:
    done = subprocess.run(
        ["tshark", "-n", "-r", str(path), *VALIDATE, *options], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def fields(path: Path, *names: str, where: str = "") -> list[list[str]]:
    options = ["-T", "fields", *(word for name in names for word in ("-e", name)), *(["-Y", where] if where else [])]
    return [line.split("\t") for line in tshark(path, *options)]


def output_while(reader: subprocess.Popen[str], act: Callable[[], object]) -> str:
    """All that the reader of a capture prints; ``act`` goes on until it has ended, since nothing tells when it began."""
    deadline = time.monotonic() + PATIENCE
    while reader.poll() is None:
        assert time.monotonic() < deadline
        act()
    return reader.communicate()[0]


def traffic(host: Emulated, root: Path) -> None:
    """Something of everything."""

    def run(line: str) -> None:
        host.namespace.run("sh", "-c", line, timeout=PATIENCE)

    source = root / "source"
    source.write_bytes(bytes(300_000))
    for address, curl in ((ADDRESS4, ADDRESS4), (ADDRESS6, f"[{ADDRESS6}]")):
        run(f"curl -sSg --fail -o /dev/null 'http://{curl}/bytes/1M'")
        run(f"curl -sSg --fail -T {source} 'http://{curl}:8080/upload'")
        run(f"echo hello | nc.openbsd -N {address} 7; nc.openbsd {address} 13 </dev/null")
        run(f"nc.openbsd {address} 19 </dev/null | head -n 1000 >/dev/null")
        run(f"echo hello | nc.openbsd -u -w 1 {address} 7 & echo hello | nc.openbsd -u -w 1 {address} 13; wait")
        run(f"nc.openbsd {address} 4444 </dev/null || true")
        run(f"(echo hello; sleep 0.2) | ncat -u {address} 4444 2>/dev/null || true")
        run(f"ping -q -c 2 -i 0.1 {address}; ping -q -c 2 -i 0.1 -s 20001 {address}")


def check(path: Path) -> None:
    assert tshark(path, "-Y", FAULTS) == []
    packets = fields(path, "frame.packet_flags_direction", "frame.comment", "_ws.col.Protocol", "frame.time_epoch")
    assert len(packets) > 150
    directions = {direction: [p for p in packets if int(p[0], 0) == direction] for direction in (1, 2)}
    assert sum(map(len, directions.values())) == len(packets), "each has its direction"
    assert all(comment for _, comment, _, _ in packets), "each has its decision"
    for direction, comments in (
        (1, ["delivered to s1 of app http by LISTEN", "by CONNECTION", "ICMP_ECHO", "dropped: NO_SOCKET", "FRAGMENT"]),
        (2, ["of app http", "of app files", "of app echo", "of app chargen", "of app daytime", "NO_SOCKET"]),
    ):
        said = "\n".join(comment for _, comment, _, _ in directions[direction])
        for comment in comments:
            assert comment in said
    assert {"TCP", "HTTP", "UDP", "ICMP", "ICMPv6"} <= {p[2] for p in packets}
    times = [float(p[3]) for p in packets]
    assert times == sorted(times)


@pytest.mark.parametrize("options", [(), ("--no-offload",)], ids=["offload", "no-offload"])
def test_captures_of_everything(netns: Namespace, options: tuple[str, ...]) -> None:
    """A file from the start, and one of a running instance, which ends at ^C."""
    with scratch() as root, scratch() as files:
        whole, live = files / "whole.pcapng", files / "live.pcapng"
        app = f"files=http:8080,root={root},write=yes"
        with emulated(netns, "--pcap", str(whole), "--app", app, *options) as host:
            capture = netns.start("env", f"NETEMU_NAME={host.name}", NETEMU, "capture", "-w", str(live))
            until(live.exists)
            until(lambda: live.stat().st_size)
            traffic(host, root)
            capture.send_signal(signal.SIGINT)
            assert capture.wait(PATIENCE) == 0
            assert capture.stderr is not None
            assert "packets captured, 0 dropped" in capture.stderr.read()
        for path in (live, whole):
            check(path)
        assert len(tshark(live)) == pytest.approx(len(tshark(whole)), abs=30)


def test_tshark_would_see_a_bad_checksum(netns: Namespace) -> None:
    """The control: one bit of a payload turned over, and the filter of the test above finds that packet."""
    with scratch() as files:
        path = files / "one.pcapng"
        with emulated(netns, "--pcap", str(path)):
            netns.run("sh", "-c", f"echo needle | nc.openbsd -N {ADDRESS4} 7")
        assert tshark(path, "-Y", FAULTS) == []
        spoilt = path.read_bytes().replace(b"needle", b"noodle", 1)
        path.write_bytes(spoilt)
        assert len(tshark(path, "-Y", FAULTS)) == 1


def test_capture_to_a_pipe(netns: Namespace) -> None:
    """`capture -w -`, as one pipes it into wireshark; here tshark reads it while it grows."""
    with emulated(netns) as host:
        line = f"NETEMU_NAME={host.name} {NETEMU} capture -c 6 -w - 'icmp' 2>/dev/null | tshark -r - -n 2>/dev/null"
        reader = netns.start("sh", "-c", line)
        out = output_while(reader, lambda: netns.run("ping", "-q", "-c", "1", ADDRESS4))
        assert len(out.splitlines()) == 6
        assert "Echo (ping) reply" in out


def test_a_capture_as_text(netns: Namespace) -> None:
    with emulated(netns) as host:
        reader = netns.start("env", f"NETEMU_NAME={host.name}", NETEMU, "capture", "-c", "2", "tcp port 4444")
        out = output_while(reader, lambda: netns.run("nc.openbsd", ADDRESS4, "4444", check=False))
        syn, reset = out.splitlines()
        assert " in " in syn
        assert "[dropped: NO_SOCKET" in syn
        assert " out " in reset
        assert "[sent: NO_SOCKET" in reset


def test_a_full_disk_under_a_capture(netns: Namespace) -> None:
    """The capture ends at its last whole packet, and says so; the stack goes on."""
    with scratch() as files:
        keep = files / "kept.pcapng"
        small = files / "small"
        small.mkdir()
        mount = f'mount -t tmpfs -o size=256k tmpfs {small} && "$@"; s=$?; cp {small}/x.pcapng {keep}; exit $s'
        wrap = ["unshare", "--mount", "sh", "-c", mount, "sh"]
        host = Emulated(netns, "--pcap", f"{small}/x.pcapng", wrap=wrap)
        for _ in range(2):
            netns.run("curl", "-sS", "--fail", "-o", "/dev/null", f"http://{ADDRESS4}/bytes/1M")
        assert host.end() == 0
        (complaint,) = host.complaints().splitlines()
        assert "No space left on device" in complaint
        assert len(tshark(keep)) > 5

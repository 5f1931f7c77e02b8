"""`netemu wire` and `run --wire`: a real server and a real client, and the emulated link between their kernels."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from emulated import until
from netns import PATIENCE, ROOT

pytestmark = pytest.mark.e2e

SERVER = "198.18.0.2"
MIB = 1 << 20

NGINX = """
daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{ listen 80; listen [::]:80; root {directory}/www; }}
}}
"""


def netemu(*arguments: str, timeout: float = 2 * PATIENCE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "netemu", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=ROOT)


@pytest.fixture
def nginx(tmp_path: Path) -> str:
    """The command of an nginx that serves tmp_path/www."""
    (tmp_path / "www").mkdir()
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX.format(directory=tmp_path))
    tmp_path.chmod(0o755)
    return f"nginx -p {tmp_path} -c {config}"


def test_50_mb_from_nginx_arrive_whole_through_loss_and_delay(nginx: str, tmp_path: Path) -> None:
    data = os.urandom(MIB) * 50
    (tmp_path / "www" / "file").write_bytes(data)
    words = ("loss", "2%", "delay", "20ms")
    curl = (
        "curl",
        "-s",
        "-S",
        "--max-time",
        "100",
        "-o",
        str(tmp_path / "got"),
        "-w",
        "%{time_connect}",
        f"http://{SERVER}/file",
    )
    done = netemu("run", "--wire", *words, "--serve", nginx, "--", *curl, timeout=120)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) >= 0.04
    got = (tmp_path / "got").read_bytes()
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


def test_both_directions_have_their_own_delay_and_ipv6_goes_too() -> None:
    for address in (SERVER, "2001:2::2"):
        done = netemu(
            "run",
            "--wire",
            "in",
            "delay",
            "30ms",
            "out",
            "delay",
            "10ms",
            "--",
            "ping",
            "-c",
            "3",
            "-i",
            "0.1",
            address,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        rtt = done.stdout.rsplit("=", 1)[1].split("/")
        assert float(rtt[0]) >= 40


def test_the_status_is_the_clients_and_the_servers_end_is_ours() -> None:
    assert netemu("run", "--wire", "--serve", "sleep 100", "--", "sh", "-c", "exit 7").returncode == 7
    assert netemu("run", "--wire", "--serve", "sh -c 'exit 3'").returncode == 3
    assert netemu("wire", "--", "nosuchcommand").returncode == 127


def test_the_client_begins_once_the_server_listens() -> None:
    """Also where something listens in the namespace from which the server sets out."""
    with socket.create_server(("127.0.0.1", 0)):
        serve = "sh -c 'sleep 1; exec nc -l -N 7000 </dev/null'"
        done = netemu("wire", "--serve", serve, "--", "nc", "-z", SERVER, "7000")
        assert (done.returncode, done.stderr) == (0, "")


def test_a_server_that_fails_is_told_of_and_the_client_runs_all_the_same() -> None:
    done = netemu("wire", "--serve", "sh -c 'exit 3'", "--", "sh", "-c", "exit 7")
    assert (done.returncode, done.stderr) == (7, "netemu: --serve: the server has ended, with status 3\n")
    done = netemu("wire", "--serve", "true", "--", "true")  # it may go on in the background
    assert (done.returncode, done.stderr) == (0, "")


def test_a_wire_stays_until_it_is_told_to_end_and_leaves_nothing() -> None:
    name = f"w{os.getpid()}"
    client, server = f"{name}-client", f"{name}-server"
    wire = subprocess.Popen(
        [sys.executable, "-m", "netemu", "wire", "--name", name, "out", "delay", "25ms"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True,
    )  # fmt: skip
    try:
        assert wire.stdout is not None
        assert f"sudo ip netns exec {server} iperf3 -s" in "".join(wire.stdout.readline() for _ in range(4))
        ping = ["ip", "netns", "exec", client, "ping", "-c", "1", SERVER]
        assert "1 received" in subprocess.run(ping, capture_output=True, text=True, timeout=PATIENCE).stdout
        shown = netemu("link", "show", "--name", name, "--json")
        assert '"words": "delay 25ms"' in shown.stdout
        assert netemu("link", "set", "--name", name, "loss", "100%").returncode == 0
        lost = subprocess.run([*ping, "-W", "1"], capture_output=True, text=True, timeout=PATIENCE)
        assert "0 received" in lost.stdout
        wire.send_signal(signal.SIGINT)
        _, errors = wire.communicate(timeout=PATIENCE)
        assert (wire.returncode, errors) == (0, "")
    finally:
        if wire.poll() is None:
            os.killpg(wire.pid, signal.SIGKILL)
        wire.wait()
    until(lambda: not {client, server} & {path.name for path in Path("/run/netns").iterdir()})


def test_captures_have_both_sides(tmp_path: Path) -> None:
    pcap = tmp_path / "wire.pcapng"
    done = netemu("run", "--pcap", str(pcap), "--wire", "delay", "5ms", "--", "ping", "-c", "2", "-i", "0.1", SERVER)
    assert done.returncode == 0, done.stderr
    shown = subprocess.run(
        ["tshark", "-r", pcap, "-T", "fields", "-e", "frame.interface_name", "-e", "icmp.type", "-e", "frame.comment"],
        capture_output=True, text=True, timeout=PATIENCE, check=True,
    ).stdout.splitlines()  # fmt: skip
    rows = [line.split("\t") for line in shown]
    assert [(point, kind) for point, kind, _ in rows] == [
        ("netemu0", "8"), ("netemu1", "8"), ("netemu1", "0"), ("netemu0", "0"),
    ] * 2  # fmt: skip
    delays = [float(note.split()[1]) for point, kind, note in rows if (point == "netemu1") == (kind == "8")]
    assert len(delays) == 4
    assert min(delays) >= 5


def test_what_a_link_drops_is_there_once_more_with_the_reason(tmp_path: Path) -> None:
    """And the display filter of `netemu capture --help` has each packet that the client sent and got once."""
    pcap = tmp_path / "wire.pcapng"
    words = ["in", "loss", "50%"]
    done = netemu("run", "--seed", "3", "--pcap", str(pcap), "--wire", *words, "--",
                  "ping", "-c", "20", "-i", "0.02", "-W", "1", SERVER)  # fmt: skip
    answered = done.stdout.count("bytes from")
    assert 0 < answered < 20, done.stdout + done.stderr

    def found(expression: str) -> int:
        tshark = ["tshark", "-r", str(pcap), "-Y", expression]
        return len(
            subprocess.run(tshark, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout.splitlines()
        )

    help_ = " ".join(netemu("capture", "--help").stdout.split())
    client = 'frame.interface_name == "netemu0" and not frame.comment contains "dropped"'
    assert client in help_
    assert found(f"{client} and icmp.type == 8") == 20
    assert found(f"{client} and icmp.type == 0") == answered
    assert found('icmp.type == 8 and frame.comment contains "dropped: lost at random"') == 20 - answered

"""TCP_CONGESTION and net.ipv4.tcp_congestion_control: who says which algorithm a connection has."""

from __future__ import annotations

import errno
import socket as kernel

import pytest
from stack_bench import HOST, Bench, errno_of

from netemu.apps.base import UsageError
from netemu.cli.settings import _sysctl
from netemu.stack import constants as so
from netemu.stack.host import Host
from netemu.stack.stream_socket import StreamSocket
from netemu.stack.sysctl import configure
from netemu.tcp.config import Config
from netemu.tcp.congestion.cubic import Cubic
from netemu.tcp.congestion.newreno import NewReno

NAME = "net.ipv4.tcp_congestion_control"


def name_of(socket: StreamSocket) -> bytes:
    value = socket.getsockopt(so.IPPROTO_TCP, so.TCP_CONGESTION, 16)
    assert isinstance(value, bytes)
    return value


def test_cubic_is_what_a_host_has() -> None:
    bench = Bench()
    socket = bench.tcp()
    bench.connecting(socket)
    assert socket.connection is not None
    assert isinstance(socket.connection.cc, Cubic)
    assert name_of(socket) == b"cubic".ljust(16, b"\0")


def test_the_instance_chooses() -> None:
    bench = Bench(sysctl={NAME: "reno"})
    socket = bench.tcp()
    bench.connecting(socket)
    assert socket.connection is not None
    assert isinstance(socket.connection.cc, NewReno)
    assert name_of(socket)[:5] == b"reno\0"


def test_a_socket_chooses_for_itself() -> None:
    bench = Bench()
    socket, other = bench.tcp(), bench.tcp()
    socket.setsockopt(so.IPPROTO_TCP, so.TCP_CONGESTION, b"reno")
    bench.connecting(socket)
    assert socket.connection is not None
    assert isinstance(socket.connection.cc, NewReno)
    assert name_of(other)[:6] == b"cubic\0"


def test_in_mid_connection_the_window_stays() -> None:
    bench = Bench()
    socket, _ = bench.connected()
    c = socket.connection
    assert c is not None
    c.cc.cwnd, c.cc.ssthresh = 77_000, 66_000
    socket.setsockopt(so.IPPROTO_TCP, so.TCP_CONGESTION, b"reno\0")
    assert isinstance(c.cc, NewReno)
    assert (c.cc.cwnd, c.cc.ssthresh, c.cc.mss) == (77_000, 66_000, c.mss)
    before = c.cc
    socket.setsockopt(so.IPPROTO_TCP, so.TCP_NODELAY, 1)
    assert c.cc is before


@pytest.mark.parametrize("value", [b"vegas-of-nobody", b"\xff", 5, b"", b"reno", b"cubic\0whatever", b"CUBIC"])
def test_what_the_kernel_says_to_it_too(value: bytes | int) -> None:
    """Names that Linux does not know give ENOENT, an empty one EINVAL."""
    ours = Host([HOST]).socket()
    with kernel.socket() as real:
        wanted = errno_of(lambda: real.setsockopt(so.IPPROTO_TCP, so.TCP_CONGESTION, value))
        if wanted in (errno.EPERM, errno.ENOENT) and value in (b"reno", b"cubic\0whatever"):
            pytest.skip("this kernel has it not, or not for everyone")
        got = errno_of(lambda: ours.setsockopt(so.IPPROTO_TCP, so.TCP_CONGESTION, value))
        if isinstance(value, int):
            assert got == errno.EINVAL  # Linux would read the four bytes as a name
        else:
            assert got == wanted
        if not wanted:
            assert name_of(ours) == real.getsockopt(so.IPPROTO_TCP, so.TCP_CONGESTION, 16)  # type: ignore[arg-type]


def test_getsockopt_cuts_as_it_is_asked() -> None:
    ours = Host([HOST]).socket()
    assert ours.getsockopt(so.IPPROTO_TCP, so.TCP_CONGESTION, 5) == b"cubic"
    assert ours.getsockopt(so.IPPROTO_TCP, so.TCP_CONGESTION, 64) == b"cubic".ljust(16, b"\0")


def test_a_setting_that_names_nobody() -> None:
    with pytest.raises(ValueError, match="one of bbr"):
        configure(Config(), {NAME: "nobody"})
    with pytest.raises(UsageError, match=r"tcp_congestion_control=nobody: give one of bbr, cubic, newreno, reno"):
        _sysctl([f"{NAME}=nobody"])
    assert _sysctl([f"{NAME}= reno "]) == {NAME: "reno"}


# -- pacing -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [1_000_000, (3_000_000_000).to_bytes(4, "little"), (10**11).to_bytes(8, "little"), b"\xff" * 4]
)
def test_max_pacing_rate_as_the_kernel_has_it(value: int | bytes) -> None:
    ours = Host([HOST]).socket()
    with kernel.socket() as real:
        real.setsockopt(so.SOL_SOCKET, so.SO_MAX_PACING_RATE, value)
        ours.setsockopt(so.SOL_SOCKET, so.SO_MAX_PACING_RATE, value)
        for size in (4, 8):
            wanted = real.getsockopt(so.SOL_SOCKET, so.SO_MAX_PACING_RATE, size)
            assert ours.getsockopt(so.SOL_SOCKET, so.SO_MAX_PACING_RATE, size) == wanted


def test_tcp_info_tells_the_rates() -> None:
    """tcpi_pacing_rate and tcpi_max_pacing_rate, 64 bits each behind the 32-bit fields."""
    bench = Bench()
    socket, _ = bench.connected()
    socket.setsockopt(so.SOL_SOCKET, so.SO_MAX_PACING_RATE, 123_456)
    info = socket.getsockopt(so.IPPROTO_TCP, so.TCP_INFO, 232)
    assert isinstance(info, bytes)
    assert int.from_bytes(info[104:112], "little") == int.from_bytes(info[112:120], "little") == 123_456

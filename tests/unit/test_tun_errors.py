"""What a wrong name, a wrong number or a refusing kernel says: the errno, and one line with the way out."""

from __future__ import annotations

import errno
import os

import pytest

import tun.device
from tun import Tun, TunError
from tun.device import _explain


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("sixteen-letters-", "longer than 15 bytes"),
        ("ümläüte-ähm", None),  # 15 bytes
        ("ümläüte-ähmm", "longer than 15 bytes"),
        ("a/b", "not allowed"),
        ("a b", "not allowed"),
        ("a\n", "not allowed"),
        ("a\0b", "not allowed"),
        ("a:1", "not allowed"),
        (".", "not allowed"),
        ("..", "not allowed"),
        ("tun%s", "the only pattern"),
        ("%d%d", "the only pattern"),
        ("100%", "the only pattern"),
        ("netemu%d", None),
        ("", None),
    ],
)
def test_names(monkeypatch: pytest.MonkeyPatch, name: str, why: str | None) -> None:
    """A wrong one never reaches the kernel; a right one does."""
    monkeypatch.setattr(
        tun.device, "_open", lambda name, offload, owner: (os.open("/dev/null", os.O_RDWR), name, False)
    )
    if why is None:
        Tun(name).close()
    else:
        with pytest.raises(TunError, match=why) as caught:
            Tun(name)
        assert caught.value.errno == errno.EINVAL
        assert str(caught.value).endswith("choose another name with --tun")


@pytest.mark.parametrize("mtu", [0, 67, 65536])
def test_an_impossible_mtu(mtu: int) -> None:
    with pytest.raises(TunError, match=r"choose one from 68 to 65535 with --mtu") as caught:
        Tun("t0", mtu=mtu)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    ("code", "where", "way_out"),
    [
        (errno.ENOENT, "/dev/net/tun", "no /dev/net/tun: 'modprobe tun', or 'mkdir -p /dev/net && mknod"),
        (errno.ENODEV, "/dev/net/tun", "modprobe tun"),
        (errno.EACCES, "/dev/net/tun", "may not open /dev/net/tun: run as root, or"),
        (errno.EPERM, "/dev/net/tun", "may not open /dev/net/tun: run as root, or"),
        (errno.EPERM, "TUNSETIFF", "run as root, or in a user namespace ('unshare --user --map-root-user --net')"),
        (errno.EBUSY, "TUNSETIFF", "TUN device 'x' is in use: choose another name with --tun"),
        (errno.EINVAL, "TUNSETIFF", "'x' exists and is no TUN device"),
        (errno.EMFILE, "/dev/net/tun", "cannot open a TUN device: Too many open files"),
    ],
)
def test_explanations(code: int, where: str, way_out: str) -> None:
    error = _explain(OSError(code, os.strerror(code)), "x", where)
    assert isinstance(error, TunError)
    assert error.errno == code
    assert way_out in str(error)
    assert "\n" not in str(error)
    assert "Errno" not in str(error)


def test_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tun.device, "_NODE", "/dev/net/no-such-node")
    with pytest.raises(TunError, match="modprobe tun") as caught:
        Tun()
    assert caught.value.errno == errno.ENOENT

"""The TUN device: open, read, write, close (Linux: Documentation/networking/tuntap.rst, linux/if_tun.h)."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from struct import Struct
from types import TracebackType
from typing import NoReturn

from tun import address
from tun.counters import Counters
from tun.errors import TunError
from tun.netns import call_in
from tun.offload import HEADER_SIZE, OFFLOADS, PLAIN, Buffer, RawFrame, pack, unpack

_NODE = "/dev/net/tun"

# linux/if_tun.h, as _IOW('T', n, int) spells them on x86, ARM, RISC-V, s390 and LoongArch
_TUNSETIFF = 0x400454CA
_TUNSETOWNER = 0x400454CC
_TUNSETOFFLOAD = 0x400454D0
_TUNSETVNETHDRSZ = 0x400454D8
_TUNSETVNETLE = 0x400454DC
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000

_IFREQ = Struct("16sH22x")  # struct ifreq: name, flags
_INT = Struct("i")
_MAX_NAME = 15  # IFNAMSIZ less the final NUL

_READ_SIZE = 65535 + HEADER_SIZE  # the largest IP packet that is not a jumbogram
_MAX_PARTS = 1000  # writev takes IOV_MAX = 1024 buffers


class Tun:
    """One TUN device, made on opening and gone, addresses and all, when it is closed or its process dies.

    name      as wished; '' or a pattern like 'netemu%d' lets the kernel count. The name of a device that was made
              beforehand (``ip tuntap add dev NAME mode tun [user UID]``) and that nobody has open attaches to it;
              that one outlives us.
    mtu       bytes, 68..65535, and at least 1280 with IPv6. ``configure`` sets it.
    offload   ask for checksum and segmentation offload; the attribute says whether the kernel granted it.
    owner     a uid that may attach to the device without privileges.
    netns     the name of a network namespace, as ip-netns(8) has it, in which the device is to be.

    Raises TunError; ``_explain`` has the messages.
    """

    def __init__(
        self,
        name: str = "",
        *,
        mtu: int = 1500,
        offload: bool = True,
        owner: int | None = None,
        netns: str | None = None,
    ) -> None:
        _check_name(name)
        address.check_mtu(mtu)
        _keep_freed_memory()
        self.fd = -1
        self.mtu = mtu
        self.netns = netns
        # The device belongs to the namespace of the thread that opens the node. Making it there, and not here to move
        # it later, means that there is no moment in which it is in the wrong namespace (where the name may be taken
        # and a network manager may get hold of it), and that a kernel-counted name is counted where it is used.
        if netns is None:
            self.fd, self.name, self.offload = _open(name, offload, owner)
        else:
            self.fd, self.name, self.offload = call_in(netns, lambda: _open(name, offload, owner))
        self._counters = Counters(self.name, netns)

    def fileno(self) -> int:
        return self.fd

    def read(self, limit: int = 64) -> list[RawFrame]:
        """The packets that are waiting, at most ``limit``; an empty list when there is none.

        About 1.6 us a packet of up to 1500 bytes, 1.1 of them the system call, and 8 us for 64 KiB. os.read beats
        readv into a buffer that is kept, by 0.3 us: there, the packet has to be copied out. The last, empty read
        costs 2 us, which is less than another turn of an event loop.
        """
        frames: list[RawFrame] = []
        append, read, fd, offload = frames.append, os.read, self.fd, self.offload
        try:
            for _ in range(limit):
                data = read(fd, _READ_SIZE)
                append(unpack(data) if offload else (data, 0, 0, 0))
        except BlockingIOError:
            pass
        except OSError as error:
            if not frames:  # else the next read finds out
                self._fail(error, "read from")
        return frames

    def write(
        self, head: Buffer, body: tuple[Buffer, ...] = (), gso_size: int = 0, csum_start: int = 0, csum_offset: int = 0
    ) -> bool:
        """Hand one IP packet or super-packet to the kernel; the fields are RawFrame's. Nothing is ever dropped here.

        False: the device is full and nothing was written; write it again when the descriptor is writable. About
        2 us for a packet, 7-10 us for 64 KiB, most of it what the kernel then does with them.

        Raises TunError: EIO when the device was taken down, EBADFD when it was removed, EINVAL when the kernel
        refuses this one packet (neither IPv4 nor IPv6, or offload fields that contradict it) and the device is as
        good as before. Raises ValueError for a packet that needs offload on a device without.
        """
        if len(body) > _MAX_PARTS:
            body = (b"".join(body),)
        try:
            if self.offload:
                header = pack(head, gso_size, csum_start, csum_offset) if csum_start or gso_size else PLAIN
                os.writev(self.fd, (header, head, *body))
            elif csum_start or gso_size:
                raise ValueError(f"the TUN device {self.name!r} has no offload")
            elif body:
                os.writev(self.fd, (head, *body))
            else:
                os.write(self.fd, head)  # 0.2 us less than writev of one buffer
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM):  # out of memory is as good as full
                return False
            self._fail(error, "write to")
        return True

    def configure(self, addresses: Sequence[str] = (), routes: Sequence[str] = (), up: bool = True) -> None:
        """Bring the interface up (or down), with its MTU, addresses ('198.18.0.1/24', '2001:2::1/64') and routes.

        A route is a prefix that leads into the device ('10.0.0.0/8', or 'default'). What is so already is left
        alone: an owner without privileges may call this on a device that was set up for him. Works inside a running
        asyncio loop too (and blocks it for some 10 ms).

        Raises TunError; EADDRINUSE when another interface has an overlapping range, before anything is changed.
        """
        address.configure(self.name, self.mtu, addresses, routes, up=up, netns=self.netns)

    def unread(self) -> int:
        """Packets (a super-packet is one) that the kernel threw away since this was opened, because they were not read in
        time: its queue (txqueuelen, 500 packets) was full. 0 where /proc does not tell."""
        return self._counters.unread()

    def close(self) -> None:
        """Close the descriptor, which removes the device unless it was made beforehand; again is no error."""
        self._counters.close()
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def __enter__(self) -> Tun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Tun({self.name!r}, fd={self.fd}, mtu={self.mtu}, offload={self.offload})"

    def _fail(self, error: OSError, verb: str) -> NoReturn:
        code = error.errno or errno.EIO
        if code == errno.EIO:
            text = f"the TUN device {self.name!r} was taken down: 'ip link set {self.name} up' brings it back"
        elif code in (errno.EBADFD, errno.ENODEV, errno.EFAULT):
            text = f"the TUN device {self.name!r} was removed: start again"
        elif code == errno.EBADF:
            text = f"the TUN device {self.name!r} is closed"
        elif code == errno.EINVAL:
            text = f"the kernel refuses to take this packet from the TUN device {self.name!r}"
        else:
            text = f"cannot {verb} the TUN device {self.name!r}: {os.strerror(code)}"
        raise TunError(code, text) from error


def _keep_freed_memory() -> None:
    """Let glibc keep up to 16 MiB that were freed, instead of giving all above 128 KiB back to the kernel at once.

    Else each batch of 64 KiB packets is allocated from fresh pages: 16 page faults a packet, 50-60 us instead of 8-10.
    Freeing a block that malloc had mapped raises both of its thresholds (mallopt(3), M_MMAP_THRESHOLD); the block is
    never touched, so this costs a few us. Elsewhere (musl) it does nothing.
    """
    bytes(8 << 20)


def _check_name(name: str) -> None:
    """Raise TunError unless the kernel would take it (dev_valid_name and dev_alloc_name in net/core/dev.c)."""
    if len(os.fsencode(name)) > _MAX_NAME:
        why = f"longer than {_MAX_NAME} bytes"
    elif name in (".", "..") or any(letter in "/:" or letter.isspace() or not letter.isprintable() for letter in name):
        why = "'/', ':', white space and control characters are not allowed"
    elif "%" in name.replace("%d", "", 1):
        why = "'%d', once, is the only pattern"
    else:
        return
    raise TunError(errno.EINVAL, f"{name!r} is no name for a TUN device: {why}; choose another name with --tun")


def _open(name: str, offload: bool, owner: int | None) -> tuple[int, str, bool]:
    """Open a device in this thread's namespace: (descriptor, its name, whether it has offload)."""
    for with_offload in (True, False) if offload else (False,):
        try:
            fd = os.open(_NODE, os.O_RDWR | os.O_NONBLOCK)
        except OSError as error:
            raise _explain(error, name, _NODE) from error
        try:
            return fd, _attach(fd, name, with_offload, owner), with_offload
        except OSError as error:
            os.close(fd)
            if not with_offload or error.errno not in (errno.EINVAL, errno.ENOTTY, errno.EOPNOTSUPP):
                raise _explain(error, name, "TUNSETIFF") from error
        # A kernel (or gVisor, or an old container's) without vnet headers or TSO: once more without offload.
    raise AssertionError("unreachable")


def _attach(fd: int, name: str, offload: bool, owner: int | None) -> str:
    """Make ``fd`` a device; returns the name that it got.

    Every setting is made anew, since a device that was made beforehand keeps those of whoever had it open before.
    """
    flags = _IFF_TUN | _IFF_NO_PI | (_IFF_VNET_HDR if offload else 0)
    given = fcntl.ioctl(fd, _TUNSETIFF, _IFREQ.pack(os.fsencode(name), flags))
    if offload:
        fcntl.ioctl(fd, _TUNSETVNETHDRSZ, _INT.pack(HEADER_SIZE))
        fcntl.ioctl(fd, _TUNSETVNETLE, _INT.pack(1))
        fcntl.ioctl(fd, _TUNSETOFFLOAD, OFFLOADS)
    else:
        with suppress(OSError):  # a kernel that knows no offload has none to turn off
            fcntl.ioctl(fd, _TUNSETOFFLOAD, 0)
    if owner is not None:
        fcntl.ioctl(fd, _TUNSETOWNER, owner)
    return os.fsdecode(_IFREQ.unpack(given)[0].rstrip(b"\0"))


def _explain(error: OSError, name: str, where: str) -> TunError:
    """The same error with what to do about it."""
    code = error.errno or errno.EIO
    if where == _NODE and code in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        text = f"no {_NODE}: 'modprobe tun', or 'mkdir -p /dev/net && mknod {_NODE} c 10 200'"
    elif where == _NODE and code in (errno.EACCES, errno.EPERM):
        text = f"may not open {_NODE}: run as root, or let this user have it ('chmod 666 {_NODE}', as root)"
    elif code == errno.EPERM:
        text = (
            "may not make a TUN device: run as root, or in a user namespace ('unshare --user --map-root-user --net'), "
            "or on a device made for this user ('ip tuntap add dev NAME mode tun user UID', as root)"
        )
    elif code == errno.EBUSY:
        text = f"TUN device {name!r} is in use: choose another name with --tun"
    elif code == errno.EINVAL and name:
        text = f"{name!r} exists and is no TUN device of a single queue: choose another name with --tun"
    else:
        text = f"cannot open a TUN device: {os.strerror(code)} ({where})"
    return TunError(code, text)

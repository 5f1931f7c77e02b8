"""IGMP and MLD with a real kernel at the other end: it hears what the host joins, asks, and is answered."""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from emulated import ADDRESS4, Emulated, emulated, inside, scratch
from netns import PATIENCE, Namespace

import netemu
from netemu.attached.host import AttachedHost
from netemu.capture.pcapng import read_blocks
from netemu.wire import igmp, mld
from netemu.wire.ip import text

pytestmark = pytest.mark.e2e

ROUTER_ALERT = b"\x94\4\0\0"
GROUP, GROUP6 = "239.1.2.3", "ff05::1:2:3"
IPV6_ROUTER_ALERT_OF_MLD = b"\0\0\5\2\0\0\1\0"
"""A hop-by-hop header for IPV6_HOPOPTS; the kernel fills in what follows it."""


class Router:
    """A raw socket of the kernel on the instance's TUN, in the groups that members report to."""

    def __init__(self, instance: Emulated, family: int) -> None:
        self.family, self.device = family, instance.name
        if family == socket.AF_INET6:  # a query comes from a link-local address, or is none
            instance.namespace.run("ip", "-6", "addr", "add", "fe80::1/64", "dev", self.device, "nodad")
        self.socket = inside(instance.namespace, self._open)

    def _open(self) -> socket.socket:
        index = socket.if_nametoindex(self.device)
        if self.family == socket.AF_INET:
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP)
            member = socket.inet_aton("224.0.0.22") + struct.pack("=4si", bytes(4), index)
            raw.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            raw.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=4s4si", bytes(4), bytes(4), index))
            raw.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, ROUTER_ALERT)
        else:
            raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            member = socket.inet_pton(socket.AF_INET6, "ff02::16") + struct.pack("=i", index)
            raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
            raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_HOPOPTS, IPV6_ROUTER_ALERT_OF_MLD)
        return raw

    def hears(self, kind: int, group: str, seconds: float = PATIENCE) -> None:
        """A report of one record about ``group`` comes from the host."""
        end = time.monotonic() + seconds
        while select.select([self.socket], [], [], max(0, end - time.monotonic()))[0]:
            packet, (source, *_) = self.socket.recvfrom(2000)
            message = packet[(packet[0] & 15) * 4 :] if self.family == socket.AF_INET else packet
            found = message[0], message[8], text(message[12:]) if len(message) in (16, 28) else ""
            if found == (igmp.V3_REPORT if self.family == socket.AF_INET else mld.V2_REPORT, kind, group):
                assert source == (ADDRESS4 if self.family == socket.AF_INET else "::")
                return
        pytest.fail(f"no report of {group}, {kind}")

    def asks(self) -> None:
        if self.family == socket.AF_INET:
            self.socket.sendto(igmp.emit(igmp.QUERY, bytes(4), bytes.fromhex("027d0000"), 5), ("224.0.0.1", 0))
        else:  # the kernel adds ICMPv6's checksum
            general = bytes.fromhex("82000000 01f40000") + bytes(16) + bytes.fromhex("027d0000")
            self.socket.sendto(general, ("ff02::1", 0))


@contextmanager
def joined(host: AttachedHost, family: int, group: str) -> Iterator[None]:
    with host.socket(family, socket.SOCK_DGRAM) as member:
        packed = socket.inet_pton(family, group)
        if family == socket.AF_INET:
            member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, packed + bytes(4))
        else:
            member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, packed + bytes(4))
        yield


@pytest.mark.parametrize(("family", "group"), [(socket.AF_INET, GROUP), (socket.AF_INET6, GROUP6)])
def test_a_kernel_hears_of_a_member(instance: Emulated, host: AttachedHost, family: int, group: str) -> None:
    router = Router(instance, family)
    with joined(host, family, group):
        router.hears(igmp.TO_EX, group)
        router.hears(igmp.TO_EX, group)
        router.asks()
        router.hears(igmp.IS_EX, group)
    router.hears(igmp.TO_IN, group)
    router.socket.close()


def test_a_capture_says_why(netns: Namespace) -> None:
    with scratch() as files, emulated(netns, "--no-apps", "--pcap", str(files / "all.pcapng")) as instance:
        router = Router(instance, socket.AF_INET)
        host = netemu.attach(app="member", name=instance.name)
        with joined(host, socket.AF_INET, GROUP):
            router.hears(igmp.TO_EX, GROUP)
            router.asks()
            router.hears(igmp.IS_EX, GROUP)
        router.hears(igmp.TO_IN, GROUP)
        host.close()
        router.socket.close()
        with (files / "all.pcapng").open("rb") as file:
            frames = [record for record in read_blocks(file.read) if record.data is not None]
        (asked,) = [n for n, frame in enumerate(frames, 1) if frame.comment == "taken: MEMBERSHIP_QUERY"]
        sent = [frame.comment.split(" (")[0] for frame in frames if not frame.inbound]
        assert {"sent: MEMBERSHIP_CHANGE", "sent: MEMBERSHIP_QUERY"} == set(sent)
        told = instance.netemu("why", "--pcap", str(files / "all.pcapng"), "--frame", str(asked), "--json").stdout
        assert json.loads(told)["now"]["reason"] == "MEMBERSHIP_QUERY"

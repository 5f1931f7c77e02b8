"""The kernel's side of the UDP walk: kernel_helper.py's calls and those of UDP, and a TUN device whose other end is in our hands.

Run by udp_sides.py under `unshare -n`. Bytes go as hexadecimal text.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import struct
import subprocess
import sys
import time

from kernel_helper import PATIENCE, Helper

from netemu.runtime.namespace import bring_up_loopback

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
ECHO_REQUEST = bytes.fromhex("4500001c000000004001eeb9c6120001c61200020800f7ff00000000")
"""From 198.18.0.1 to the kernel's 198.18.0.2."""
COMMANDS = """
ip addr add 198.18.0.2/24 brd 198.18.0.255 dev d0
ip link set d0 mtu 1500 up
ip -6 addr add 2001:2::2/64 dev d0 nodad
ip route add default dev d0
ip -6 route add default dev d0
sysctl -qw net.ipv6.conf.d0.accept_ra=0 net.ipv6.conf.d0.router_solicitations=0 net.ipv4.icmp_ratelimit=0
sysctl -qw net.ipv4.icmp_msgs_per_sec=100000 net.ipv4.icmp_msgs_burst=100000
sysctl -qw net.ipv4.ip_early_demux=0
"""


class UdpHelper(Helper):
    """``give`` and ``take``: packets of the device d0.

    To a TUN device a broadcast looks like any packet: early demultiplexing, which would give it to a connected socket alone,
    is off.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.tun, TUNSETIFF, struct.pack("16sH22x", b"d0", IFF_TUN | IFF_NO_PI))
        for command in COMMANDS.strip().splitlines():
            subprocess.run(command.split(), check=True)
        end = time.monotonic() + PATIENCE
        while "tentative" in self._addresses() and time.monotonic() < end:
            time.sleep(0.05)

    @staticmethod
    def _addresses() -> str:
        return subprocess.run(["ip", "-6", "addr"], check=True, capture_output=True, text=True).stdout

    def give(self, packet: str) -> None:
        os.write(self.tun, bytes.fromhex(packet))

    def take(self) -> list[str]:
        """UDP and ICMP errors that left by d0: what comes before the answer to an echo request of ours."""
        os.write(self.tun, ECHO_REQUEST)
        found: list[str] = []
        while select.select([self.tun], [], [], PATIENCE)[0]:
            packet = os.read(self.tun, 65535)
            protocol = packet[9] if packet[0] >> 4 == 4 else packet[6]
            if protocol == 1 and packet[20] == 0:
                return found
            if protocol in (17, 1, 44) or (protocol == 58 and packet[40] < 128):
                found.append(packet.hex())
        raise OSError("the kernel answers no ping")

    def sendto(self, number: int, data: str, address: str, port: int) -> int:
        return self.sockets[number][0].sendto(bytes.fromhex(data), (address, port))

    def sendmsg(self, number: int, data: str, items: list[list[object]], flags: int, to: list[object] | None) -> int:
        ancillary = [(level, kind, bytes.fromhex(str(text))) for level, kind, text in items]
        address = tuple(to) if to else None
        made = self.sockets[number][0]
        if address is None:
            return made.sendmsg([bytes.fromhex(data)], ancillary, flags)  # type: ignore[arg-type]  # as JSON had them
        return made.sendmsg([bytes.fromhex(data)], ancillary, flags, address)  # type: ignore[arg-type]  # the same

    def recvmsg(self, number: int, limit: int, room: int, flags: int) -> list[object]:
        data, items, found, address = self.sockets[number][0].recvmsg(limit, room, flags)
        return [data.hex(), [[level, kind, text.hex()] for level, kind, text in items], found, list(address[:2])]

    def getbytes(self, number: int, level: int, option: int, size: int) -> str:
        return self.sockets[number][0].getsockopt(level, option, size).hex()

    def disconnect(self, number: int) -> None:
        """connect(AF_UNSPEC), which Python's socket has no words for."""
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        if libc.connect(self.sockets[number][0].fileno(), bytes(16), 16):
            raise OSError(ctypes.get_errno(), "connect")

    def poll(self, number: int) -> int:
        """1: readable or in error."""
        poll = select.poll()
        poll.register(self.sockets[number][0], select.POLLIN)
        return int(bool(poll.poll(0)))


def main() -> None:
    bring_up_loopback()
    helper = UdpHelper()
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        print(json.dumps(helper.answer(method, arguments)), flush=True)


if __name__ == "__main__":
    main()

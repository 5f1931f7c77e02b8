"""The kernel's side of a comparison: socket calls in a private network namespace, asked for in lines of JSON.

Run by kernel_sockets.py under `unshare -n`. Each call is made as the effective user that the socket belongs to.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable

from netemu.runtime.namespace import bring_up_loopback

ROUNDS = 3
"""SYN, SYN-ACK and ACK."""
PATIENCE = 30.0
"""Seconds that the kernel may take, on a busy machine."""
SO_ATTACH_REUSEPORT_CBPF = 51
DEVICE = "netemu0"
"""Beside lo, as netemu's host has it."""
PASSING = (4, 9, 11)
"""FIN-WAIT-1, LAST-ACK, CLOSING: the other end answers, but may delay its ACK."""
SYN_SENT, SYN_RECEIVED, CLOSED, LISTEN = 2, 3, 7, 10


class Helper:
    """Sockets by number.

    What goes over loopback waits in a queue of the core that sends it, first in, first out, and we stay on one core. So
    when a datagram has come round, all that was sent before it has arrived, and was answered if it is to be at once.
    """

    def __init__(self) -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        self._round = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._round.bind(("127.0.0.1", 0))
        self._round.connect(self._round.getsockname())
        self.sockets: dict[int, tuple[socket.socket, int]] = {}
        self._next = 0

    def _add(self, made: socket.socket, uid: int) -> int:
        made.setblocking(False)
        self._next += 1
        self.sockets[self._next] = made, uid
        return self._next

    def open(self, family: int, kind: int, uid: int) -> int:
        return self._add(socket.socket(family, kind), uid)

    def setsockopt(self, number: int, level: int, option: int, value: int | str) -> None:
        if option == SO_ATTACH_REUSEPORT_CBPF and isinstance(value, str):
            self._attach(number, bytes.fromhex(value))
            return
        raw = (value & 0xFFFFFFFF).to_bytes(4, sys.byteorder) if isinstance(value, int) else bytes.fromhex(value)
        self.sockets[number][0].setsockopt(level, option, raw)

    def _attach(self, number: int, code: bytes) -> None:
        """The kernel wants a struct sock_fprog: how many instructions, and where they are."""
        instructions = ctypes.create_string_buffer(code, max(1, len(code)))
        program = struct.pack("@H6xP", len(code) // 8, ctypes.addressof(instructions))
        self.sockets[number][0].setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program)

    def getsockopt(self, number: int, level: int, option: int) -> int:
        return self.sockets[number][0].getsockopt(level, option) & 0xFFFFFFFF

    def bind(self, number: int, address: str, port: int) -> None:
        self.sockets[number][0].bind((address, port))

    def listen(self, number: int, backlog: int) -> None:
        self.sockets[number][0].listen(backlog)

    def connect(self, number: int, address: str, port: int) -> None:
        """Returns once the handshake is over, or is not answered."""
        made = self.sockets[number][0]
        try:
            made.connect((address, port))
        finally:
            if self._state(made) in (SYN_SENT, SYN_RECEIVED):
                for _ in range(ROUNDS):
                    self._round.send(b"x")
                    self._round.recv(1)

    def accept(self, number: int) -> tuple[int, list[object]]:
        made, uid = self.sockets[number]
        child, peer = made.accept()
        return self._add(child, uid), list(peer[:2])

    def shutdown(self, number: int, how: int) -> None:
        self.sockets[number][0].shutdown(how)

    def close(self, number: int) -> None:
        self.sockets.pop(number)[0].close()

    def getsockname(self, number: int) -> list[object]:
        return list(self.sockets[number][0].getsockname()[:2])

    def getpeername(self, number: int) -> list[object]:
        return list(self.sockets[number][0].getpeername()[:2])

    def send(self, number: int, text: str) -> int:
        return self.sockets[number][0].send(text.encode())

    def recv(self, number: int, limit: int) -> str:
        return self.sockets[number][0].recv(limit).decode()

    def states(self) -> dict[int, tuple[int, int]]:
        """Of every TCP socket: its state, and how many connections wait for accept."""
        end = time.monotonic() + PATIENCE
        while (found := self._states()) and any(s in PASSING for s, _ in found.values()) and time.monotonic() < end:
            time.sleep(0.0005)
        return found

    def _states(self) -> dict[int, tuple[int, int]]:
        found = {}
        for number, (made, _) in self.sockets.items():
            info = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
            waiting = int.from_bytes(info[24:28], sys.byteorder) if info[0] == LISTEN else 0  # tcpi_unacked
            found[number] = info[0], waiting
        return found

    def sysctl(self, name: str, value: str) -> None:
        with open(f"/proc/sys/{name.replace('.', '/')}", "w") as file:
            file.write(value)

    def reset(self) -> None:
        for made, _ in self.sockets.values():
            made.close()
        self.sockets.clear()
        self._next = 0

    @staticmethod
    def _state(made: socket.socket) -> int:
        if made.type != socket.SOCK_STREAM:
            return CLOSED
        info: bytes = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return info[0]

    def answer(self, method: str, arguments: list[object]) -> object:
        """[errno, result]."""
        call: Callable[..., object] = getattr(self, method)
        uid = arguments[2] if method == "open" else self._uid(arguments)
        assert isinstance(uid, int)
        os.seteuid(uid)
        try:
            return [0, call(*arguments)]
        except OSError as error:
            return [error.errno, None]
        finally:
            os.seteuid(0)

    def _uid(self, arguments: list[object]) -> int:
        number = arguments[0] if arguments else None
        return self.sockets[number][1] if isinstance(number, int) and number in self.sockets else 0


def main() -> None:
    bring_up_loopback()
    for command in (f"add {DEVICE} type veth peer name {DEVICE}p", f"set {DEVICE} up", f"set {DEVICE}p up"):
        subprocess.run(["ip", "link", *command.split()], check=True, timeout=10)
    helper = Helper()
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        print(json.dumps(helper.answer(method, arguments)), flush=True)


if __name__ == "__main__":
    main()

"""One way to make socket calls, two who answer them: the kernel in a private namespace, and netemu's host by itself.

A call gives (errno, result). Sockets are numbers. Everything is over loopback; what netemu sends loops inside of its host.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from netemu.stack import constants as so
from netemu.stack.datagram_socket import DatagramSocket
from netemu.stack.groups import Group
from netemu.stack.host import Host
from netemu.stack.selectors import ByCallable
from netemu.stack.stream_socket import StreamSocket
from netemu.tcp.state import State

HERE = Path(__file__).resolve().parent
Answer = tuple[int, object]
KERNEL_STATES = (
    "", "ESTABLISHED", "SYN-SENT", "SYN-RECEIVED", "FIN-WAIT-1", "FIN-WAIT-2", "CLOSED", "CLOSED", "CLOSE-WAIT",
    "LAST-ACK", "LISTEN", "CLOSING", "SYN-RECEIVED",
)  # fmt: skip
"""By Linux' number; a socket whose connection is in TIME-WAIT has none any more, as the kernel sees it."""


class Sockets(Protocol):
    """What the tests call."""

    def call(self, method: str, *arguments: object) -> Answer: ...

    def states(self) -> dict[int, tuple[str, int]]:
        """Of every TCP socket its state, and the connections that wait for accept."""

    def reset(self) -> None:
        """Close all."""


class Kernel:
    """Linux, in a namespace of its own. Needs root."""

    def __init__(self, helper: str = "kernel_helper.py") -> None:
        command = ["unshare", "-n", sys.executable, str(HERE / helper)]
        env = {"PYTHONPATH": str(HERE.parents[1]), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=env
        )

    def call(self, method: str, *arguments: object) -> Answer:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([method, *arguments]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the helper in the namespace has died: is this root?"
        number, result = json.loads(line)
        return number, tuple(result) if isinstance(result, list) else result

    def states(self) -> dict[int, tuple[str, int]]:
        found = self.call("states")[1]
        assert isinstance(found, dict)
        return {int(number): (KERNEL_STATES[state], waiting) for number, (state, waiting) in found.items()}

    def reset(self) -> None:
        self.call("reset")

    def close(self) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(timeout=10)


class Netemu:
    """A host in virtual time: each call takes a millisecond."""

    def __init__(self, flavour: str = "linux", **sysctl: int | str) -> None:
        self.host = Host(["198.18.0.2", "2001:2::2"], seed=1, flavour=flavour, sysctl=sysctl)
        self.now = self.host.now = 1_000_000_000
        self.sockets: dict[int, StreamSocket | DatagramSocket] = {}
        self._next = 0
        self.prefer: Callable[[Group], int] | None = None
        """Decides in place of the hash, so that netemu can be led to where the kernel's hash went."""

    def call(self, method: str, *arguments: object) -> Answer:
        try:
            result = getattr(self, f"_{method}")(*arguments)
        except OSError as error:
            result = None
            number = error.errno or -1
        else:
            number = 0
        self.pump()
        return number, result

    def pump(self) -> None:
        self.now += 1_000_000
        if self.host.deadline() <= self.now:
            self.host.on_timer(self.now)
        assert self.host.transmit(self.now) is None, "something left for the wire"
        self.host.dispatch()
        assert not self.host.faults, self.host.faults

    def _add(self, made: StreamSocket | DatagramSocket) -> int:
        self._next += 1
        self.sockets[self._next] = made
        return self._next

    def _stream(self, number: int) -> StreamSocket:
        made = self.sockets[number]
        assert isinstance(made, StreamSocket)
        return made

    def _open(self, family: int, kind: int, uid: int) -> int:
        return self._add(self.host.socket(family, kind, app="t", uid=uid))

    def _setsockopt(self, number: int, level: int, option: int, value: int | str) -> None:
        self.sockets[number].setsockopt(level, option, value if isinstance(value, int) else bytes.fromhex(value))

    def _getsockopt(self, number: int, level: int, option: int) -> int | bytes:
        return self.sockets[number].getsockopt(level, option)

    def _bind(self, number: int, address: str, port: int) -> None:
        self.sockets[number].bind((address, port))

    def _listen(self, number: int, backlog: int) -> None:
        made = self._stream(number)
        made.listen(backlog)
        if made.group is not None and self.prefer is not None:
            group, prefer = made.group, self.prefer
            group.selector = ByCallable(lambda _: prefer(group))

    def _connect(self, number: int, address: str, port: int) -> None:
        self.sockets[number].connect((address, port))

    def _accept(self, number: int) -> tuple[int, tuple[str, int]]:
        child, peer = self.sockets[number].accept()
        return self._add(child), peer

    def _shutdown(self, number: int, how: int) -> None:
        self.sockets[number].shutdown(how)

    def _close(self, number: int) -> None:
        self.sockets.pop(number).close()

    def _getsockname(self, number: int) -> tuple[str, int]:
        return self.sockets[number].getsockname()

    def _getpeername(self, number: int) -> tuple[str, int]:
        return self.sockets[number].getpeername()

    def _send(self, number: int, text: str) -> int:
        return self.sockets[number].send(text.encode())

    def _recv(self, number: int, limit: int) -> str:
        return self.sockets[number].recv(limit).decode()

    def states(self) -> dict[int, tuple[str, int]]:
        found = {}
        for number, made in self.sockets.items():
            assert isinstance(made, StreamSocket)
            state = "CLOSED" if made.state_name == State.TIME_WAIT.value else made.state_name
            found[number] = state, len(made.listener.accepted) if made.listener is not None else 0
        return found

    def reset(self) -> None:
        for number in list(self.sockets):
            self.call("close", number)


def family_of(address: str) -> int:
    return so.AF_INET6 if ":" in address else so.AF_INET

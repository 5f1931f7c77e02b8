"""One forwarded connection: two sockets, one of the emulated host and one of the kernel, and a flow each way."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable

from netemu.cli.pump import Flow
from netemu.cli.watching import ENDED, IN, OUT, Loop
from netemu.stack.constants import HOLD_SYNACK, SOL_NETEMU

HOLD = SOL_NETEMU, HOLD_SYNACK
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER 0: close sends a RST."""


class Relay:
    """``client`` came to us, ``target`` is being connected. Whatever breaks one is a reset for the other."""

    def __init__(
        self,
        loop: Loop,
        client: socket.socket,
        target: socket.socket,
        *,
        is_held: bool,
        on_end: Callable[[str], None],
    ) -> None:
        """``is_held``: the SYN-ACK of ``client`` waits for us (HOLD_SYNACK). ``on_end(how)`` is called once."""
        self._loop = loop
        self._client, self._target = client, target
        self._is_held = is_held
        self._on_end = on_end
        self._began = time.monotonic()
        self.forth = Flow(client.recv, target.send, lambda: target.shutdown(socket.SHUT_WR))
        self.back = Flow(target.recv, client.send, lambda: client.shutdown(socket.SHUT_WR))
        self._hung_up: set[socket.socket] = set()
        """Those of which nothing but a hang-up is to be heard."""

    # -- opening ----------------------------------------------------------------------------------------------------------------

    def start(self, address: tuple[str, int]) -> None:
        self._client.setblocking(False)
        self._target.setblocking(False)
        problem = self._target.connect_ex(address)
        if problem not in (0, errno.EINPROGRESS):
            self._fail(problem)
            return
        self._loop.watch(self._target.fileno(), OUT, lambda _: self._target_is_known())
        # a held connection is writable when its client has given up; any other tells of a reset
        events = OUT if self._is_held else 0
        self._loop.watch(self._client.fileno(), events, lambda _: self._client_is_gone())

    def _target_is_known(self) -> None:
        self._loop.forget(self._target.fileno())
        problem = self._target.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem:
            self._fail(problem)
        elif self._is_held:
            self._client.setsockopt(*HOLD, 0)
            self._loop.watch(self._client.fileno(), OUT, lambda _: self._client_is_known())
        else:
            self._open()

    def _client_is_known(self) -> None:
        self._loop.forget(self._client.fileno())
        if self._client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._break("the client has given up")
        else:
            self._open()

    def _client_is_gone(self) -> None:
        self._break("the client has given up")

    def _fail(self, problem: int) -> None:
        """To close a held connection is to refuse it."""
        self._break(f"refused, since connecting failed: {os.strerror(problem).lower()}")

    # -- both ways --------------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._arm(self._client, self.forth, self.back)
        self._arm(self._target, self.back, self.forth)

    def _arm(self, sock: socket.socket, from_it: Flow, to_it: Flow) -> None:
        """Watch a socket for what can be done next."""
        events = IN * from_it.wants_input | OUT * to_it.wants_output
        is_done = from_it.read_all and to_it.finished
        if events or not (is_done or sock in self._hung_up):
            self._loop.watch(sock.fileno(), events, lambda events: self._ready(sock, from_it, to_it, events))
        else:
            self._loop.forget(sock.fileno())

    def _ready(self, sock: socket.socket, from_it: Flow, to_it: Flow, events: int) -> None:
        try:
            if to_it.wants_output:
                to_it.give()
            if from_it.wants_input:
                if events & (IN | ENDED):
                    from_it.take()
                    if from_it.wants_output:
                        from_it.give()
            elif events & select.EPOLLERR:
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        except OSError as error:
            self._break((error.strerror or str(error)).lower())
            return
        if events & select.EPOLLHUP:
            self._hung_up.add(sock)
        if self.forth.finished and self.back.finished:
            self._close("closed")
        else:
            self._open()

    # -- the end ----------------------------------------------------------------------------------------------------------------

    def _break(self, how: str) -> None:
        """Reset both."""
        for sock in (self._client, self._target):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._close(how)

    def _close(self, how: str) -> None:
        for sock in (self._client, self._target):
            self._loop.forget(sock.fileno())
            sock.close()
        seconds = time.monotonic() - self._began
        self._on_end(f"{how} ({self.forth.moved} B there, {self.back.moved} B back, {seconds:.2f} s)")

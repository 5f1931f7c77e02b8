"""What `netemu nc` does: standard input and output against one socket of the emulated host."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from netemu.cli.endpoints import Endpoint, accept, bind, listen, shown, text_of
from netemu.cli.pump import Flow
from netemu.runtime.errors import RuntimeFailure

if TYPE_CHECKING:
    from netemu.attached.host import AttachedHost
    from netemu.attached.socket import AttachedSocket

AT_ONCE = select.PIPE_BUF
"""Bytes to write to a pipe that is writable: so many it takes without waiting (POSIX), and to make our standard output
non-blocking would make that of others too who share it."""
LARGEST_DATAGRAM = 16384
"""Bytes of standard input that become one, as nc(1) has it."""
LARGEST_MESSAGE = 65535
A_MOMENT = 0.3
"""Seconds that a UDP port has to refuse what is sent to it, where -w does not say."""


class Options(NamedTuple):
    address: str
    udp: bool
    timeout: float | None
    shut: bool
    quit_after: float | None
    source: str | None
    source_port: int
    keep: bool
    reuse_port: bool
    reads_input: bool
    say: Callable[[str], None]


def listen_in(host: AttachedHost, options: Options, port: int, *, v6only: bool) -> int:
    where = Endpoint(options.address, port)
    with host.socket(where.family, socket.SOCK_DGRAM if options.udp else socket.SOCK_STREAM) as server:
        if options.udp:
            bind(server, where, reuse_port=options.reuse_port)
        else:
            listen(server, where, reuse_port=options.reuse_port, v6only=v6only, backlog=128 if options.keep else 1)
        options.say(f"Listening on {shown(server.getsockname())}")
        if options.udp:
            return converse_with_first(server, options)
        while True:
            accepted = accept(server)
            if accepted is None:
                continue
            connection, peer = accepted
            options.say(f"Connection received on {shown(peer)}")
            if not options.keep:
                server.close()
            with connection:
                Conversation(connection, options, ends_with_peer=True).run()
            if not options.keep:
                return 0


def converse_with_first(server: AttachedSocket, options: Options) -> int:
    """UDP: with whoever sends the first datagram; with -k all datagrams are taken, and nothing is sent."""
    if not options.keep:
        data, peer = server.recvfrom(LARGEST_MESSAGE)
        options.say(f"Connection received on {shown(peer)}")
        server.connect(peer[:2])
        write_all(data)
    Conversation(server, options._replace(reads_input=options.reads_input and not options.keep)).run()
    return 0


def write_all(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def converse_out(host: AttachedHost, options: Options, port: int) -> int:
    try:
        connection = connected(host, options, port)
    except OSError as error:
        raise RuntimeFailure(describe_failure(options, port, error)) from None
    with connection:
        options.say(describe_success(options, port))
        Conversation(connection, options).run()
    return 0


def scan_ports(host: AttachedHost, options: Options, ports: list[int]) -> int:
    is_any_open = False
    for port in ports:
        try:
            with connected(host, options, port) as connection:
                if options.udp:
                    probe(connection, options.timeout or A_MOMENT)
        except OSError as error:
            options.say(describe_failure(options, port, error))
        else:
            is_any_open = True
            options.say(describe_success(options, port))
    return 0 if is_any_open else 1


def probe(connection: AttachedSocket, seconds: float) -> None:
    """A UDP port is taken to be open unless an ICMP error says otherwise, in time."""
    connection.settimeout(seconds)
    connection.send(b"X")
    with contextlib.suppress(TimeoutError):
        connection.recv(1)


def connected(host: AttachedHost, options: Options, port: int) -> AttachedSocket:
    where = Endpoint(options.address, port)
    made = host.socket(where.family, socket.SOCK_DGRAM if options.udp else socket.SOCK_STREAM)
    try:
        if options.source is not None or options.source_port:
            any_address = "::" if where.family == socket.AF_INET6 else "0.0.0.0"
            if not options.udp:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bind(made, Endpoint(options.source or any_address, options.source_port), reuse_port=options.reuse_port)
        made.settimeout(options.timeout)
        made.connect(where)
        made.settimeout(None)
    except BaseException:
        made.close()
        raise
    return made


def describe_success(options: Options, port: int) -> str:
    return f"Connection to {options.address} port {port} [{'udp' if options.udp else 'tcp'}] succeeded!"


def describe_failure(options: Options, port: int, error: OSError) -> str:
    return f"connect to {options.address} port {port} ({'udp' if options.udp else 'tcp'}) failed: {text_of(error)}"


class Conversation:
    """Both ways at once, until both have ended; for a server also when the peer has, and nothing lies ready to be sent."""

    def __init__(self, sock: socket.socket, options: Options, *, ends_with_peer: bool = False) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._options = options
        self._ends_with_peer = ends_with_peer
        self._outgoing = Flow(self._read_input, self._send, self._input_ended)
        self._incoming = Flow(self._receive, lambda data: os.write(1, data[:AT_ONCE]))
        self._quit_at: float | None = None
        if not options.reads_input:
            self._outgoing.stop()

    def run(self) -> None:
        while not (self._incoming.finished and self._outgoing.finished):
            ready = self._interest().poll(self._patience())
            if not ready or self._is_late():
                return
            for fd, events in ready:
                self._move(fd, events)

    def _patience(self) -> float | None:
        """Milliseconds to wait for something to do; if there is nothing, that is the end."""
        if self._ends_with_peer and self._incoming.finished and not self._outgoing.wants_output:
            return 0
        limits = [] if self._options.timeout is None else [self._options.timeout]
        if self._quit_at is not None:
            limits.append(max(0.0, self._quit_at - time.monotonic()))
        return min(limits) * 1000 if limits else None

    def _is_late(self) -> bool:
        """-q is over; -q 0 is so once nothing is left to do."""
        return self._quit_at is not None and bool(self._options.quit_after) and time.monotonic() >= self._quit_at

    def _interest(self) -> select.poll:
        poll = select.poll()
        outgoing, incoming = self._outgoing, self._incoming
        if outgoing.wants_input:
            poll.register(0, select.POLLIN)
        if incoming.wants_output:
            poll.register(1, select.POLLOUT)
        events = select.POLLIN * incoming.wants_input | select.POLLOUT * outgoing.wants_output
        if events or (incoming.read_all and not outgoing.finished):  # then a reset is the only news
            poll.register(self._sock, events)
        return poll

    def _move(self, fd: int, events: int) -> None:
        if fd == 0:
            self._outgoing.take()
        elif fd == 1:
            self._incoming.give()
        else:
            if self._outgoing.wants_output:
                self._outgoing.give()
            if self._incoming.wants_input:
                self._incoming.take()
            elif self._incoming.read_all and events & (select.POLLHUP | select.POLLERR):
                self._outgoing.stop()

    # -- the four ends ----------------------------------------------------------------------------------------------------------

    def _read_input(self, size: int) -> bytes:
        return os.read(0, LARGEST_DATAGRAM if self._options.udp else size)

    def _input_ended(self) -> None:
        options = self._options
        if options.quit_after is not None and options.quit_after >= 0:
            self._quit_at = time.monotonic() + options.quit_after
        if (options.shut or self._quit_at is not None) and not options.udp:
            with contextlib.suppress(OSError):  # it has ended already
                self._sock.shutdown(socket.SHUT_WR)

    def _send(self, data: memoryview) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            raise
        except OSError as error:
            self._options.say(text_of(error))
            self._outgoing.stop()  # what was received is still written
            return len(data)

    def _receive(self, size: int) -> bytes:
        try:
            data = self._sock.recv(size)
        except BlockingIOError:
            raise
        except OSError as error:
            self._options.say(text_of(error))
            self._outgoing.stop()
            return b""
        if not data and self._options.udp:
            raise BlockingIOError  # an empty datagram is no end
        return data

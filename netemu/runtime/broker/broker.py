"""The broker: sessions of attached processes, and the anchors of their sockets, on one epoll of its own."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import select
import socket
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from netemu.runtime.broker.anchor import EDGES, Anchor
from netemu.runtime.broker.protocol import SOCKET
from netemu.runtime.broker.session import Session
from netemu.runtime.broker.stream import StreamAnchor
from netemu.stack.host import Host
from netemu.stack.stream_socket import StreamSocket
from netemu.tcp.connection import Connection
from netemu.tcp.state import State

EVENTS = 128
"""Taken from the kernel at once, before the stack gets its turn."""
DEATH_NS = 1_000_000_000
"""For so long a process that ended its session counts as the reason why its descriptors close."""
ERRORS_KEPT = 4096
SESSIONS_PER_USER = 1024
SOCKETS_PER_APP = 4096
"""An app that asks for more gets EMFILE; connections for it wait in the accept queue."""
SENT = (State.FIN_WAIT_2, State.TIME_WAIT, State.CLOSED)
"""The peer has acknowledged everything, the FIN too; or nobody waits for that any more."""
_PF_EXITING = 0x4  # linux/sched.h
SPARE_DESCRIPTORS = 64
"""Kept for what the instance itself opens."""


log = logging.getLogger(__name__)


class Clock(Protocol):
    """What the engine offers."""

    now: int

    def call_later(self, delay_ns: int, call: Callable[[], None]) -> None: ...


class Ready(Protocol):
    """What can be watched."""

    def ready(self, events: int) -> None: ...


class Broker:
    """Serves ``host`` to other processes at ``directory``/attach.sock.

    ``fileno`` is readable when there is something to ``serve``; whoever calls that turns the engine afterwards.
    """

    def __init__(self, host: Host, clock: Clock, name: str, directory: Path, *, shared: bool = False) -> None:
        """``shared``: every user of the machine may attach, not only the instance's own (and root)."""
        self.host = host
        self.name = name
        self.path = directory / SOCKET
        self._clock = clock
        self._epoll = select.epoll()
        self._watched: dict[int, Ready] = {}
        self._again: list[Anchor] = []
        self._news: list[tuple[Anchor, int]] = []
        self.anchors: dict[int, Anchor] = {}
        """By the number of the socket."""
        self._by_inode: dict[int, Anchor] = {}
        self._per_app: Counter[tuple[int, str]] = Counter()
        self.sessions: set[Session] = set()
        self._departed: dict[int, int] = {}
        self._lingering: dict[int, Connection] = {}
        self._errors: OrderedDict[int, int] = OrderedDict()
        self._most = raise_descriptor_limit() - SPARE_DESCRIPTORS
        self._listener = self._listen(shared)

    def _listen(self, shared: bool) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self.path.unlink(missing_ok=True)
        listener.bind(os.fspath(self.path))
        self.path.chmod(0o666 if shared else 0o600)
        listener.listen(128)
        self.register(listener, self, select.EPOLLIN)
        return listener

    def fileno(self) -> int:
        return self._epoll.fileno()

    # -- events ---------------------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Do what the apps ask for and what their descriptors say."""
        for who, events in self._poll():
            try:
                who.ready(events)
            except Exception as fault:
                self._fault("a session", fault)
                if isinstance(who, Session):
                    self.depart(who)
        self.catch_up()

    def catch_up(self) -> None:
        """See to the descriptors: who took what from a listener, and then what became of the connections.

        Before each request too, since what its process did to its descriptors came before it: a port that was closed is free.
        """
        self._poll()  # what is new of others is so still the next time
        news, self._news = self._news, []
        for anchor, events in sorted(news, key=_rank):
            if not anchor.app_gone:
                self.guarded(anchor, anchor.ready, events)

    def guarded(self, anchor: Anchor, call: Callable[[int], None], events: int) -> None:
        """A bug of ours ends this one socket: it is counted, logged, and fails any test."""
        try:
            call(events)
        except Exception as fault:
            self._fault(f"s{anchor.sock.id} of app {anchor.sock.app}", fault)
            anchor.condemn()

    def _fault(self, where: str, fault: Exception) -> None:
        log.exception("broker: %s", where)
        self.host.faults.append(f"{where}: {fault!r}")

    def _poll(self) -> list[tuple[Ready, int]]:
        """What is new: of anchors into ``_news`` (each edge comes but once), of the others as the result."""
        others: list[tuple[Ready, int]] = []
        for fd, events in self._epoll.poll(0, EVENTS):
            who = self._watched.get(fd)
            if isinstance(who, Anchor):
                self._news.append((who, events))
            elif who is not None:
                others.append((who, events))
        return others

    def hear_out(self, pid: int) -> None:
        """Read what a process that may be gone had still to say of its descriptors."""
        for session in [session for session in self.sessions if session.pid == pid]:
            session.hear_out()

    def ready(self, events: int) -> None:
        """A process wants to attach."""
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        try:
            session = Session(self, connection)
        except OSError:
            connection.close()
            return
        if sum(other.uid == session.uid for other in self.sessions) >= SESSIONS_PER_USER:
            connection.close()
            return
        self.sessions.add(session)
        self.register(connection, session, select.EPOLLIN)

    def register(self, end: socket.socket, who: Ready, events: int) -> None:
        self._watched[end.fileno()] = who
        self._epoll.register(end.fileno(), events)

    def unregister(self, end: socket.socket) -> None:
        self._watched.pop(end.fileno(), None)
        with contextlib.suppress(OSError):
            self._epoll.unregister(end.fileno())

    def again(self, anchor: Anchor) -> None:
        """There is more to do for it, once the others had their turn."""
        if not self._again:
            self.call_later(0, self._go_on)
        self._again.append(anchor)

    def _go_on(self) -> None:
        again, self._again = self._again, []
        for anchor in again:
            if not anchor.app_gone:
                self.guarded(anchor, anchor.ready, 0)

    def call_later(self, delay_ns: int, call: Callable[[], None]) -> None:
        self._clock.call_later(delay_ns, call)

    # -- anchors --------------------------------------------------------------------------------------------------------------

    def may_add(self, uid: int, app: str) -> bool:
        return self._per_app[uid, app] < SOCKETS_PER_APP and not self.is_full

    @property
    def is_full(self) -> bool:
        """No descriptors are left to give."""
        return len(self._watched) >= self._most

    def watch(self, anchor: Anchor) -> None:
        """A new anchor; one that its socket had before is given up."""
        sock = anchor.sock
        before = self.anchors.get(sock.id)
        self.anchors[sock.id] = anchor
        if before is None:
            self._per_app[sock.uid, sock.app] += 1
        else:
            anchor.pid = before.pid
            before.detach()
        self._by_inode[anchor.inode] = anchor
        self.register(anchor.end, anchor, EDGES)

    def unwatch(self, anchor: Anchor) -> None:
        self._by_inode.pop(anchor.inode, None)
        self.unregister(anchor.end)
        sock = anchor.sock
        if self.anchors.get(sock.id) is anchor:
            del self.anchors[sock.id]
            self._per_app[sock.uid, sock.app] -= 1
            if not self._per_app[sock.uid, sock.app]:
                del self._per_app[sock.uid, sock.app]

    def by_descriptor(self, descriptor: int) -> Anchor | None:
        """The anchor whose other end this is."""
        return self._by_inode.get(os.fstat(descriptor).st_ino)

    def close(self, anchor: Anchor) -> None:
        """Nobody holds the descriptor any more: neither pair nor socket is needed."""
        sock = anchor.sock
        if sock.id not in self.anchors:
            return
        if isinstance(sock, StreamSocket) and sock.linger > 0 and sock.connection is not None:
            self._lingering = {number: c for number, c in self._lingering.items() if c.state not in SENT}
            self._lingering[sock.id] = sock.connection
        anchor.detach()
        sock.close()

    def lingers(self, number: int) -> bool:
        """Has the peer of a connection with SO_LINGER yet to acknowledge what was sent before it was closed?"""
        anchor, c = self.anchors.get(number), self._lingering.get(number)
        if isinstance(anchor, StreamAnchor):
            return anchor.is_closing
        return c is not None and c.state not in SENT

    def is_dying(self, pid: int) -> bool:
        """Do descriptors of this process close because it ends? While it closes them the kernel says so; then it is gone."""
        exiting = is_exiting(pid)
        if exiting is None:
            just_now = self._clock.now - self._departed.get(pid, -DEATH_NS) < DEATH_NS
            return just_now or any(session.pid == pid for session in self.sessions)
        return exiting

    def depart(self, session: Session) -> None:
        self.sessions.discard(session)
        self.unregister(session.connection)
        session.connection.close()
        now = self._clock.now
        self._departed = {pid: when for pid, when in self._departed.items() if now - when < DEATH_NS}
        self._departed[session.pid] = now

    # -- what a socket leaves -------------------------------------------------------------------------------------------------

    def remember(self, anchor: Anchor, error: int) -> None:
        """What ended the connection, should its owner ask (SO_ERROR): through the descriptor all look like ECONNRESET."""
        self._errors[anchor.sock.id] = error
        if len(self._errors) > ERRORS_KEPT:
            self._errors.popitem(last=False)

    def recall(self, number: int) -> int:
        return self._errors.pop(number, 0)

    def stop(self) -> None:
        """Let go of everybody; who still has a descriptor gets an error from it."""
        for anchor in list(self.anchors.values()):
            anchor.detach()
        for session in list(self.sessions):
            self.depart(session)
        self._listener.close()
        self._epoll.close()
        self.path.unlink(missing_ok=True)


def _rank(news: tuple[Anchor, int]) -> int:
    return news[0].rank


def is_exiting(pid: int) -> bool | None:
    """Is the process about to end (PF_EXITING among its flags, proc(5))? None when there is none of this number."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return bool(int(fields[6]) & _PF_EXITING)


def raise_descriptor_limit() -> int:
    """As many descriptors as this process may have (RLIMIT_NOFILE); the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft if soft != resource.RLIM_INFINITY else 1 << 20

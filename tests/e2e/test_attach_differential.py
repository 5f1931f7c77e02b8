"""Short programs on the kernel's sockets and on attached ones: the same transcript, event bits and errno included.

Deviations are in DEVIATIONS, each with its reason; a line that agrees after all must leave it.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
from differential import V4, V6, Line, Net, Program, bits, option, reset, so_error, tried
from emulated import Emulated, inside
from netns import PATIENCE

from netemu.attached.host import AttachedHost

pytestmark = pytest.mark.e2e
PAUSES = (0.02, 0.1, 0.5, 2.0)
"""The machine may be busy: a program whose transcripts differ as they should not gets more time, on both sides."""
TCPI_STATE = 0
RD, WR, BOTH = socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR
PEEK, DONTWAIT, WAITALL = socket.MSG_PEEK, socket.MSG_DONTWAIT, socket.MSG_WAITALL
TRUNC = socket.MSG_TRUNC


# -- events -----------------------------------------------------------------------------------------------------------------


def events_fresh(net: Net) -> Iterator[Line]:
    fresh = net.tcp()
    yield "fresh", bits(fresh)
    fresh.bind((net.address, 0))
    yield "bound", bits(fresh)
    fresh.listen()
    yield "listening", bits(fresh)
    fresh.shutdown(RD)
    yield "shut", bits(fresh)


def events_listener(net: Net) -> Iterator[Line]:
    listener, client = net.listener(), net.tcp()
    client.connect(listener.getsockname())
    net.pause()
    yield "one waits", bits(listener)
    net.accept(listener)
    net.pause()
    yield "accepted", bits(listener)


def events_connected(net: Net) -> Iterator[Line]:
    client, server = net.pair()
    yield "quiet", (bits(client), bits(server))
    client.send(b"x")
    net.pause()
    yield "data", bits(server)
    server.recv(1)
    yield "read", bits(server)


def events_half_closed(net: Net) -> Iterator[Line]:
    client, server = net.pair()
    client.shutdown(WR)
    net.pause()
    yield "client shut, server sees it", (bits(client), bits(server))
    server.send(b"x")
    net.pause()
    yield "data the other way", bits(client)
    server.shutdown(WR)
    net.pause()
    yield "both shut", (bits(client), bits(server))
    client.recv(1)
    yield "read", (bits(client), client.recv(1), bits(client))


def events_read_shut(net: Net) -> Iterator[Line]:
    client, server = net.pair()
    client.shutdown(RD)
    yield "read side shut", bits(client)
    server.shutdown(WR)
    net.pause()
    yield "and an end came", bits(client)


def events_both_shut(net: Net) -> Iterator[Line]:
    client, server = net.pair()
    client.shutdown(BOTH)
    net.pause()
    yield "shut", (bits(client), bits(server))


def events_reset(net: Net) -> Iterator[Line]:
    client, server = net.pair()
    reset(server)
    net.pause()
    yield "reset", bits(client)
    yield "told", tried(client.recv, 1)
    yield "after", (bits(client), tried(client.recv, 1), tried(client.send, b"x"))


def events_refused(net: Net) -> Iterator[Line]:
    client = net.tcp(timeout=0)
    yield "connect", client.connect_ex(net.unused()) == errno.EINPROGRESS
    net.pause()
    yield "refused", bits(client)
    yield "errors", (so_error(client), so_error(client))


def fill(net: Net, client: Any) -> None:
    """Write until neither side takes more; what is on its way makes room now and then."""
    client.setblocking(False)
    for _ in range(10):
        while tried(client.send, bytes(1 << 18)) != "EAGAIN":
            pass
        net.pause()


def events_full(net: Net) -> Iterator[Line]:
    client, server = net.pair()
    fill(net, client)
    yield "full", "OUT" in bits(client)
    while tried(server.recv, 1 << 20, DONTWAIT) != "EAGAIN":
        net.pause()  # the rest is on its way
    yield "drained", "OUT" in bits(client)


def events_udp(net: Net) -> Iterator[Line]:
    one, other = net.udp_pair()
    yield "quiet", (bits(net.udp()), bits(one), bits(other))
    one.send(b"")
    net.pause()
    yield "an empty datagram", (bits(other), tried(other.recv, 10), bits(other))
    other.close()
    one.send(b"x")
    net.pause()
    yield "refused", bits(one)
    yield "told", (so_error(one), so_error(one), bits(one))


def edge_triggered(net: Net) -> Iterator[Line]:
    client, server = net.pair()
    with select.epoll() as epoll:
        epoll.register(server.fileno(), select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
        yield "quiet", [bits for _, bits in epoll.poll(0)]
        for _ in range(2):
            client.send(b"x")
            net.pause()
            yield "data", [bits for _, bits in epoll.poll(0)]
        yield "nothing new", [bits for _, bits in epoll.poll(0)]
        client.close()
        net.pause()
        yield "end", [bits for _, bits in epoll.poll(0)]


# -- connecting -------------------------------------------------------------------------------------------------------------


def connect_refused(net: Net) -> Iterator[Line]:
    client, address = net.tcp(), net.unused()
    yield "refused", tried(client.connect, address)
    yield "error was told", so_error(client)
    yield "names", (tried(client.getpeername), client.getsockname()[0] in (net.any, net.address))
    yield "data", (tried(client.send, b"x"), tried(client.recv, 1))
    yield "again", tried(client.connect, address)


def connect_nonblocking(net: Net) -> Iterator[Line]:
    listener, client = net.listener(), net.tcp(timeout=0)
    yield "begin", tried(client.connect, listener.getsockname())
    net.pause()
    yield "done", (so_error(client), bits(client))
    yield "again", [tried(client.connect, listener.getsockname()) for _ in range(2)]
    yield "listen, bind", (tried(client.listen), tried(client.bind, (net.address, 0)))


def connect_nonblocking_refused(net: Net) -> Iterator[Line]:
    client, address = net.tcp(timeout=0), net.unused()
    yield "begin", tried(client.connect, address)
    net.pause()
    yield "the error", tried(client.connect, address)
    yield "from the beginning", tried(client.connect, address)
    net.pause()
    yield "SO_ERROR", (so_error(client), so_error(client))


def connect_refused_then_data(net: Net) -> Iterator[Line]:
    client = net.tcp(timeout=0)
    client.connect_ex(net.unused())
    net.pause()
    yield "send", [tried(client.send, b"x") for _ in range(2)]
    yield "recv", [tried(client.recv, 1) for _ in range(2)]


def connect_oneself(net: Net) -> Iterator[Line]:
    client = net.tcp()
    client.bind((net.address, 0))
    yield "self", tried(client.connect, client.getsockname())
    yield "names", client.getsockname() == client.getpeername()
    client.send(b"echo")
    yield "hears itself", client.recv(10)


def connect_wrong(net: Net) -> Iterator[Line]:
    listener = net.listener()
    yield "a listener", tried(listener.connect, net.unused())
    yield "a connection", tried(net.pair()[0].connect, listener.getsockname())
    other = net.tcp(family=V6 if net.family == V4 else V4)
    yield "port 0", tried(net.tcp().connect, (net.address, 0))
    yield "twice bound", (tried(other.bind, ("", 0)), tried(other.bind, ("", 0)))


def port_reserved(net: Net) -> Iterator[Line]:
    """An ephemeral port of a connection is nobody else's."""
    client, server = net.pair()
    for reuse in (0, 1):
        other = net.tcp()
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        yield f"bind, SO_REUSEADDR {reuse}", tried(other.bind, client.getsockname())
        yield f"the server's, SO_REUSEADDR {reuse}", tried(other.bind, server.getsockname())


def port_after_close(net: Net) -> Iterator[Line]:
    """TIME-WAIT holds the port of who closed first."""
    for first in (0, 1):
        both = net.pair()
        names = [one.getsockname() for one in both]
        both[first].close()
        net.pause()
        both[1 - first].close()
        net.pause()
        yield f"{first} closed first", [tried(net.tcp().bind, name) for name in names]


def port_after_reset(net: Net) -> Iterator[Line]:
    client, server = net.pair()
    names = [client.getsockname(), server.getsockname()]
    reset(client)
    net.pause()
    server.close()
    yield "free at once", [tried(net.tcp().bind, name) for name in names]


# -- listening --------------------------------------------------------------------------------------------------------------


def listen_unbound(net: Net) -> Iterator[Line]:
    listener = net.tcp()
    yield "listen", tried(listener.listen)
    name = listener.getsockname()
    yield "a port of its own", (name[0], name[1] > 0, option(listener, socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    client = net.tcp()
    yield "connect", tried(client.connect, (net.address, name[1]))


def listen_shut_listen(net: Net) -> Iterator[Line]:
    listener = net.listener()
    address = listener.getsockname()
    yield "shut", tried(listener.shutdown, RD)
    yield "again", tried(listener.shutdown, RD)
    yield "refused", tried(net.tcp().connect, address)
    yield "accept", tried(listener.accept)
    yield "ACCEPTCONN", option(listener, socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    yield "listen", tried(listener.listen, 1)
    address = listener.getsockname()  # another: bind was for any
    yield "connect", tried(net.tcp().connect, address)
    yield "accept now", tried(net.accept, listener) not in ("EINVAL", None)
    yield "writing is not for it", (tried(listener.shutdown, WR), tried(net.tcp().connect, address))


def listen_states(net: Net) -> Iterator[Line]:
    listener, fresh = net.listener(), net.tcp()
    for name, sock in ("listener", listener), ("fresh", fresh):
        yield f"{name}: data", (tried(sock.recv, 1), tried(sock.send, b"x"), tried(sock.recvfrom, 1))
        yield f"{name}: peer", tried(sock.getpeername)
    yield "fresh: accept, shutdown", (tried(fresh.accept), tried(fresh.shutdown, BOTH))
    listener.setblocking(False)
    yield "nobody waits", tried(listener.accept)
    yield "again", tried(listener.listen, 1)


def listener_ends_with_some_waiting(net: Net) -> Iterator[Line]:
    for how in ("close", "shutdown"):
        listener, client = net.listener(), net.tcp()
        client.connect(listener.getsockname())
        client.send(b"x")
        net.pause()
        listener.close() if how == "close" else listener.shutdown(BOTH)
        net.pause()
        yield how, (bits(client), tried(client.recv, 1), tried(client.recv, 1), tried(client.send, b"x"))


def accept_after_end(net: Net) -> Iterator[Line]:
    """What the client said before it went can be read."""
    listener, client = net.listener(), net.tcp()
    client.connect(listener.getsockname())
    client.send(b"words")
    client.close()
    net.pause()
    server = net.accept(listener)
    yield "events", bits(server)
    yield "words, end", [tried(server.recv, 10) for _ in range(2)]
    yield "send", tried(server.send, b"x")
    net.pause()
    yield "the RST", tried(server.send, b"x")


def accept_after_reset(net: Net) -> Iterator[Line]:
    listener, client = net.listener(), net.tcp()
    client.connect(listener.getsockname())
    name = client.getsockname()
    net.pause()
    reset(client)
    net.pause()
    server, peer = listener.accept()
    with server:
        yield "events", (peer == name, bits(server))
        yield "told once", [tried(server.recv, 10) for _ in range(2)]
        yield "send, peer", (tried(server.send, b"x"), tried(server.getpeername))


def backlog(net: Net) -> Iterator[Line]:
    """backlog + 1 wait; what is beyond is not answered."""
    listener = net.listener(1)
    clients = [net.tcp(timeout=0) for _ in range(4)]
    for client in clients:
        client.connect_ex(listener.getsockname())
    net.pause()
    yield "established", [so_error(client) + bits(client) for client in clients]
    for _ in range(2):
        net.accept(listener)
    listener.setblocking(False)
    yield "no more", tried(listener.accept)


def backlog_and_accept(net: Net) -> Iterator[Line]:
    listener = net.listener(0)
    for _ in range(3):
        client = net.tcp()
        yield "connect", tried(client.connect, listener.getsockname())
        net.accept(listener)


def reuseport_pair(net: Net) -> Iterator[Line]:
    """Who may share a port, bound and listening."""
    for first in range(4):
        for second in range(4):
            socks = [net.tcp(), net.tcp()]
            for sock, options in zip(socks, (first, second), strict=True):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, options & 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, options >> 1)
            socks[0].bind((net.address, 0))
            name = socks[0].getsockname()
            yield (
                f"{first} {second}",
                [tried(socks[1].bind, name), tried(socks[0].listen), tried(socks[1].listen) if second else None],
            )
            for sock in socks:
                sock.close()


def dual_stack(net: Net) -> Iterator[Line]:
    for only in (0, 1):
        listener = net.tcp(family=V6)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        listener.bind(("::", 0))
        listener.listen()
        port = listener.getsockname()[1]
        yield "bind 0.0.0.0", tried(net.tcp(family=V4).bind, ("0.0.0.0", port))
        client = net.tcp(family=V4)
        yield "connect by IPv4", tried(client.connect, ("127.0.0.1", port))
        if not only:
            yield "its name", (net.accept(listener).getpeername()[0], client.getpeername()[0])
        client = net.tcp(family=V6)
        yield "mapped", tried(client.connect, ("::ffff:127.0.0.1", port))
        yield "::1", tried(net.tcp(family=V6).connect, ("::1", port))


# -- data and the end -------------------------------------------------------------------------------------------------------


def flags_of_recv(net: Net) -> Iterator[Line]:
    client, server = net.pair()
    yield "nothing", (tried(server.recv, 1, DONTWAIT), tried(server.recv, 1, DONTWAIT | PEEK), tried(server.recv, 0))
    client.sendall(b"abcdef")
    net.pause()
    yield "peek", [tried(server.recv, 3, PEEK) for _ in range(2)]
    yield "take", tried(server.recv, 2)
    yield "peek the rest", tried(server.recv, 100, PEEK | DONTWAIT)
    yield "wait for less", tried(server.recv, 3, WAITALL)
    client.sendall(b"gh")
    client.shutdown(WR)
    yield "wait for all, the end comes first", tried(server.recv, 100, WAITALL)
    yield "end", (tried(server.recv, 100, WAITALL), tried(server.recv, 10, PEEK), tried(server.recv, 1, DONTWAIT))


def recvmsg_of_tcp(net: Net) -> Iterator[Line]:
    client, server = net.pair()
    yield "sendmsg", client.sendmsg([b"ab", b"", b"cd"])
    net.pause()
    yield "recvmsg", server.recvmsg(3, 100)
    yield "recvfrom", server.recvfrom(3)
    client.sendto(b"z", ("192.0.2.1", 9)) if net.family == V4 else client.send(b"z")
    buffer = bytearray(4)
    yield "into", (server.recvmsg_into([buffer]), bytes(buffer))


def timeouts(net: Net) -> Iterator[Line]:
    client, server = net.pair()
    server.settimeout(0.01)
    yield "recv", (tried(server.recv, 1), tried(server.recv_into, bytearray(1)))
    listener = net.listener()
    listener.settimeout(0.01)
    yield "accept", tried(listener.accept)
    client.settimeout(0)
    yield "at once", tried(client.recv, 1)
    client.setblocking(True)
    yield "blocking", client.gettimeout()


def shutdowns(net: Net) -> Iterator[Line]:
    client, server = net.pair()
    yield "write", tried(client.shutdown, WR)
    yield "write again", tried(client.shutdown, WR)
    yield "send", (tried(client.send, b"x"), tried(client.sendall, b"x"))
    yield "wrong", tried(client.shutdown, 7)
    server.sendall(b"still")
    yield "the other way", tried(client.recv, 10)
    server.shutdown(WR)
    net.pause()
    yield "end", (tried(client.recv, 1), tried(server.recv, 1))
    yield "over", (tried(client.shutdown, BOTH), tried(server.shutdown, RD))


def shut_reading(net: Net) -> Iterator[Line]:
    client, server = net.pair()
    server.sendall(b"before")
    net.pause()
    client.shutdown(RD)
    yield "what was there, then the end", [tried(client.recv, 10) for _ in range(2)]
    yield "it still sends", (tried(client.send, b"x"), tried(server.recv, 1))


def data_after_reset(net: Net) -> Iterator[Line]:
    for order in ("recv first", "send first"):
        client, server = net.pair()
        reset(server)
        net.pause()
        calls = [(client.recv, 1), (client.send, b"x")]
        if order == "send first":
            calls.reverse()
        yield order, [tried(call, argument) for call, argument in calls * 2]
        yield f"{order}: names", (tried(client.getpeername), tried(client.getsockname), so_error(client))
        yield f"{order}: shutdown", tried(client.shutdown, WR)


def data_before_reset(net: Net) -> Iterator[Line]:
    """What had arrived is lost on a RST, says RFC 9293; Linux lets it be read."""
    client, server = net.pair()
    server.sendall(b"words")
    net.pause()
    reset(server)
    net.pause()
    yield "SO_ERROR", so_error(client)
    yield "recv", [tried(client.recv, 10) for _ in range(2)]


def close_with_unread(net: Net) -> Iterator[Line]:
    client, server = net.pair()
    client.sendall(b"unread")
    net.pause()
    server.close()
    net.pause()
    yield "reset", (bits(client), tried(client.recv, 1), tried(client.recv, 1))


def send_to_the_closed(net: Net) -> Iterator[Line]:
    client, server = net.pair()
    server.close()
    net.pause()
    yield "the end", (bits(client), tried(client.recv, 1))
    yield "the first goes out", tried(client.send, b"x")
    net.pause()
    yield "its RST", (bits(client), so_error(client), tried(client.recv, 1), tried(client.send, b"x"))


def error_once(net: Net) -> Iterator[Line]:
    client, server = net.pair()
    reset(server)
    net.pause()
    yield "SO_ERROR", (so_error(client), so_error(client))
    yield "and then", (tried(client.recv, 1), tried(client.send, b"x"))


def lingering(net: Net) -> Iterator[Line]:
    for seconds, reads in ((1, False), (2 * PATIENCE, True)):
        client, server = net.pair()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, seconds))
        if not reads:
            fill(net, client)
        began = time.monotonic()
        client.close()
        took = time.monotonic() - began
        yield f"{seconds} s, the peer {'reads' if reads else 'does not'}", (took > 0.9 * seconds, took < PATIENCE)
        yield "the peer", isinstance(tried(server.recv, 1), bytes)


def linger_0_after_shutdown(net: Net) -> Iterator[Line]:
    client, server = net.pair()
    client.shutdown(WR)
    net.pause()
    reset(client)
    net.pause()
    yield "end", tried(server.recv, 1)
    yield "send", tried(server.send, b"x")


def fin_wait_2(net: Net) -> Iterator[Line]:
    client, server = net.pair()
    client.shutdown(WR)
    net.pause()
    yield "states", [state(sock) for sock in (client, server)]
    server.shutdown(WR)
    net.pause()
    yield "over", [state(sock) for sock in (client, server)]


def state(sock: Any) -> object:
    """TCP_INFO's: 1 ESTABLISHED, 5 FIN_WAIT2, 7 CLOSE, 8 CLOSE_WAIT, 10 LISTEN."""
    found = tried(sock.getsockopt, socket.IPPROTO_TCP, socket.TCP_INFO, 8)
    return found[TCPI_STATE] if isinstance(found, bytes) else found


def states(net: Net) -> Iterator[Line]:
    client, server = net.pair()
    yield "open", [state(sock) for sock in (net.tcp(), net.listener(), client, server)]
    reset(client)
    net.pause()
    yield "reset", state(server)


def makefile(net: Net) -> Iterator[Line]:
    client, server = net.pair()
    with client.makefile("rwb") as file:
        client.close()
        file.write(b"line\n")
        file.flush()
        yield "line", tried(server.recv, 10)
        server.sendall(b"answer\nrest")
        yield "answer", file.readline()
        server.shutdown(WR)
        yield "all", file.read()
    net.pause()
    yield "end", tried(server.recv, 1)


# -- options ----------------------------------------------------------------------------------------------------------------


OPTIONS = {
    "TYPE": (socket.SOL_SOCKET, socket.SO_TYPE),
    "PROTOCOL": (socket.SOL_SOCKET, socket.SO_PROTOCOL),
    "DOMAIN": (socket.SOL_SOCKET, socket.SO_DOMAIN),
    "ERROR": (socket.SOL_SOCKET, socket.SO_ERROR),
    "ACCEPTCONN": (socket.SOL_SOCKET, socket.SO_ACCEPTCONN),
    "REUSEADDR": (socket.SOL_SOCKET, socket.SO_REUSEADDR),
    "REUSEPORT": (socket.SOL_SOCKET, socket.SO_REUSEPORT),
    "KEEPALIVE": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    "OOBINLINE": (socket.SOL_SOCKET, socket.SO_OOBINLINE),
    "NODELAY": (socket.IPPROTO_TCP, socket.TCP_NODELAY),
    "KEEPIDLE": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    "KEEPINTVL": (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    "KEEPCNT": (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    "USER_TIMEOUT": (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
    "unknown": (socket.IPPROTO_TCP, 250),
}


def options(net: Net) -> Iterator[Line]:
    client, server = net.pair()
    for name, (level, number) in OPTIONS.items():
        yield name, [option(sock, level, number) for sock in (net.tcp(), net.listener(), client, server)]


def options_set(net: Net) -> Iterator[Line]:
    listener = net.listener()
    for name in ("REUSEADDR", "KEEPALIVE", "NODELAY", "KEEPIDLE", "KEEPCNT", "USER_TIMEOUT", "OOBINLINE"):
        listener.setsockopt(*OPTIONS[name], 7)
    client = net.tcp()
    client.connect(listener.getsockname())
    server = net.accept(listener)
    yield "inherited", [option(server, *OPTIONS[name]) for name in OPTIONS]
    for name in ("ERROR", "TYPE", "unknown"):
        yield f"set {name}", tried(server.setsockopt, *OPTIONS[name], 1)
    yield "too short", tried(server.setsockopt, *OPTIONS["NODELAY"], b"\1")


def receive_timeout(net: Net) -> Iterator[Line]:
    """SO_RCVTIMEO, and SO_RCVLOWAT for poll."""
    _, server = net.pair()
    server.settimeout(None)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 10_000))
    yield "read back", server.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
    yield "recv", tried(server.recv, 1)
    fresh = net.tcp()
    fresh.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 10_000))
    listener = net.listener()
    fresh.settimeout(None)
    fresh.connect(listener.getsockname())
    yield "kept by connect", tried(fresh.recv, 1)


# -- UDP --------------------------------------------------------------------------------------------------------------------


def udp_truncated(net: Net) -> Iterator[Line]:
    one, other = net.udp_pair()
    name = one.getsockname()
    for data in (b"0123456789", b"", b"abc"):
        one.send(data)
    net.pause()
    yield "peek", (tried(other.recv, 4, PEEK), other.recvmsg(4, 0, PEEK)[2])
    data, ancillary, flags, address = other.recvmsg(4)
    yield "truncated", (data, ancillary, flags == TRUNC, address == name)
    yield "empty", tried(other.recv, 10)
    yield "next", other.recvmsg(10)[0::2]
    yield "nothing", (tried(other.recv, 10, DONTWAIT), tried(other.recvfrom, 10, DONTWAIT | PEEK))


def udp_refused(net: Net) -> Iterator[Line]:
    for call in ("recv", "send", "recvfrom", "sendto"):
        one, other = net.udp_pair()
        gone = other.getsockname()
        other.close()
        one.send(b"x")
        net.pause()
        arguments = {"recv": (1, DONTWAIT), "send": (b"x",), "recvfrom": (1, DONTWAIT), "sendto": (b"x", gone)}[call]
        yield call, tried(getattr(one, call), *arguments)


def udp_disconnected(net: Net) -> Iterator[Line]:
    one, other = net.udp_pair()
    third = net.udp()
    yield "no peer", (tried(third.send, b"x"), tried(third.getpeername), tried(third.sendto, b"x", other.getsockname()))
    yield "the stranger's", (tried(other.recv, 10), tried(third.sendto, b"y", one.getsockname()))
    other.sendto(b"z", one.getsockname())
    yield "only the peer's", (tried(one.recv, 10), tried(one.recv, 10, DONTWAIT))
    one.connect(third.getsockname()[:1] + third.getsockname()[1:]) if third.getsockname()[0] != net.any else None
    yield "listen, accept", (tried(one.listen), tried(one.accept))
    yield "shutdown", (tried(third.shutdown, BOTH), tried(one.shutdown, WR), tried(one.send, b"x"))


def udp_sizes(net: Net) -> Iterator[Line]:
    one, other = net.udp_pair()
    most = 65507 if net.family == V4 else 65527
    yield "the longest", (tried(one.send, bytes(most)), len(other.recv(1 << 17)))
    yield "longer", tried(one.send, bytes(most + 1))
    yield "port 0", tried(one.sendto, b"x", (net.address, 0))


def udp_select(net: Net) -> Iterator[Line]:
    one, other = net.udp_pair()
    other.settimeout(0.01)
    yield "nothing", (len(select.select([other], [], [], 0)[0]), tried(other.recv, 1))
    for _ in range(3):
        one.send(b"x")
    net.pause()
    yield "three", [(len(select.select([other], [], [], 1)[0]), tried(other.recv, 1)) for _ in range(3)]
    yield "nothing more", len(select.select([other], [other], [], 0)[0])


def udp_shut(net: Net) -> Iterator[Line]:
    one, _ = net.udp_pair()
    yield "shut", (tried(one.shutdown, RD), tried(one.recv, 1), bits(one))
    yield "both", (tried(one.shutdown, BOTH), bits(one), tried(one.send, b"x"))


PROGRAMS: list[Program] = [
    found
    for found in list(globals().values())
    if getattr(found, "__annotations__", {}).get("return") == "Iterator[Line]"
]
NO_HUP = "a descriptor that is no connection is one end of a pair of unix sockets, and those tell HUP and ERR for other things"
ALWAYS_OUT = "the descriptor of a listener could be written to, as far as the kernel knows"
MAILBOX = "an error comes as a message: it makes the descriptor readable, and the call that reads it raises the errno"
FORGOTTEN = "with both directions at their end the descriptor looks closed, and the host has let go of the socket"
DEVIATIONS: dict[tuple[str, str], str] = {
    ("events_fresh", "fresh"): NO_HUP,
    ("events_fresh", "bound"): NO_HUP,
    ("events_fresh", "listening"): ALWAYS_OUT,
    ("events_fresh", "shut"): NO_HUP,
    ("events_listener", "one waits"): ALWAYS_OUT,
    ("events_listener", "accepted"): ALWAYS_OUT,
    ("events_refused", "refused"): NO_HUP,
    ("events_udp", "refused"): MAILBOX,
    ("events_udp", "told"): MAILBOX,
    ("udp_shut", "both"): NO_HUP,
    ("connect_refused_then_data", "recv"): "a socket whose connect failed is fresh again: ENOTCONN, not an end",
    ("shutdowns", "over"): FORGOTTEN,
    ("fin_wait_2", "over"): FORGOTTEN,
    ("states", "reset"): FORGOTTEN,
    (
        "linger_0_after_shutdown",
        "end",
    ): "the RST overtakes the end that was not read: the error is told by recv, not by send",
}


def transcript(net: Net, program: Program) -> dict[str, object]:
    try:
        return dict(program(net))
    finally:
        net.close()


@pytest.mark.parametrize("family", [V4, V6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_as_the_kernel(instance: Emulated, host: AttachedHost, program: Program, family: int) -> None:
    known = {label for name, label in DEVIATIONS if name == program.__name__}
    for pause in PAUSES:
        kernel = Net(socket.socket, family, pause)
        expected = inside(instance.namespace, lambda kernel=kernel: transcript(kernel, program))  # type: ignore[misc]
        found = transcript(Net(host.socket, family, pause), program)
        different = {label: (expected[label], found[label]) for label in expected if expected[label] != found[label]}
        if different.keys() == known:
            return
    assert different.keys() == known, f"(kernel, netemu): {different}"

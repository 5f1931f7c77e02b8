"""From an app to the sockets that it serves."""

from __future__ import annotations

from contextlib import suppress

from netemu.apps.base import App, Service
from netemu.apps.registry import AppSpec
from netemu.runtime.between import Between
from netemu.runtime.engine import Engine
from netemu.runtime.errors import RuntimeFailure
from netemu.stack import constants as so
from netemu.stack.host import Host
from netemu.stack.stream_socket import StreamSocket
from netemu.stack.streams import BACKLOG, serve_datagrams, serve_stream
from netemu.wire.ip import text


def serve(engine: Engine, spec: AppSpec, app: App) -> None:
    """Listen at all ports of ``app``, under the name that ``spec`` gives it; RuntimeFailure where one is taken.

    A socket for each family, so that the table and the captures show IPv4 addresses as such.
    """
    families = {so.AF_INET6 if len(address) == 16 else so.AF_INET for address in engine.host.addresses}
    for service in app.services(spec.port):
        for family in sorted(families):
            try:
                _serve(engine.host, spec.name, service, family)
            except OSError as error:
                raise RuntimeFailure(f"--app {spec.name}: port {service.port}: {error.strerror}") from None
        if service.rules or service.bend is not None:
            between_of(engine).add(service.port, service.rules, service.bend)


def between_of(engine: Engine) -> Between:
    if engine.between is None:
        engine.insert(Between(engine.host, engine.host.random.getrandbits(64)))
        assert engine.between is not None
    return engine.between


def _serve(host: Host, name: str, service: Service, family: int) -> None:
    if service.datagram is not None:
        serve_datagrams(host, service.datagram(), service.port, app=name, family=family, v6only=True)
    if service.stream is None:
        return
    listening = serve_stream(
        host,
        service.stream,
        service.port,
        app=name,
        family=family,
        v6only=True,
        backlog=BACKLOG if service.accepts else 0,
        prepare=service.prepare,
    )
    if not service.accepts:
        listening.on_event = None
        _fill(listening)


def _fill(listening: StreamSocket) -> None:
    """Put a connection of our own into the accept queue, where it stays: with a backlog of 0 that is all that it holds."""
    host = listening.host
    client = StreamSocket(host, listening.family, listening.app)
    size = 16 if listening.is_ipv6 else 4
    own = next(address for address in host.addresses if len(address) == size)
    with suppress(BlockingIOError):
        client.connect((text(own), listening.lport))

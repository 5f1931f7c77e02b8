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
from netemu.wire.ip import parse_address, text


def serve(engine: Engine, spec: AppSpec, app: App) -> None:
    """Listen at all ports of ``app``, under the name that ``spec`` gives it; RuntimeFailure where one is taken.

    A socket for each family, so that the table and the captures show IPv4 addresses as such. Addresses that a service has for
    itself become the host's here.
    """
    families = {_family(address) for address in engine.host.addresses}
    for service in app.services(spec.port):
        address = parse_address(service.address) if service.address else b""
        if address:
            _give(engine.host, spec, address, families)
        for family in [_family(address)] if address else sorted(families):
            try:
                _serve(engine.host, spec.name, service, family)
            except OSError as error:
                raise RuntimeFailure(f"--app {spec.name}: port {service.port}: {error.strerror}") from None
        if service.rules or service.bend is not None:
            between_of(engine).add(service.port, service.rules, service.bend, address)


def _family(address: bytes) -> int:
    return so.AF_INET6 if len(address) == 16 else so.AF_INET


def _give(host: Host, spec: AppSpec, address: bytes, families: set[int]) -> None:
    """One more address for the host, which is for this app alone."""
    if _family(address) not in families:
        raise RuntimeFailure(f"--app {spec.name}: {text(address)}: the host has no address of that family")
    if address in host.addresses:
        raise RuntimeFailure(f"--app {spec.name}: {text(address)} is an address of the host already; change the prefix")
    host.addresses[address] = None
    host.set_aside.add(address)


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
        address=service.address,
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
    own = next(address for address in host.addresses if listening.name is not None and listening.name.covers(address))
    with suppress(BlockingIOError):
        client.connect((text(own), listening.lport))

"""Apps of an instance, for tests: this process attached, and others."""

from __future__ import annotations

import socket

from emulated import ADDRESS4, Emulated, inside
from netns import PATIENCE

from netemu.attached.host import AttachedHost
from netemu.attached.socket import AttachedSocket


def client_of(instance: Emulated, port: int, address: str = ADDRESS4) -> socket.socket:
    """A kernel socket, connected to the host."""
    return inside(instance.namespace, lambda: socket.create_connection((address, port), timeout=PATIENCE))


def pair(instance: Emulated, host: AttachedHost) -> tuple[socket.socket, AttachedSocket]:
    """(a kernel client, the app's end of the connection)."""
    with host.create_server((ADDRESS4, 0)) as server:
        client = client_of(instance, server.getsockname()[1])
        ours, peer = server.accept()
        assert peer == client.getsockname() == ours.getpeername()
        assert ours.getsockname() == client.getpeername()
        ours.settimeout(PATIENCE)
        return client, ours

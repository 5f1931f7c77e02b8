"""This process as an app of a running instance: sockets of the emulated host that are descriptors of ours.

>>> import netemu
>>> host = netemu.attach(app="web")
>>> server = host.create_server(("", 8080))
>>> connection, peer = server.accept()          # select, asyncio, subprocess, http.server … all work on it
"""

from netemu.attached.host import AttachedHost, attach, fromfd
from netemu.attached.socket import AttachedSocket

__all__ = ["AttachedHost", "AttachedSocket", "attach", "fromfd"]

"""A Linux TUN device from Python: open, offload, read, write, addresses, network namespaces. Usable alone.

    from tun import Tun

    with Tun("demo0", mtu=1500) as device:  # root, or the owner of a device made by `ip tuntap add`
        device.configure(["198.18.0.1/24", "2001:2::1/64"])
        for packet, gso_size, csum_start, csum_offset in device.read():
            ...

The descriptor is non-blocking: wait on ``device.fileno()`` with select, a selector or an asyncio loop's add_reader.
Whatever goes wrong is a TunError: the kernel's errno, and one line that says what to do.
"""

from tun.address import find_conflict, free_range
from tun.device import Tun
from tun.errors import TunError
from tun.offload import RawFrame

__all__ = ["RawFrame", "Tun", "TunError", "find_conflict", "free_range"]

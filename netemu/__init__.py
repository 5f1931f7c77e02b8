"""netemu: an IP host that lives in a Python process.

>>> import netemu
>>> host = netemu.Host(["192.0.2.1/24"], seed=1)          # sans-I/O: packets and the time go in, packets come out
>>> host = netemu.attach(app="C")                         # this process becomes an app of a running instance
>>> sim = netemu.Simulation(seed=7)                       # hosts and links in virtual time
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netemu.attached.host import attach, fromfd
    from netemu.runtime.errors import RuntimeFailure
    from netemu.sim.simulation import Simulation
    from netemu.sim.waiting import Deadlock
    from netemu.stack.host import Host

__version__ = "0.1.0"
__all__ = ["Deadlock", "Host", "RuntimeFailure", "Simulation", "__version__", "attach", "fromfd"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    """What the package offers, imported when it is asked for: `netemu ss` must not wait for it."""
    if name == "Host":
        from netemu.stack.host import Host

        return Host
    if name == "Simulation":
        from netemu.sim.simulation import Simulation

        return Simulation
    if name == "Deadlock":
        from netemu.sim.waiting import Deadlock

        return Deadlock
    if name == "RuntimeFailure":
        from netemu.runtime.errors import RuntimeFailure

        return RuntimeFailure
    if name in ("attach", "fromfd"):
        from netemu.attached import host

        return getattr(host, name)
    raise AttributeError(f"module 'netemu' has no attribute {name!r}")

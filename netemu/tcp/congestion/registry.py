"""Algorithms by the names that TCP_CONGESTION and net.ipv4.tcp_congestion_control know."""

from __future__ import annotations

from collections.abc import Callable

from netemu.tcp.congestion.base import CongestionControl
from netemu.tcp.congestion.bbr import Bbr
from netemu.tcp.congestion.cubic import Cubic
from netemu.tcp.congestion.newreno import NewReno

ALGORITHMS: dict[str, type[CongestionControl]] = {"bbr": Bbr, "cubic": Cubic, "newreno": NewReno, "reno": NewReno}

LOADERS: list[Callable[[], None]] = []
"""What puts further ones in (netemu.runtime.plugins), at the first name that is not known: it has to look at the file system."""
BROKEN: dict[str, str] = {}
"""Names that a loader could not keep its word for, and why."""


def find(name: str) -> type[CongestionControl] | None:
    """The algorithm called ``name``, or None."""
    if name not in ALGORITHMS:
        while LOADERS:
            LOADERS.pop()()
    return ALGORITHMS.get(name)


def choices() -> str:
    """All that can be asked for, in words; and why what is installed cannot."""
    return ", ".join(ALGORITHMS) + "".join(f"; {name} {why}" for name, why in BROKEN.items())

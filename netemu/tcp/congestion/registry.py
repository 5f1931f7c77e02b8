"""Algorithms by the names that TCP_CONGESTION and net.ipv4.tcp_congestion_control know."""

from __future__ import annotations

from netemu.tcp.congestion.base import CongestionControl
from netemu.tcp.congestion.bbr import Bbr
from netemu.tcp.congestion.cubic import Cubic
from netemu.tcp.congestion.newreno import NewReno

ALGORITHMS: dict[str, type[CongestionControl]] = {"bbr": Bbr, "cubic": Cubic, "newreno": NewReno, "reno": NewReno}
"""A user's own are put in too (netemu.runtime.plugins)."""

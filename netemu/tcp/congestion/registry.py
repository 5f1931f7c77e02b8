"""Algorithms by the names that TCP_CONGESTION and net.ipv4.tcp_congestion_control know."""

from __future__ import annotations

from netemu.tcp.congestion.base import CongestionControl
from netemu.tcp.congestion.newreno import NewReno

ALGORITHMS: dict[str, type[CongestionControl]] = {"newreno": NewReno, "reno": NewReno}

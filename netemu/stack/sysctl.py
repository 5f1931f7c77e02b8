"""Settings under Linux' names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from netemu.tcp.config import SECOND, Config
from netemu.tcp.congestion.registry import choices, find

SETTINGS: dict[str, tuple[str, int]] = {
    "net.ipv4.tcp_timestamps": ("timestamps", 1),
    "net.ipv4.tcp_sack": ("sack", 1),
    "net.ipv4.tcp_dsack": ("dsack", 1),
    "net.ipv4.tcp_recovery": ("rack", 1),
    "net.ipv4.tcp_early_retrans": ("early_retrans", 1),
    "net.ipv4.tcp_frto": ("frto", 1),
    "net.ipv4.tcp_window_scaling": ("window_scaling", 1),
    "net.ipv4.tcp_syn_retries": ("syn_retries", 1),
    "net.ipv4.tcp_synack_retries": ("synack_retries", 1),
    "net.ipv4.tcp_retries1": ("retries1", 1),
    "net.ipv4.tcp_retries2": ("retries2", 1),
    "net.ipv4.tcp_orphan_retries": ("orphan_retries", 1),
    "net.ipv4.tcp_fin_timeout": ("fin_timeout", SECOND),
    "net.ipv4.tcp_keepalive_time": ("keepalive_time", SECOND),
    "net.ipv4.tcp_keepalive_intvl": ("keepalive_interval", SECOND),
    "net.ipv4.tcp_keepalive_probes": ("keepalive_probes", 1),
    "net.ipv4.tcp_rfc1337": ("rfc1337", 1),
    "net.ipv4.tcp_migrate_req": ("migrate_req", 1),
    "net.ipv4.tcp_ecn": ("ecn", 1),
    "net.ipv4.tcp_pacing_ss_ratio": ("pacing_ss_ratio", 1),
    "net.ipv4.tcp_pacing_ca_ratio": ("pacing_ca_ratio", 1),
    "net.ipv4.tcp_slow_start_after_idle": ("slow_start_after_idle", 1),
    "net.ipv4.tcp_congestion_control": ("congestion", 1),
    "net.ipv4.ip_autobind_reuse": ("autobind_reuse", 1),
    "net.ipv4.ip_unprivileged_port_start": ("unprivileged_port_start", 1),
}
"""sysctl name to (field of Config, unit)."""


PORT_RANGE = "net.ipv4.ip_local_port_range"
"""Its value is two numbers, or a text of two as sysctl(8) has it."""


def configure(config: Config, settings: Mapping[str, int | str | tuple[int, int]]) -> Config:
    """``config`` with ``settings`` applied; KeyError names one that is unknown, ValueError one whose value makes no sense."""
    changes: dict[str, object] = {}
    for name, given in settings.items():
        if name == PORT_RANGE:
            changes["local_ports"] = _port_range(given)
            continue
        if isinstance(given, tuple):
            raise ValueError(f"{name}: give one number")
        field, unit = SETTINGS[name]
        if field == "congestion":
            changes[field] = _algorithm(str(given).strip())
            continue
        value = int(given)
        if field == "orphan_retries":
            value = value or 8  # as Linux reads a zero
        changes[field] = bool(value) if isinstance(getattr(config, field), bool) else value * unit
    return replace(config, **changes)  # type: ignore[arg-type]  # fields and their types come from the table above


def wanted(name: str) -> str:
    """What a value of this setting has to be, in words."""
    if name == PORT_RANGE:
        return "two port numbers, such as '32768 60999'"
    if SETTINGS[name][0] == "congestion":
        return f"one of {choices()}"
    return "a number"


def _algorithm(name: str) -> str:
    if find(name) is None:
        raise ValueError(f"there is no congestion control {name!r}; give one of {choices()}")
    return name


def _port_range(given: int | str | tuple[int, int]) -> tuple[int, int]:
    numbers = given if isinstance(given, tuple) else tuple(map(int, str(given).split()))
    if len(numbers) != 2 or not 1 <= numbers[0] <= numbers[1] <= 65535:
        raise ValueError(f"{PORT_RANGE}: give the lowest and the highest port")
    return numbers[0], numbers[1]

"""What --option lines and the command line set."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from netemu.packetdrill.script import ScriptError

IPV4, IPV6, MAPPED = "ipv4", "ipv6", "ipv4-mapped-ipv6"
VERSIONS = (IPV4, IPV6, MAPPED)
_ADDRESSES = {
    IPV4: ("192.168.0.1", "192.0.2.1"),
    MAPPED: ("192.168.0.1", "192.0.2.1"),
    IPV6: ("fd3d:a0b:17d6::1", "2001:db8::1"),
}
"""(ours, the peer's)."""

_NUMBERS = {
    "mtu": (68, 65535), "mss": (0, 65535), "tolerance_usecs": (0, 10**9), "tcp_ts_tick_usecs": (0, 10**6),
    "bind_port": (1, 65535), "connect_port": (1, 65535), "gro_size": (0, 65535),
}  # fmt: skip
"""Options that are a number, with its bounds."""
MEANINGLESS = frozenset(
    (
        "gateway_ip", "netmask_ip", "local_linux_gateway", "speed", "init_scripts", "persistent_tun_dev", "send_omit_free",
        "code_command", "code_format", "dry_run", "debug", "non_fatal", "udp_encaps", "fm", "tcp_ts_ecr_scaled",
    )
)  # fmt: skip
"""Those about a TUN device, a kernel or a real clock: accepted, and nothing here changes by them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Every option that means something here."""

    ip_version: str = IPV4
    local_ip: str = ""
    remote_ip: str = ""
    mtu: int = 1500
    mss: int = 0
    """Bytes into which a longer inbound segment counts as cut (as a NIC's GRO would have put it together); 0: one packet."""
    tolerance_usecs: int = 4000
    tolerance_percent: float = 12.5
    tcp_ts_tick_usecs: int = 0
    """How long a tick of the timestamp clock is, us; 0: values of timestamps are not compared with the time."""
    bind_port: int = 8080
    connect_port: int = 8080
    gro_size: int = 0
    strict_segments: bool = False
    code_sockopt: str = "TCP_INFO"
    defines: dict[str, str] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)

    def with_option(self, name: str, value: str, line: int = 0) -> Settings:
        """The same with one option more; ScriptError for what there is not, or makes no sense."""
        if name in _NUMBERS:
            least, most = _NUMBERS[name]
            if not value.isdigit() or not least <= int(value) <= most:
                raise ScriptError(f"--{name}={value}: give a number from {least} to {most}", line)
            return replace(self, **{name: int(value)})  # type: ignore[arg-type]  # all of them are ints
        match name:
            case "ip_version":
                if value not in VERSIONS:
                    raise ScriptError(f"--ip_version={value}: it is one of {', '.join(VERSIONS)}", line)
                return replace(self, ip_version=value)
            case "local_ip":
                return replace(self, local_ip=_address(name, value, line))
            case "remote_ip":
                return replace(self, remote_ip=_address(name, value, line))
            case "tolerance_percent":
                return replace(self, tolerance_percent=_percent(value, line))
            case "strict_segments":
                return replace(self, strict_segments=True)
            case "code_sockopt":
                return replace(self, code_sockopt=value or "TCP_INFO")
            case "define" | "D":
                symbol, equals, meaning = value.partition("=")
                if not equals or not symbol.isidentifier():
                    raise ScriptError(f"--define {value}: write NAME=VALUE", line)
                return replace(self, defines={**self.defines, symbol: meaning.strip('"')})
        if name in MEANINGLESS or name.startswith("wire_"):
            return self
        raise ScriptError(f"--{name}: there is no such option", line)

    @property
    def is_ipv6(self) -> bool:
        """Is IPv6 on the wire?"""
        return self.ip_version == IPV6

    @property
    def addresses(self) -> tuple[str, str]:
        """(ours, the peer's) on the wire. ScriptError where they are of the other family."""
        ours, theirs = _ADDRESSES[self.ip_version]
        found = (self.local_ip or ours).split("/")[0], (self.remote_ip or theirs).split("/")[0]
        if any((":" in address) != self.is_ipv6 for address in found):
            raise ScriptError(f"--local_ip and --remote_ip must be addresses for --ip_version={self.ip_version}")
        return found


def _address(name: str, value: str, line: int) -> str:
    try:
        ip_address(value.split("/")[0])
    except ValueError:
        raise ScriptError(f"--{name}={value}: that is no IP address", line) from None
    return value


def _percent(value: str, line: int) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1000:
        raise ScriptError(f"--tolerance_percent={value}: give a number from 0 to 1000", line)
    return number

"""Settings of a script's command lines, for the host that it runs against."""

from __future__ import annotations

from netemu.packetdrill.outcome import Unsupported
from netemu.stack.host import Host
from netemu.stack.sysctl import configure

ONLY: dict[str, frozenset[str] | None] = {
    "net.ipv4.tcp_frto": None,
    "net.ipv4.tcp_fack": None,
    "net.ipv4.tcp_tso_win_divisor": None,
    "net.ipv4.tcp_min_tso_segs": None,
    "net.ipv4.tcp_pacing_ss_ratio": None,
    "net.ipv4.tcp_pacing_ca_ratio": None,
    "net.ipv4.tcp_no_metrics_save": None,
    "net.ipv4.tcp_no_ssthresh_metrics_save": None,
    "net.ipv4.tcp_fastopen_key": None,
    "net.ipv4.tcp_fastopen": None,
    "net.ipv4.tcp_syncookies": None,
    "net.ipv4.tcp_dsack": frozenset("1"),
    "net.ipv4.tcp_reordering": frozenset("3"),
    "net.ipv4.tcp_congestion_control": frozenset(("cubic", "reno")),
    "net.ipv4.tcp_slow_start_after_idle": None,
    "net.ipv4.tcp_early_retrans": None,
    "net.ipv4.tcp_recovery": None,
    "net.ipv4.tcp_ecn": frozenset("02"),
    "net.ipv4.tcp_ecn_option": None,
    "net.ipv4.tcp_notsent_lowat": frozenset(("4294967295", "-1")),
    "net.ipv4.tcp_rmem": None,
    "net.ipv4.tcp_wmem": None,
    "net.ipv4.tcp_moderate_rcvbuf": None,
    "net.ipv4.tcp_mtu_probing": frozenset("0"),
    "net.ipv4.tcp_adv_win_scale": None,
    "net.ipv4.tcp_app_win": None,
    "net.ipv4.tcp_autocorking": None,
    "net.ipv4.tcp_max_syn_backlog": None,
    "net.ipv4.tcp_comp_sack_nr": None,
    "net.ipv4.tcp_comp_sack_delay_ns": None,
    "net.ipv4.tcp_invalid_ratelimit": frozenset("500"),
    "net.core.rmem_max": None,
    "net.core.wmem_max": None,
    "net.core.somaxconn": None,
    "net.core.optmem_max": None,
    "net.core.default_qdisc": None,
    "net.mptcp.enabled": None,
}
"""What the host does not know: values that are its own behaviour anyway, or None where any value is taken and changes nothing."""


def apply(host: Host, name: str, value: str) -> None:
    """Set it; Unsupported for what the host neither knows nor does as the value says."""
    plain = " ".join(value.split())
    try:
        host.config = configure(host.config, {name: plain})
        return
    except KeyError:
        pass
    except (ValueError, TypeError) as error:
        raise Unsupported(f"sysctl {name}={value}: {error}") from None
    if name not in ONLY:
        raise Unsupported(f"there is no sysctl {name}")
    accepted = ONLY[name]
    if accepted is not None and plain not in accepted:
        raise Unsupported(f"sysctl {name}={value} would change nothing here")

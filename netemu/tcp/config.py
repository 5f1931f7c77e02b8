"""What a host sets for all its connections, and a socket for its own; Linux' names of the sysctls stand beside them."""

from __future__ import annotations

from dataclasses import dataclass

MS = 1_000_000
SECOND = 1_000_000_000
NEVER = 1 << 62
"""A time that does not come."""

MIN_MSS = 48
"""A peer that announces less is not believed: it would only make us send headers (as Linux' TCP_MIN_MSS of 88, less options)."""


@dataclass(slots=True)
class Config:
    """Times in nanoseconds, sizes in bytes."""

    timestamps: bool = True  # net.ipv4.tcp_timestamps
    sack: bool = True  # tcp_sack
    rack: bool = True  # tcp_recovery: losses are found by time (RFC 8985), else by counting (RFC 6675)
    early_retrans: bool = True  # tcp_early_retrans: tail loss probes (RFC 8985 section 7)
    frto: bool = True  # tcp_frto: RFC 5682
    dsack: bool = True  # tcp_dsack: RFC 2883
    window_scaling: bool = True  # tcp_window_scaling
    rcvbuf: int = 1 << 20  # tcp_rmem
    sndbuf: int = 512 << 10  # tcp_wmem
    initial_rto: int = SECOND  # RFC 6298 2.1
    min_rto: int = 200 * MS  # DEVIATION: RFC 6298 2.4 says 1 s SHOULD; every stack in use takes less
    max_rto: int = 120 * SECOND
    delayed_ack: int = 40 * MS
    quick_acks: int = 16
    """Segments acknowledged at once at the start of a connection, so that the peer's slow start is not held up (as Linux)."""
    syn_retries: int = (
        7  # tcp_syn_retries; 7 of them last 4 minutes, and RFC 9293 MUST-23 wants 3 or more (Linux: 6, 2 minutes)
    )
    synack_retries: int = 5  # tcp_synack_retries; DEVIATION: 1 minute, MUST-23 counts SYN-ACKs among the SYNs
    retries1: int = 3  # tcp_retries1: R1 of RFC 9293 3.8.3, of which nothing follows (timers.py says why)
    retries2: int = 15  # tcp_retries2: R2, about 15 minutes
    orphan_retries: int = 8  # tcp_orphan_retries: R2 of a connection that no application holds any more
    fin_timeout: int = 60 * SECOND  # tcp_fin_timeout: FIN-WAIT-2 of such a connection
    time_wait: int = 60 * SECOND  # 2 MSL, with an MSL of 30 s as everyone has it
    keepalive_time: int = 7200 * SECOND  # tcp_keepalive_time
    keepalive_interval: int = 75 * SECOND  # tcp_keepalive_intvl
    keepalive_probes: int = 9  # tcp_keepalive_probes
    user_timeout: int = 0
    """TCP_USER_TIMEOUT (RFC 5482): give up when nothing was acknowledged for so long; 0: go by ``retries2``."""
    challenge_interval: int = 500 * MS  # tcp_invalid_ratelimit
    max_out_of_order: int = 1024
    """Pieces a connection keeps out of order; adjacent ones count as one."""
    local_ports: tuple[int, int] = (32768, 60999)  # net.ipv4.ip_local_port_range
    unprivileged_port_start: int = 1024  # net.ipv4.ip_unprivileged_port_start
    autobind_reuse: bool = False  # net.ipv4.ip_autobind_reuse: bind(0) may share a port when all are taken
    migrate_req: bool = False  # tcp_migrate_req: what a closing listener has not accepted goes to its group
    rfc1337: bool = False  # tcp_rfc1337: a RST does not end TIME-WAIT
    congestion: str = "cubic"  # tcp_congestion_control
    ecn: int = 2  # tcp_ecn: 0 never, 1 ask for it, 2 where the peer asks for it
    pacing_ss_ratio: int = 200  # tcp_pacing_ss_ratio, per cent
    pacing_ca_ratio: int = 120  # tcp_pacing_ca_ratio
    max_pacing_rate: int = 0
    """SO_MAX_PACING_RATE: bytes a second; 0: not paced, unless congestion control wants it."""
    slow_start_after_idle: bool = True  # tcp_slow_start_after_idle

"""``ss`` and ``nstat`` in a script's command lines, answered from the host; with grep and wc behind them."""

from __future__ import annotations

import re
import shlex

from netemu.packetdrill.outcome import Unsupported
from netemu.packetdrill.world import World
from netemu.reasons import Drop, Match, Reset
from netemu.stack import constants as so
from netemu.stack.host import Host
from netemu.stack.stream_socket import StreamSocket
from netemu.stack.tcpinfo import fields

_STATES = {
    "ESTABLISHED": "ESTAB", "SYN-SENT": "SYN-SENT", "SYN-RECEIVED": "SYN-RECV", "FIN-WAIT-1": "FIN-WAIT-1",
    "FIN-WAIT-2": "FIN-WAIT-2", "TIME-WAIT": "TIME-WAIT", "CLOSED": "UNCONN", "CLOSE-WAIT": "CLOSE-WAIT",
    "LAST-ACK": "LAST-ACK", "LISTEN": "LISTEN", "CLOSING": "CLOSING",
}  # fmt: skip


def is_question(text: str) -> bool:
    return text.split()[0].rsplit("/", 1)[-1] in ("ss", "nstat") if text.split() else False


def ask(world: World, text: str, counters: dict[str, int]) -> bool:
    """Answer, and run the filters behind it; was the last one's exit status 0?"""
    stages = [shlex.split(stage) for stage in re.split(r"\s*\|\s*(?=(?:[^\"']|\"[^\"]*\"|'[^']*')*$)", text)]
    command = stages[0]
    if command[0].rsplit("/", 1)[-1] == "ss":
        lines = _ss(world.machine.host, command[1:])
    else:
        lines = _nstat(world.machine.host, command[1:], counters)
    good = True
    for stage in stages[1:]:
        lines, good = _filter(stage, lines)
    return good


def _filter(stage: list[str], lines: list[str]) -> tuple[list[str], bool]:
    if stage[0] != "grep":
        raise Unsupported(f"behind a pipe only grep is known, not {stage[0]}")
    flags = "".join(word[1:] for word in stage[1:] if re.fullmatch(r"-[a-zA-Z]+", word))
    patterns = [word for word in stage[1:] if not re.fullmatch(r"-[a-zA-Z]+", word)]
    if len(patterns) != 1 or set(flags) - set("qvcEiwF"):
        raise Unsupported(f"{shlex.join(stage)} is not understood")
    text = re.escape(patterns[0]) if "F" in flags else patterns[0]
    pattern = re.compile(rf"\b(?:{text})\b" if "w" in flags else text, re.IGNORECASE if "i" in flags else 0)
    kept = [line for line in lines if bool(pattern.search(line)) != ("v" in flags)]
    return ([str(len(kept))] if "c" in flags else kept), bool(kept)


def _ss(host: Host, words: list[str]) -> list[str]:
    """As ss -tan (and -i, -o, -e): one line a socket, its details behind it."""
    flags = "".join(word[1:] for word in words if word.startswith("-"))
    lines = ["State Recv-Q Send-Q Local Address:Port Peer Address:Port"]
    for row in host.sockets():
        state = _STATES.get(row.state, row.state)
        if "l" in flags and state != "LISTEN":
            continue
        line = f"{state} {row.recv_q} {row.send_q} {row.local} {row.peer}"
        found = next((s for s in host.table.sockets.values() if f"s{s.id}" == row.id), None)
        if "i" in flags and isinstance(found, StreamSocket) and found.connection is not None:
            line += " " + _details(found)
        lines.append(line)
    return lines


def _details(socket: StreamSocket) -> str:
    packed = socket.getsockopt(so.IPPROTO_TCP, so.TCP_INFO, 1024)
    assert isinstance(packed, bytes)
    info = fields(packed)
    rtt = f"rtt:{info['rtt'] / 1000:g}/{info['rttvar'] / 1000:g}"
    words = [
        socket.host.config.congestion, f"rto:{info['rto'] // 1000}", rtt, f"mss:{info['snd_mss']}", f"cwnd:{info['snd_cwnd']}",
    ]  # fmt: skip
    if info["snd_ssthresh"] < 0x7FFFFFFF:
        words.append(f"ssthresh:{info['snd_ssthresh']}")
    words += [f"unacked:{info['unacked']}"] if info["unacked"] else []
    words += [f"retrans:{info['retrans']}/{info['total_retrans']}"] if info["total_retrans"] else []
    words += [f"lost:{info['lost']}"] if info["lost"] else []
    return " ".join(words)


def _nstat(host: Host, words: list[str], before: dict[str, int]) -> list[str]:
    """Linux' counters that the host can tell; since the last `nstat` unless -a."""
    flags = "".join(word[1:] for word in words if word.startswith("-"))
    names = [word for word in words if not word.startswith("-")]
    now = _counters(host)
    shown = {name: count - (0 if "a" in flags else before.get(name, 0)) for name, count in now.items()}
    if "s" not in flags:
        before.update(now)
    if "n" in flags:
        return []
    wanted = [n for n in shown if not names or any(re.fullmatch(w.replace("*", ".*"), n) for w in names)]
    for name in names:
        if "*" not in name and name not in shown:
            raise Unsupported(f"nstat: {name} is not counted here")
    return ["#kernel", *(f"{n:<32}{shown[n]:<18}0.0" for n in wanted if shown[n] or "z" in flags)]


def _counters(host: Host) -> dict[str, int]:
    count = host.counters
    resets = sum(count[reason] for reason in Reset)
    return {
        "TcpOutRsts": resets,
        "TcpInSegs": sum(
            count[r] for r in (Match.CONNECTION, Match.TIME_WAIT, Match.LISTEN_SPECIFIC, Match.LISTEN_WILDCARD)
        ),
        "TcpInErrs": count[Drop.BAD_TCP_CHECKSUM] + count[Drop.BAD_TCP_HEADER],
        "TcpInCsumErrors": count[Drop.BAD_TCP_CHECKSUM],
        "TcpPassiveOpens": count[Match.LISTEN_SPECIFIC] + count[Match.LISTEN_WILDCARD] + count[Match.LISTEN_DUAL_STACK],
        "TcpExtListenOverflows": count[Drop.ACCEPT_QUEUE_FULL],
        "TcpExtListenDrops": count[Drop.ACCEPT_QUEUE_FULL] + count[Drop.SYN_QUEUE_FULL],
        "TcpExtPAWSEstab": count[Drop.PAWS],
        "TcpExtTCPChallengeACK": count[Drop.RST_CHALLENGED] + count[Drop.SYN_CHALLENGED],
        "TcpExtTCPSYNChallenge": count[Drop.SYN_CHALLENGED],
        "TcpExtTCPAbortOnData": count[Reset.UNREAD_DATA],
        "TcpExtTCPAbortOnLinger": count[Reset.LINGER],
        "UdpNoPorts": count[Drop.UDP_NO_SOCKET],
        "UdpRcvbufErrors": count[Drop.UDP_BUFFER_FULL],
        "UdpInCsumErrors": count[Drop.BAD_UDP_CHECKSUM],
    }

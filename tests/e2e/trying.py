"""Every trouble tried by real clients, all at once, by port or by address, and what the captures of it show."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emulated import ADDRESS4, ADDRESS6, emulated, scratch
from netns import Namespace

from netemu.apps.trouble.table import BASE, BY_NAME

FIELDS = (
    "frame.time_relative", "frame.packet_flags_direction", "frame.comment", "frame.len", "ipv6.version", "ip.src", "ip.dst",
    "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport", "tcp.flags.str", "tcp.len", "tcp.seq_raw", "tcp.ack_raw",
    "tcp.window_size", "tcp.options.mss_val", "tcp.checksum.status", "tcp.analysis.retransmission",
    "tcp.analysis.out_of_order", "tcp.analysis.duplicate_ack", "tcp.analysis.ack_lost_segment", "tcp.analysis.zero_window",
    "tcp.analysis.window_full", "tcp.analysis.keep_alive", "tcp.analysis.keep_alive_ack", "icmp.type", "icmpv6.type",
)  # fmt: skip


class Frame(dict[str, str]):
    """A packet of a capture: what tshark's dissection says of it, by field; '' where there is no such field."""

    @property
    def inbound(self) -> bool:
        return int(self["frame.packet_flags_direction"], 0) & 3 == 1

    def has(self, place: tuple[str, int]) -> bool:
        """Is one of its ends (or of what an ICMP error quotes) at this address and port?"""
        addresses = ",".join(self[field] for field in ("ip.src", "ip.dst", "ipv6.src", "ipv6.dst")).split(",")
        ports = f"{self['tcp.srcport']},{self['tcp.dstport']}".split(",")
        return place[0] in addresses and str(place[1]) in ports

    @property
    def time(self) -> float:
        return float(self["frame.time_relative"])

    @property
    def size(self) -> int:
        """TCP payload, bytes."""
        return int(self["tcp.len"].split(",")[0] or 0)

    @property
    def flags(self) -> str:
        """'S', 'SA', 'FA' …"""
        return "".join(letter for letter in "SFRPA" if letter in self["tcp.flags.str"])

    @property
    def dropped(self) -> bool:
        return self["frame.comment"].startswith("dropped")


@dataclass
class Tried:
    """What a client made of a port, and the packets of it."""

    status: int
    code: int
    """Of HTTP, as curl saw it; 0 for none."""
    size: int
    """Bytes of the body."""
    seconds: float
    stderr: str
    frames: list[Frame]

    def some(
        self, *, inbound: bool | None = None, flags: str | None = None, dropped: bool | None = None
    ) -> list[Frame]:
        return [
            frame
            for frame in self.frames
            if (inbound is None or frame.inbound == inbound)
            and (flags is None or frame.flags == flags)
            and (dropped is None or frame.dropped == dropped)
        ]

    def having(self, field: str, inbound: bool | None = None) -> list[Frame]:
        return [frame for frame in self.some(inbound=inbound) if frame[field]]


WRITE = "%{http_code} %{size_download} %{time_total}"
URL = "URL"
"""In a client's options: the URL, once more."""


PREFIXES = {4: "198.18.1.0/24", 6: "2001:2:0:1::/64"}
APP = f"trouble,addresses={'+'.join(PREFIXES.values())}"
"""By address too."""


def place(name: str, version: int, by_address: bool = False) -> tuple[str, int]:
    """Where a trouble is: address and port."""
    number = BY_NAME[name].number
    if by_address:
        return {4: f"198.18.1.{number}", 6: f"2001:2:0:1::{number}"}[version], 80
    return {4: ADDRESS4, 6: ADDRESS6}[version], BASE + number


def start(namespace: Namespace, name: str, where: tuple[str, int], options: Sequence[str]) -> subprocess.Popen[str]:
    """curl, which knows the trouble by name."""
    host = f"{name}.trouble"
    request = ["-o", "/dev/null", f"http://{host}:{where[1]}/"]
    words = [word for option in options for word in (request if option == URL else (option,))]
    resolve = f"{host}:{where[1]}:{where[0]}"
    return namespace.start("curl", "-gsS", "-w", f"{WRITE}\n", "--resolve", resolve, *words, *request)


def try_all(
    namespace: Namespace, clients: Mapping[str, Sequence[str]], *options: str, by_address: bool = False
) -> dict[tuple[str, int], Tried]:
    """Each of ``clients`` (name of a trouble to options of curl) against an instance, over IPv4 and IPv6.

    ``by_address``: at port 80, where the default app http is too.
    """
    places = {(name, version): place(name, version, by_address) for name in clients for version in (4, 6)}
    with scratch() as files:
        path = files / "all.pcapng"
        apps = ("--app", APP) if by_address else ("--no-apps", "--app", "trouble")
        with emulated(namespace, *apps, "--pcap", str(path), *options):
            running = {key: start(namespace, key[0], where, clients[key[0]]) for key, where in places.items()}
            ended = {key: (*process.communicate(timeout=100), process.returncode) for key, process in running.items()}
        frames = list(dissected(path))
    tried = {}
    for key, (out, err, status) in ended.items():
        code, size, seconds = out.split()[-3:]
        mine = [frame for frame in frames if frame.has(places[key])]
        tried[key] = Tried(status, int(code), int(size), float(seconds), err, mine)
    return tried


def dissected(path: Path) -> Iterator[Frame]:
    options = [word for field in FIELDS for word in ("-e", field)]
    done = subprocess.run(
        ["tshark", "-n", "-r", str(path), "-o", "tcp.check_checksum:TRUE", "-T", "fields", "-E", "separator=|", *options],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for row in csv.reader(done.stdout.splitlines(), delimiter="|", quoting=csv.QUOTE_NONE):
        yield Frame(zip(FIELDS, row, strict=True))

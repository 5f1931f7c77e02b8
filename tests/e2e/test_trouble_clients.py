"""Each trouble, as curl sees it, and as tshark dissects what went over the wire.

All clients run at the same time, against an instance with offload, one without, and one where each trouble has an address:
most of them only wait.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pytest
from emulated import ADDRESS4, ADDRESS6, emulated, scratch
from netns import PATIENCE, Namespace
from trying import APP, PREFIXES, URL, Frame, Tried, try_all

import netemu
from netemu.apps.trouble.answers import CUT, SHORT, SIZE
from netemu.apps.trouble.table import BASE, BY_NAME, TROUBLES
from netemu.stack.flavours import FLAVOURS

pytestmark = pytest.mark.e2e

TIMEOUT = 28
"""curl's exit status (curl(1), EXIT CODES); others stand in the table."""
UPLOAD = "UPLOAD"
"""In a client's options: 20 000 bytes are sent."""
WAIT = ("-m", "6")
LONG = ("-m", "60")


class Sees(NamedTuple):
    """What is to be seen at a port."""

    status: int | tuple[int, ...]
    """curl's exit status."""
    size: int | None
    """Bytes of the body that it got; None: that is not what this is about."""
    least: float
    """Seconds that it took at least."""
    shows: Callable[[Tried], object]
    """Of the capture: true."""
    options: Sequence[str] = LONG


def answered(tried: Tried) -> bool:
    return bool(tried.some(inbound=False, flags="SA", dropped=False))


def data(tried: Tried) -> list[Frame]:
    """What left with data."""
    return [frame for frame in tried.some(inbound=False, dropped=False) if frame.size]


def fresh(tried: Tried) -> list[Frame]:
    """The same without retransmissions: on a machine that is loaded there are some."""
    return list({frame["tcp.seq_raw"]: frame for frame in reversed(data(tried))}.values())[::-1]


def fresh_bytes(tried: Tried) -> int:
    return sum(frame.size for frame in fresh(tried))


def connections(tried: Tried) -> int:
    return len({frame["tcp.srcport"] for frame in tried.some(inbound=True, flags="S")})


def gap(tried: Tried, first: str, then: str) -> float:
    """Seconds from the first packet with these flags to the first one, the other way, with those."""
    begin = tried.some(inbound=True, flags=first)[0].time
    return tried.some(inbound=False, flags=then, dropped=False)[0].time - begin


def challenged(tried: Tried, flags: str) -> bool:
    """After the packet with these flags, the client acknowledges once more what it has: nothing of the answer."""
    trick = next(frame for frame in tried.some(inbound=False, flags=flags) if "made by" in frame["frame.comment"])
    after = tried.frames[tried.frames.index(trick) :]
    return any(f.inbound and f.flags == "A" and f["tcp.ack_raw"] == data(tried)[0]["tcp.seq_raw"] for f in after)


def in_order(frames: list[Frame]) -> bool:
    numbers = [int(frame["tcp.seq_raw"]) for frame in frames]
    return numbers == sorted(numbers)


def spread(frames: list[Frame]) -> float:
    return frames[-1].time - frames[0].time


SEES: dict[str, Sees] = {
    # -- the handshake
    "no-answer": Sees(TIMEOUT, 0, 5.9, lambda t: not t.some(inbound=False) and len(t.having("tcp.analysis.retransmission")) >= 2
                      and all(frame.dropped for frame in t.frames), WAIT),
    "late-handshake": Sees(0, SIZE, 5, lambda t: gap(t, "S", "SA") >= 4.9),
    "lost-syns": Sees(0, SIZE, 1.9, lambda t: [f.dropped for f in t.some(inbound=True, flags="S")][:3] == [True, True, False]),
    "full-queue": Sees(TIMEOUT, 0, 5.9, lambda t: not t.some(inbound=False)
                       and all("ACCEPT_QUEUE_FULL" in frame["frame.comment"] for frame in t.frames), WAIT),
    "refuse": Sees(7, 0, 0, lambda t: [frame.flags for frame in t.frames] == ["S", "RA"]),
    "unreachable": Sees(7, 0, 0, lambda t: [(f["icmp.type"][:1], f["icmpv6.type"]) for f in t.some(inbound=False)]
                        in ([("3", "")], [("", "1")])),
    "lost-synack": Sees(0, SIZE, 0.9, lambda t: [f.dropped for f in t.some(inbound=False, flags="SA")][:2] == [True, False]),
    "reset-handshake": Sees((56, 55, 7), 0, 0, lambda t: answered(t) and t.some(inbound=False, flags="RA") and not data(t)),
    # -- the end comes too early, too late or not at all
    "reset-request": Sees(56, 0, 0, lambda t: t.some(inbound=False, flags="RA") and not data(t)),
    "reset-bytes": Sees(56, CUT, 0, lambda t: t.some(inbound=False, flags="RA") and not t.some(inbound=False, flags="FA")),
    "reset-for-fin": Sees(56, SIZE, 0, lambda t: t.some(inbound=False, flags="RA") and not t.some(inbound=False, flags="FA")),
    "half-open": Sees(TIMEOUT, None, 5.9, lambda t: len(fresh(t)) <= 3 and t.some(inbound=True, dropped=True)
                      and t.some(inbound=False, dropped=True), WAIT),
    "early-fin": Sees(52, 0, 0, lambda t: t.some(inbound=False, flags="FA") and not data(t)),
    "half-close": Sees(0, SIZE, 0, lambda t: any("F" in f.flags for f in t.some(inbound=False))),
    "never-close": Sees(TIMEOUT, SIZE, 5.9, lambda t: not any("F" in f.flags for f in t.some(inbound=False)), WAIT),
    "lost-fin": Sees(0, SIZE, 0.4, lambda t: [f.dropped for f in t.some(inbound=False, flags="FA")][:3] == [True, True, False]),
    "stall": Sees(TIMEOUT, CUT, 5.9, lambda t: fresh_bytes(t) < 2 * CUT, WAIT),
    "mute-keepalive": Sees(56, CUT, 5, lambda t: len(t.having("tcp.analysis.keep_alive", True)) >= 5
                           and not t.having("tcp.analysis.keep_alive_ack"), (*LONG, "--keepalive-time", "1")),
    "drip": Sees(TIMEOUT, None, 5.9, lambda t: 2 <= [f.size for f in fresh(t)].count(1) <= 7 and spread(fresh(t)) >= 2, WAIT),
    "slow-head": Sees(TIMEOUT, 0, 5.9, lambda t: {f.size for f in fresh(t)} == {1} and len(fresh(t)) <= 8, WAIT),
    "late-answer": Sees(0, SIZE, 5, lambda t: data(t)[0].time - t.some(inbound=True, flags="PA")[0].time >= 4.9),
    # -- a wrong answer
    "truncated": Sees(18, CUT, 0, lambda t: fresh_bytes(t) < 2 * CUT),
    "truncated-chunk": Sees(18, CUT, 0, lambda t: fresh_bytes(t) < 2 * CUT),
    "garbage": Sees(1, 0, 0, lambda t: fresh_bytes(t) == 256),
    "endless": Sees(TIMEOUT, None, 5.9, lambda t: fresh_bytes(t) > 300_000, WAIT),
    "endless-head": Sees(56, 0, 0.5, lambda t: fresh_bytes(t) > 300_000),
    "redirect-loop": Sees(47, None, 0, lambda t: connections(t) == 51, ("-L", *LONG)),
    "stale": Sees(0, SHORT, 0, lambda t: connections(t) == 2 and t.some(inbound=False, flags="RA"),
                  (*LONG, URL)),
    # -- the windows, and the size of segments
    "never-reads": Sees(TIMEOUT, 0, 5.9, lambda t: t.having("tcp.analysis.zero_window", False)
                        and t.having("tcp.analysis.window_full", True), (*WAIT, UPLOAD)),
    "slow-reader": Sees(TIMEOUT, 0, 5.9, lambda t: t.having("tcp.analysis.zero_window", False)
                        and max(int(f["tcp.window_size"]) for f in t.some(inbound=False)) <= 256, (*WAIT, UPLOAD)),
    "tiny-window": Sees(0, SIZE, 0, lambda t: max(f.size for f in t.some(inbound=True)) <= 64
                        and len(t.having("tcp.analysis.window_full", True)) > 300, (*LONG, UPLOAD)),
    "lost-update": Sees(0, SIZE, 3, lambda t: t.having("tcp.analysis.zero_window", False)
                        and any(f["frame.comment"].startswith("dropped by LostUpdate") for f in t.frames), (*LONG, UPLOAD)),
    "tiny-mss": Sees(0, SIZE, 0, lambda t: t.some(inbound=False, flags="SA")[0]["tcp.options.mss_val"] == "88", (*LONG, UPLOAD)),
    "tiny-segments": Sees(0, SHORT, 0.3, lambda t: {f.size for f in fresh(t)} == {1} and len(fresh(t)) > SHORT),
    # -- on the way
    "reordered": Sees(0, SIZE, 0, lambda t: not in_order(data(t))
                      and (t.having("tcp.analysis.out_of_order") or t.having("tcp.analysis.retransmission"))),
    "overlapping": Sees(0, SIZE, 0, lambda t: sum(f.size for f in data(t)) >= SIZE + 25 * 100
                        and (t.having("tcp.analysis.out_of_order") or t.having("tcp.analysis.retransmission"))),
    "duplicated": Sees(0, SIZE, 0, lambda t: len(t.having("tcp.analysis.retransmission", False)) >= 20
                       and len(t.having("tcp.analysis.duplicate_ack", True)) >= 10),
    "bad-checksum": Sees(0, SIZE, 0, lambda t: [f["tcp.checksum.status"] for f in data(t)].count("0") == 1
                         and data(t)[0]["tcp.checksum.status"] == "0"
                         and [f["tcp.seq_raw"] for f in data(t)].count(data(t)[0]["tcp.seq_raw"]) == 2),
    "black-hole": Sees(TIMEOUT, 0, 5.9, lambda t: len(fresh(t)) == 1 and t.code == 200
                       and all(int(f["frame.len"]) > 1280 for f in t.some(dropped=True)) and t.some(dropped=True), WAIT),
    "corrupted": Sees(0, SIZE, 0, lambda t: [f for f in t.frames if "corrupt good" in f["frame.comment"]]),
    "wrong-acks": Sees(0, SIZE, 0, lambda t: t.having("tcp.analysis.ack_lost_segment", False) and challenged(t, "A")),
    "blind-reset": Sees(0, SIZE, 0, lambda t: challenged(t, "R")),
    "blind-syn": Sees(0, SIZE, 0, lambda t: challenged(t, "SA")),
}  # fmt: skip


@pytest.fixture(scope="module", params=["offload", "no-offload", "addresses"])
def tried(request: pytest.FixtureRequest) -> Iterator[dict[tuple[str, int], Tried]]:
    namespace = Namespace()
    try:
        with scratch() as files:
            upload = files / "upload"
            upload.write_bytes(bytes(20_000))
            clients = {
                name: [word for option in sees.options for word in (("-T", str(upload)) if option == UPLOAD else (option,))]
                for name, sees in SEES.items()
            }  # fmt: skip
            options = ("--no-offload",) if request.param == "no-offload" else ()
            yield try_all(namespace, clients, *options, by_address=request.param == "addresses")
    finally:
        namespace.close()


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("name", [trouble.name for trouble in TROUBLES])
def test_curl_sees_what_its_line_says(name: str, version: int, tried: dict[tuple[str, int], Tried]) -> None:
    """A trouble that is not in the table above fails here."""
    sees, seen = SEES[name], tried[name, version]
    assert seen.status in (sees.status if isinstance(sees.status, tuple) else (sees.status,)), seen.stderr
    assert sees.size is None or seen.size == sees.size
    assert seen.seconds >= sees.least
    assert sees.shows(seen), "\n".join(f"{f.inbound} {f.flags} {f.size} {f['frame.comment']}" for f in seen.frames[:40])
    # of the kernel's own packets, one in 65536 has 0xFFFF for a checksum, which tshark calls bad (RFC 1624 has both)
    wrong = [frame for frame in seen.some(inbound=False) if frame["tcp.checksum.status"] == "0"]
    assert not wrong or name == "bad-checksum", "no other port sends a wrong checksum"


def test_addresses_stand_beside_all_else(netns: Namespace) -> None:
    """The lines of `netemu trouble --hosts` are true, and the host's own address and ports are as they were."""

    def curl(*words: str) -> tuple[int, str]:
        done = netns.run("curl", "-gsS", "-m", "20", "-w", "%{http_code}", *words, check=False)
        return done.returncode, done.stdout

    with emulated(netns, "--app", APP) as instance:
        own = netns.run("curl", "-sS", "-m", "20", f"http://{ADDRESS4}/").stdout
        assert "trouble" not in own
        prefixes = "+".join(PREFIXES.values())
        listed = instance.netemu("trouble", "--hosts", "--addresses", prefixes).stdout.splitlines()
        assert len(listed) == 2 * len(TROUBLES)
        assert "198.18.1.21 truncated.trouble" in listed
        for start in ("198.18.1.", "2001:2:0:1::"):
            lines = [line.split() for line in listed if line.startswith(start)]
            resolve = [word for address, name in lines for word in ("--resolve", f"{name}:80:{address}")]
            status, out = curl(*resolve, "http://truncated.trouble/")
            assert (status, out[-3:], out.startswith("truncated: ")) == (18, "200", True)
            assert curl(*resolve, "http://refuse.trouble/")[0] == 7
        assert curl(f"http://{ADDRESS4}:{BASE + BY_NAME['truncated'].number}/")[0] == 18
        assert curl(f"http://{ADDRESS4}/") == (0, f"{own}200")
        assert curl(f"http://[{ADDRESS6}]/")[0] == 0
        assert netns.run("ping", "-c", "1", "-W", "10", "198.18.1.21").stdout
        assert instance.status()["addresses"] == [ADDRESS4, ADDRESS6]
        why = json.loads(
            instance.netemu("why", "tcp", "198.18.0.1:40000", "198.18.1.12:80", "--flags", "S", "--json").stdout
        )
        assert why["on_the_way"] == ["at the host: HalfOpen, both ways"]
        assert why["reason"] == "LISTEN_SPECIFIC"


def test_an_app_attaches_at_the_port_of_the_addresses(netns: Namespace) -> None:
    """Who attaches a server of his own has all addresses but those."""
    with emulated(netns, "--no-apps", "--app", APP) as instance:
        host = netemu.attach(app="mine", name=instance.name)
        with host.socket() as listener:
            listener.bind(("0.0.0.0", 80))
            listener.listen()
            client = netns.start("curl", "-sS", "-m", "20", f"http://{ADDRESS4}/")
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(100).startswith(b"GET / ")
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nmine")
            assert client.communicate(timeout=PATIENCE)[0] == "mine"
            assert host.addresses == [ADDRESS4, ADDRESS6]
            assert netns.run("curl", "-m", "20", "http://198.18.1.21/", check=False).returncode == 18
        host.close()


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_flavour_has_them_beside_the_default_apps(flavour: str, netns: Namespace) -> None:
    with emulated(netns, "--flavour", flavour, "--app", APP):
        assert netns.run("curl", "-m", "20", "http://198.18.1.21/", check=False).returncode == 18
        assert netns.run("curl", "-sS", "-m", "20", f"http://{ADDRESS4}/").stdout

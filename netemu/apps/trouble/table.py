"""The ports of trouble, one line each: what it does, what a good client does, how long it takes.

The numbers are for good: a new trouble gets the next one, and none is given to another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from netemu.apps.base import StreamProtocol
from netemu.apps.trouble import answers, connection, packets
from netemu.stack import constants as so

if TYPE_CHECKING:
    from netemu.apps.bend import Bend
    from netemu.apps.trouble.app import TroubleApp
    from netemu.stack.stream_socket import StreamSocket

BASE = 10000
"""Port of the trouble with number 0, which there is not: the first is at 10001."""


def receive_buffer(size: int) -> Callable[[StreamSocket], None]:
    """Connections have room for ``size`` bytes: less than SO_RCVBUF would grant."""

    def prepare(socket: StreamSocket) -> None:
        socket.rcvbuf = size

    return prepare


def option(level: int, name: int, value: int) -> Callable[[StreamSocket], None]:
    return lambda socket: socket.setsockopt(level, name, value)


SEGMENTS = option(so.IPPROTO_TCP, so.TCP_MAXSEG, 1400)
"""So that an answer is many segments, whatever the MTU."""


class Trouble(NamedTuple):
    """One port."""

    number: int
    """Its port, less what the app's first port is before 1."""
    name: str
    does: str
    client: str
    """What a good one does: 'gives up …'."""
    time: str
    """How long it takes."""
    stream: Callable[[TroubleApp, Trouble], StreamProtocol] | None = None
    """Whose protocol object serves a connection; None: nothing listens there (though others may, by a wildcard)."""
    prepare: Callable[[StreamSocket], None] | None = None
    accepts: bool = True
    rules: tuple[str, ...] = ()
    """With {port} for its port."""
    bend: Callable[[], Bend] | None = None


TROUBLES = (
    # -- the handshake
    Trouble(1, "no-answer", "never answers the SYN", "gives up at its connect timeout",
            "as long as the client tries (Linux: 2 minutes)", answers.Answer,
            rules=("in: tcp.dstport == {port} and tcp.flags.syn drop",)),
    Trouble(2, "late-handshake", "answers the SYN after 5 s", "has a connect timeout, and goes on waiting if that is longer",
            "5 s", answers.LateHandshake, option(so.SOL_NETEMU, so.HOLD_SYNACK, 1)),
    Trouble(3, "lost-syns", "drops the first 2 SYNs of a connection", "sends its SYN again (RFC 6298: after 1 s, then 2)", "3 s",
            answers.Answer, rules=("in: tcp.dstport == {port} and tcp.flags.syn and flow.syn_count <= 2 drop",)),
    Trouble(4, "full-queue", "has a full accept queue, and drops each SYN", "gives up at its connect timeout",
            "as long as the client tries (Linux: 2 minutes)", answers.Answer, accepts=False),
    Trouble(5, "refuse", "answers the SYN with a RST, as a closed port does", "fails at once with 'connection refused'", "0 s",
            rules=("in: tcp.dstport == {port} and tcp.flags.syn reset",)),
    Trouble(6, "unreachable", "answers the SYN with ICMP host unreachable", "fails at once with 'no route to host'", "0 s",
            answers.Answer, rules=("in: tcp.dstport == {port} and tcp.flags.syn unreachable host",)),
    Trouble(7, "lost-synack", "loses the first SYN-ACK of a connection", "sends its SYN again, or waits for the other SYN-ACK",
            "1 s", answers.Answer, rules=("out: tcp.srcport == {port} and tcp.flags.syn and flow.syn_count == 1 drop",)),
    Trouble(8, "reset-handshake", "sends a RST as soon as the handshake is done",
            "reports the reset, and does not take connect's success for an answer", "0 s", connection.ResetHandshake),
    # -- the end comes too early, too late or not at all
    Trouble(9, "reset-request", "answers the request with a RST", "reports the reset; repeats only what is safe to repeat",
            "0 s", connection.ResetRequest),
    Trouble(10, "reset-bytes", "sends a RST after 4096 of 8192 bytes of the body", "reports that the body is not whole", "0 s",
            answers.ResetBytes),
    Trouble(11, "reset-for-fin", "sends a whole answer without a length, then a RST in place of the FIN",
            "reports the reset: it cannot know that the body is whole", "0 s", answers.ResetForFin),
    Trouble(12, "half-open", "goes silent after 2 KiB of its answer: nothing is answered or acknowledged any more",
            "gives up when nothing has come for a while; keep-alive tells it too",
            "as long as the client waits (10 minutes at most)", answers.Answer, SEGMENTS, bend=packets.HalfOpen),
    Trouble(13, "early-fin", "sends a FIN as soon as the handshake is done, and never answers",
            "reports an empty answer; may try once more", "0 s", connection.EarlyFin),
    Trouble(14, "half-close", "sends its answer and a FIN, and goes on reading until the client closes",
            "takes the FIN for the end of the answer, and closes too", "0 s", answers.HalfClose),
    Trouble(15, "never-close", "sends a whole answer without a length, and never its FIN",
            "gives up at its timeout, and keeps what it has", "as long as the client waits (10 minutes at most)",
            answers.NeverCloses),
    Trouble(16, "lost-fin", "sends a whole answer without a length; the first 2 transmissions of its FIN are lost",
            "waits for the FIN, the only sign of the end", "some 0.7 s", answers.UntilEnd,
            rules=("out: tcp.srcport == {port} and tcp.flags.fin and flow.attempt <= 2 drop",)),
    Trouble(17, "stall", "sends 4096 of 8192 bytes of the body, then nothing, and stays connected",
            "gives up when nothing has come for a while", "as long as the client waits (10 minutes at most)", answers.Stall),
    Trouble(37, "mute-keepalive", "stalls in the middle of the body, and answers no keep-alive probes",
            "ends the connection after its last probe, if it sends any", "the client's keep-alive time and intervals",
            answers.Stall, bend=packets.MuteKeepalive),
    Trouble(18, "drip", "sends a byte of the body each second", "has a limit for the whole, or a least speed",
            "320 s", answers.Drip),
    Trouble(19, "slow-head", "sends a byte of the answer's head each second", "has a limit for the head too",
            "some 7 minutes", answers.SlowHead),
    Trouble(20, "late-answer", "is silent for 5 s after the request, then answers", "waits for as long as its timeout allows",
            "5 s", answers.LateAnswer),
    # -- a wrong answer
    Trouble(21, "truncated", "sends 4096 bytes and a FIN where Content-Length promises 8192",
            "reports that the body is not whole", "0 s", answers.Cut),
    Trouble(22, "truncated-chunk", "sends a FIN in the middle of a chunk", "reports that the body is not whole", "0 s",
            answers.CutChunk),
    Trouble(23, "garbage", "answers with 256 bytes that are no HTTP", "reports that this is no HTTP", "0 s", answers.Garbage),
    Trouble(38, "endless", "sends a body without end, 640 KiB a second", "has a limit for the size or for the time",
            "as long as the client takes it (10 minutes at most)", answers.Endless),
    Trouble(39, "endless-head", "sends header fields without end, 160 KiB a second", "has a limit for the size of a head",
            "as long as the client takes it (10 minutes at most)", answers.EndlessHead),
    Trouble(40, "redirect-loop", "answers with a redirect to itself", "counts redirects, and gives up", "0 s each",
            answers.Redirect),
    Trouble(41, "stale", "says keep-alive, and answers a second request on the same connection with a RST",
            "sends that request again on a fresh connection if it is safe to repeat", "0 s", answers.Stale),
    # -- the windows, and the size of segments
    Trouble(24, "never-reads", "accepts and never reads: after 4096 bytes the window is zero",
            "gives up when nothing has moved for a while", "as long as the client tries (10 minutes at most)",
            connection.NeverReads, receive_buffer(4096)),
    Trouble(25, "slow-reader", "reads one byte each second, out of a buffer of 256 bytes",
            "probes the zero window, and gives up if that is too slow", "as long as the client tries (10 minutes at most)",
            connection.SlowReader, receive_buffer(256)),
    Trouble(26, "tiny-window", "offers a window of 64 bytes, then answers", "sends 64 bytes a round trip",
            "a round trip for each 64 bytes of the request", answers.Answer, receive_buffer(64)),
    Trouble(27, "lost-update", "reads nothing for 3 s, with room for 4096 bytes; the ACK that opens the window is lost",
            "probes the zero window, and goes on", "3 s and the time to the client's next probe",
            answers.ReadsLate, receive_buffer(4096), bend=packets.LostUpdate),
    Trouble(28, "tiny-mss", "announces a MSS of 88 bytes, and sends no larger segments", "sends no more than that at a time",
            "0 s", answers.Answer, option(so.IPPROTO_TCP, so.TCP_MAXSEG, 88)),
    Trouble(29, "tiny-segments", "sends its answer one byte in each segment, a segment each millisecond",
            "puts the pieces together", "0.5 s", answers.Pieces),
    # -- on the way
    Trouble(30, "reordered", "delays every other segment by 5 ms, so that they arrive out of order",
            "puts them in order", "some 10 ms", answers.Answer, SEGMENTS,
            rules=("out: tcp.srcport == {port} and flow.data & 1 and flow.attempt == 1 delay 5ms",)),
    Trouble(31, "overlapping", "sends segments each of which repeats the last 100 bytes of the one before",
            "takes every byte once", "0 s", answers.Answer, option(so.IPPROTO_TCP, so.TCP_MAXSEG, 1100), bend=packets.Overlap),
    Trouble(32, "duplicated", "sends every segment of the answer twice", "takes every byte once", "0 s", answers.Answer,
            SEGMENTS, rules=("out: tcp.srcport == {port} and tcp.len > 0 duplicate",)),
    Trouble(33, "bad-checksum", "sends the first segment of the answer with a wrong checksum, once",
            "drops it, and takes the retransmission", "some 0.2 s", answers.Answer,
            rules=("out: tcp.srcport == {port} and flow.data == 1 set tcp.checksum += 1",)),
    Trouble(36, "black-hole", "loses packets of more than 1280 bytes, without a word: of the answer only the head comes",
            "gives up when nothing has come for a while; for uploads its kernel can find the MTU (RFC 4821)",
            "as long as the client waits (10 minutes at most)", answers.HeadFirst,
            rules=("both: tcp.port == {port} and frame.len > 1280 drop",)),
    Trouble(42, "corrupted", "turns one bit of the body, and makes the checksum good again",
            "compares the body with its Repr-Digest (RFC 9530), where it is told one", "0 s", answers.Digested, SEGMENTS,
            rules=("out: tcp.srcport == {port} and flow.data == 3 corrupt good",)),
    Trouble(34, "wrong-acks", "acknowledges what was never sent, and what was sent long ago, before it answers",
            "ignores both (RFC 5961 5.2: a challenge ACK), and takes the answer", "0 s", answers.Answer, bend=packets.WrongAcks),
    Trouble(35, "blind-reset", "sends a RST inside the window but not at its edge, before it answers",
            "ignores it (RFC 5961 3.2: a challenge ACK), and takes the answer", "0 s", answers.Answer, bend=packets.BlindReset),
    Trouble(43, "blind-syn", "sends a SYN-ACK in the middle of the connection, before it answers",
            "ignores it (RFC 5961 4.2: a challenge ACK), and takes the answer", "0 s", answers.Answer, bend=packets.BlindSyn),
)  # fmt: skip
"""In the order in which they are listed."""

BY_NAME = {trouble.name: trouble for trouble in TROUBLES}
SPAN = max(trouble.number for trouble in TROUBLES)

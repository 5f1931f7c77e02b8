"""Why: the names of every decision that netemu takes about a packet or a connection.

`netemu why`, `netemu ss`, the comments in a capture, the counters and the tests all speak these words. The value of a member
is its one-line explanation for people.
"""

from __future__ import annotations

from enum import Enum


class Reason(Enum):
    """A named decision. Hashing by identity keeps a counter's dictionary access in C."""

    __hash__ = object.__hash__


class Match(Reason):
    """Which rule of the socket table (or of the host itself) a packet was delivered by."""

    CONNECTION = "the 4-tuple is a connection's"
    TIME_WAIT = "the 4-tuple is a connection's in TIME-WAIT"
    LISTEN_SPECIFIC = "a SYN to a listener on exactly this address and port"
    LISTEN_WILDCARD = "a SYN to a listener on this port of any address"
    LISTEN_DUAL_STACK = "a SYN over IPv4 to an IPv6 listener that also takes IPv4"
    UDP_CONNECTED = "a datagram to a UDP socket connected to its sender"
    UDP_SPECIFIC = "a datagram to a UDP socket on exactly this address and port"
    UDP_WILDCARD = "a datagram to a UDP socket on this port of any address"
    UDP_DUAL_STACK = "an IPv4 datagram to an IPv6 UDP socket that also takes IPv4"
    UDP_MULTICAST = "a datagram to a group, a copy to each socket that hears it"
    UDP_BROADCAST = "a datagram to a broadcast address, a copy to each socket that hears it"
    ICMP_ECHO = "an echo request, answered by the host"
    ICMP_ERROR = "an ICMP error, handed to the socket whose packet it quotes"
    MEMBERSHIP_QUERY = "a router's IGMP or MLD query, answered with the groups that the host is in"
    MEMBERSHIP_REPORT = "another member's IGMP or MLD report, which spares the host its own"
    MEMBERSHIP_CHANGE = "a socket joined or left a group, or chose its sources: told in an IGMP or MLD report"
    FRAGMENT = "a fragment, kept until its packet is whole"


class Drop(Reason):
    """Why a packet went to nobody, or a segment was not taken by its connection."""

    # IP
    TRUNCATED = "shorter than its headers say"
    BAD_IP_VERSION = "neither IPv4 nor IPv6"
    BAD_IP_HEADER = "an IP header length or field that makes no sense"
    BAD_IP_CHECKSUM = "the IPv4 header checksum is wrong"
    BAD_IP_OPTION = "an IPv4 or IPv6 option or extension header that is malformed"
    BAD_SOURCE = "a source address that no host can have (multicast, broadcast, loopback, unspecified or our own)"
    NOT_FOR_US = "the destination is not an address of this host"
    HOP_LIMIT_ZERO = "TTL or hop limit is zero"
    SOURCE_ROUTED = "source routing is not followed (RFC 7126, RFC 5095)"
    UNKNOWN_PROTOCOL = "no such protocol on this host"
    NEIGHBOUR_CHATTER = "router solicitations, and what other hosts report by IGMP and MLD: of no interest to this one"
    # fragments
    FRAGMENT_OVERLAP = "overlapping fragments: the whole packet is given up (RFC 5722)"
    FRAGMENT_BAD = "a fragment of impossible length or offset"
    FRAGMENT_LIMIT = "too many fragments are waiting"
    FRAGMENT_TIMEOUT = "the rest of the packet did not come in time"
    OUTPUT_FULL = "a reply for which the queue to the device has no room"
    # ICMP and UDP
    BAD_ICMP = "an ICMP message that is malformed or has a bad checksum"
    ICMP_IGNORED = "an ICMP message that this host does not act on"
    ICMP_NO_SOCKET = "an ICMP error that quotes no packet of ours"
    ICMP_RATE_LIMITED = "an ICMP error that was due but would have been one too many (RFC 1812 4.3.2.8)"
    BAD_IGMP = "an IGMP message that is malformed or has a bad checksum"
    BAD_QUERY = (
        "an IGMP or MLD query that no router of this link sends so (its source, hop limit, option or destination)"
    )
    BAD_UDP = "a UDP header that makes no sense"
    BAD_UDP_CHECKSUM = "the UDP checksum is wrong"
    UDP_NO_SOCKET = "no UDP socket on this port: ICMP port unreachable"
    NOT_JOINED = "to a group that no socket of this host has joined on that interface"
    UDP_NOBODY = "a datagram to a group or a broadcast address that no socket on this port hears"
    UDP_BUFFER_FULL = "the socket's receive buffer is full"
    # TCP, before a connection is found
    BAD_TCP_HEADER = "a TCP header that makes no sense"
    BAD_TCP_CHECKSUM = "the TCP checksum is wrong"
    NO_SOCKET = "no connection and no listener for it"
    ONLY_BOUND = "the port is bound, but no socket there is in LISTEN"
    OTHER_DEVICE = "the sockets on this port are bound to another device (SO_BINDTODEVICE)"
    LISTEN_NOT_SYN = "for a listener, but not a SYN (RFC 9293 3.10.7.2)"
    LISTEN_RST = "a RST for a listener is ignored (RFC 9293 3.10.7.2)"
    ACCEPT_QUEUE_FULL = "the listener's accept queue is full"
    SYN_QUEUE_FULL = "the listener's SYN queue is full"
    # TCP, by a connection (RFC 9293 3.10.7)
    OUTSIDE_WINDOW = "the sequence number is outside the receive window"
    PAWS = "the timestamp is older than the last one (RFC 7323 PAWS)"
    RST_OUTSIDE_WINDOW = "a RST outside the receive window"
    RST_CHALLENGED = "a RST inside the window but not at RCV.NXT: challenge ACK (RFC 5961 3.2)"
    RST_BAD_ACK = "a RST in SYN-SENT that does not acknowledge our SYN"
    SYN_CHALLENGED = "a SYN on a synchronized connection: challenge ACK (RFC 5961 4.2)"
    NO_ACK = "a segment without ACK on a synchronized connection"
    BAD_ACK = "acknowledges something that was never sent"
    OLD_ACK = "acknowledges data from long ago (RFC 5961 5.2)"
    BAD_HANDSHAKE_ACK = "an ACK in the handshake that does not acknowledge our SYN"
    NO_SYN = "neither SYN nor RST in SYN-SENT"
    DUPLICATE = "all its data had arrived before"
    WINDOW_FULL = "no room left in the receive buffer"
    REASSEMBLY_FULL = "too many out-of-order pieces are waiting"
    DATA_AFTER_CLOSE = "data for a socket that the application has closed"
    TIME_WAIT_IGNORED = "nothing to do in TIME-WAIT"
    CONNECTION_CLOSED = "the connection had just been closed"
    INVARIANT = "a bug in netemu: the connection was ended (see the log)"


class LinkDrop(Reason):
    """Why an emulated link did not carry a packet to its other end."""

    LOSS = "lost at random"
    LOSS_STATE = "lost: the four-state Markov model was in a state that loses"
    LOSS_GEMODEL = "lost: the Gilbert-Elliott model was in its bad state, or lost in its good one"
    QUEUE_FULL = "the bottleneck's queue was full"
    RED = "dropped by RED: the average queue was too long"
    CODEL = "dropped by CoDel: packets had been waiting for too long"
    PIE = "dropped by PIE: the expected wait was too long"
    LIMIT = "more packets were under way than the link's limit"
    DOWN = "the link was down"
    TOO_BIG = "longer than the link's MTU"
    RULE = "dropped by a rule"


class RouterMatch(Reason):
    """What a router did with a packet that it did not drop."""

    FORWARDED = "passed on by the route to its destination"
    FRAGMENTED = "passed on in fragments: longer than the next MTU, and DF is not set (RFC 791 3.2)"
    HAIRPINNED = "from inside to an outside endpoint of another inside host: turned round (RFC 4787 REQ-9)"


class RouterDrop(Reason):
    """Why a router did not pass a packet on."""

    TTL_EXPIRED = "TTL or hop limit ran out here: ICMP time exceeded"
    NO_ROUTE = "no route to the destination: ICMP net unreachable, or no route"
    HOST_UNREACHABLE = "nobody has that address on the link that leads to it: ICMP host or address unreachable"
    BLACKHOLE = "the route is a black hole"
    PROHIBITED = "the route prohibits it: ICMP administratively prohibited"
    TOO_BIG = "longer than the next MTU and not to be fragmented: ICMP fragmentation needed, or packet too big"
    NOT_FORWARDED = "multicast, broadcast, link-local and reserved addresses are not forwarded"
    NO_ADDRESS = "an ICMP error or a translation that was due, but the router has no address of that family there"
    # firewall and connection tracking
    DENIED = "denied by a rule or the policy of the firewall"
    REJECTED = "rejected by a rule or the policy of the firewall: RST, or ICMP administratively prohibited"
    TABLE_FULL = "a new connection, and the table of connections is full"
    # NAT
    NAT_FILTERED = "from outside to an inside host, by somebody that it did not speak to (RFC 4787 section 5)"
    NAT_UNSOLICITED = "a SYN from outside that nobody asked for: no answer for a while (RFC 5382 REQ-4)"
    NAT_NO_MAPPING = "from inside, of no connection that is known, and it cannot open one"
    NAT_EXHAUSTED = "no outside port is left for a new mapping"
    NAT_PROTOCOL = "from inside to outside, of a protocol that NAT cannot translate"
    NAT_PRIVATE = "from outside straight to an inside address, which nobody out there can know"
    NAT_HAIRPIN = "from inside to an outside endpoint of another inside host, and hairpinning is off"


class Reset(Reason):
    """Why the host sent a RST."""

    NO_SOCKET = "no connection and no listener for the segment"
    LISTEN_ACK = "an ACK to a listener"
    BAD_ACK = "the handshake's ACK number was wrong"
    ABORTED = "the application aborted the connection"
    UNREAD_DATA = "the application closed with data unread (RFC 9293 SHLD-3)"
    DATA_AFTER_CLOSE = "data arrived after the application had closed (RFC 9293 SHLD-3)"
    LISTENER_CLOSED = "the listener closed before the connection was accepted"
    LINGER = "SO_LINGER with a timeout of zero"
    REFUSED = "the application refused the connection at its SYN (HOLD_SYNACK)"
    UNDECIDED = "the application did not decide about a SYN in time (HOLD_SYNACK)"
    TIMEOUT = "gave up waiting for the peer"
    SHUTDOWN = "the host was shut down"
    INVARIANT = "a bug in netemu ended the connection"


class Close(Reason):
    """How a connection came to its end."""

    NORMAL = "both sides closed"
    RESET_BY_PEER = "the peer sent a RST"
    REFUSED = "the peer refused the connection with a RST"
    TIMED_OUT = "retransmissions were not answered"
    KEEPALIVE = "keep-alive probes were not answered"
    UNREACHABLE = "an ICMP error during the handshake"
    ABORTED = "the application aborted it"
    FIN_WAIT_2_TIMEOUT = "the peer never sent its FIN"
    LISTENER_CLOSED = "its listener was closed"
    SHUTDOWN = "the host was shut down"
    INVARIANT = "a bug in netemu"

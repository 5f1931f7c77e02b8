"""The states of a connection and the moves between them, as data (RFC 9293 3.3.2, figure 5)."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Spelled as in RFC 9293."""

    CLOSED = "CLOSED"
    LISTEN = "LISTEN"
    SYN_SENT = "SYN-SENT"
    SYN_RECEIVED = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    FIN_WAIT_1 = "FIN-WAIT-1"
    FIN_WAIT_2 = "FIN-WAIT-2"
    CLOSE_WAIT = "CLOSE-WAIT"
    CLOSING = "CLOSING"
    LAST_ACK = "LAST-ACK"
    TIME_WAIT = "TIME-WAIT"

    __hash__ = object.__hash__


class Event(Enum):
    """What moves a connection from one state to another."""

    ACTIVE_OPEN = "active open"
    PASSIVE_OPEN = "a SYN for a listener"
    SYN = "SYN without ACK"
    SYN_ACKED = "our SYN is acknowledged"
    CLOSE = "close, or shutdown of the sending side"
    FIN = "the peer's FIN is reached"
    FIN_ACKED = "our FIN is acknowledged"
    END = "reset, abort or timeout"

    __hash__ = object.__hash__


class InvariantError(Exception):
    """A bug in netemu. It ends the one connection, is counted and logged, and fails any test."""


_S, _E = State, Event
TRANSITIONS: dict[tuple[State, Event], State] = {
    (_S.CLOSED, _E.ACTIVE_OPEN): _S.SYN_SENT,
    (
        _S.CLOSED,
        _E.PASSIVE_OPEN,
    ): _S.SYN_RECEIVED,  # LISTEN is a listener's state, which makes a connection for each SYN
    (_S.SYN_SENT, _E.SYN): _S.SYN_RECEIVED,  # simultaneous open
    (_S.SYN_SENT, _E.SYN_ACKED): _S.ESTABLISHED,
    (_S.SYN_SENT, _E.CLOSE): _S.CLOSED,
    (_S.SYN_RECEIVED, _E.SYN_ACKED): _S.ESTABLISHED,
    (_S.SYN_RECEIVED, _E.CLOSE): _S.FIN_WAIT_1,
    (_S.ESTABLISHED, _E.CLOSE): _S.FIN_WAIT_1,
    (_S.ESTABLISHED, _E.FIN): _S.CLOSE_WAIT,
    (_S.FIN_WAIT_1, _E.FIN_ACKED): _S.FIN_WAIT_2,
    (_S.FIN_WAIT_1, _E.FIN): _S.CLOSING,
    (_S.FIN_WAIT_2, _E.FIN): _S.TIME_WAIT,
    (_S.CLOSE_WAIT, _E.CLOSE): _S.LAST_ACK,
    (_S.CLOSING, _E.FIN_ACKED): _S.TIME_WAIT,
    (_S.LAST_ACK, _E.FIN_ACKED): _S.CLOSED,
    **{(state, _E.END): _S.CLOSED for state in State if state not in (_S.CLOSED, _S.LISTEN)},
}


def after(state: State, event: Event) -> State:
    """The state that ``event`` leads to; InvariantError where RFC 9293 has no such move."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise InvariantError(f"{event.value} in {state.value}") from None


SYNCHRONIZED = frozenset(State) - {_S.CLOSED, _S.LISTEN, _S.SYN_SENT, _S.SYN_RECEIVED}
"""Both ends know each other's sequence numbers (RFC 9293 3.3.2)."""
CAN_SEND = frozenset((_S.ESTABLISHED, _S.CLOSE_WAIT))
"""The application may still queue data."""
CAN_RECEIVE = frozenset((_S.ESTABLISHED, _S.FIN_WAIT_1, _S.FIN_WAIT_2))
"""The peer has not sent its FIN."""
FIN_QUEUED = frozenset((_S.FIN_WAIT_1, _S.CLOSING, _S.LAST_ACK))
"""Our FIN is queued or under way, not yet acknowledged."""

"""Which sockets `netemu ss` lists: the FILTER of ss(8), compiled to a predicate on rows.

    filter     = { ("state" | "exclude") STATE } [ expression ]
    expression = term { ["and"] term | "or" term }        "and" binds tighter, and may be left out
    term       = "not" term | "(" expression ")" | ("src" | "dst") [operator] ADDRESS | ("sport" | "dport") [operator] PORT
    ADDRESS    = HOST | HOST/PREFIX | HOST:PORT | :PORT       IPv6 with a port in brackets; * is any host
    PORT       = :NUMBER | NUMBER | a service's name
    operator   = = == eq | != ne neq | > gt | < lt | >= ge geq | <= le leq

``&``, ``&&``, ``|``, ``||`` and ``!`` work too.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from netemu.apps.base import UsageError

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    from netemu.stack.row import SocketRow

STATES = {
    "established": "ESTABLISHED", "syn-sent": "SYN-SENT", "syn-recv": "SYN-RECEIVED", "fin-wait-1": "FIN-WAIT-1",
    "fin-wait-2": "FIN-WAIT-2", "time-wait": "TIME-WAIT", "closed": "CLOSED", "close-wait": "CLOSE-WAIT",
    "last-ack": "LAST-ACK", "listening": "LISTEN", "closing": "CLOSING",
}  # fmt: skip
ALL = frozenset(STATES.values())
CONNECTED = ALL - {"LISTEN", "CLOSED"}
BUCKET = frozenset(("TIME-WAIT", "SYN-RECEIVED"))
GROUPS = {
    "all": ALL,
    "connected": CONNECTED,
    "synchronized": CONNECTED - {"SYN-SENT"},
    "bucket": BUCKET,
    "big": ALL - BUCKET,
    "listen": frozenset(("LISTEN",)),
    **{word: frozenset((state,)) for word, state in STATES.items()},
}
AS_TCP = {"UNCONN": "CLOSED", "ESTAB": "ESTABLISHED"}
"""UDP's states, as ss(8) takes them."""
COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    **dict.fromkeys(("=", "==", "eq"), operator.eq),
    **dict.fromkeys(("!=", "ne", "neq"), operator.ne),
    **dict.fromkeys((">", "gt"), operator.gt),
    **dict.fromkeys(("<", "lt"), operator.lt),
    **dict.fromkeys((">=", "ge", "geq"), operator.ge),
    **dict.fromkeys(("<=", "le", "leq"), operator.le),
}
SYNONYMS = {"&": "and", "&&": "and", "|": "or", "||": "or", "!": "not"}
TOKEN = re.compile(r"\s*(&&|\|\||!=|==|>=|<=|[()!&|=<>]|[^\s()!&|=<>]+)")
LONGEST = 200
"""Words; it bounds how deep the parser nests."""

Test = Callable[["SocketRow"], bool]


class Filter(NamedTuple):
    states: frozenset[str] | None
    """None: nothing is said about states."""
    test: Test

    def keeps(self, row: SocketRow) -> bool:
        return (self.states is None or AS_TCP.get(row.state, row.state) in self.states) and self.test(row)


def compile_filter(text: str) -> Filter:
    """The filter for a text; UsageError says what was expected."""
    tokens = [SYNONYMS.get(token, token) for token in TOKEN.findall(text)]
    if len(tokens) > LONGEST:
        raise UsageError(f"filter: {len(tokens)} words are too many, {LONGEST} are the most")
    return _Parser(tokens).parse()


class _Parser:
    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0

    def parse(self) -> Filter:
        states: frozenset[str] | None = None
        while self._peek() in ("state", "exclude"):
            word = self._next()
            named = self._states(word)
            states = (states or frozenset()) | named if word == "state" else (states or ALL) - named
        test = self._expression() if self._peek() else _everything
        if self._peek():
            raise UsageError(f"filter: expected 'and' or 'or' before {self._peek()!r}")
        return Filter(states, test)

    def _states(self, word: str) -> frozenset[str]:
        name = self._next()
        if name not in GROUPS:
            raise UsageError(f"filter: {word} needs one of {', '.join(GROUPS)}; not {name or 'the end'!r}")
        return GROUPS[name]

    def _expression(self) -> Test:
        test = self._conjunction()
        while self._peek() == "or":
            self._next()
            test = _either(test, self._conjunction())
        return test

    def _conjunction(self) -> Test:
        test = self._term()
        while self._peek() not in ("", "or", ")"):
            if self._peek() == "and":
                self._next()
            test = _both(test, self._term())
        return test

    def _term(self) -> Test:
        word = self._next()
        if word == "not":
            return _negation(self._term())
        if word == "(":
            test = self._expression()
            if self._next() != ")":
                raise UsageError("filter: a '(' without its ')'")
            return test
        if word not in ("src", "dst", "sport", "dport"):
            raise UsageError(
                f"filter: expected state, exclude, src, dst, sport, dport … but found {word or 'the end'!r}"
            )
        compare = COMPARISONS[self._next()] if self._peek() in COMPARISONS else operator.eq
        value = self._next()
        if value in ("", "and", "or", "not", "(", ")"):
            raise UsageError(f"filter: {word!r} needs a value")
        if word.endswith("port"):
            return _port_test(word == "sport", compare, _port(word, value.removeprefix(":")))
        if compare not in (operator.eq, operator.ne):
            raise UsageError(f"filter: {word} knows = and != only")
        test = _address_test(word, value)
        return test if compare is operator.eq else _negation(test)

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token


def _everything(row: SocketRow) -> bool:
    return True


def _both(left: Test, right: Test) -> Test:
    return lambda row: left(row) and right(row)


def _either(left: Test, right: Test) -> Test:
    return lambda row: left(row) or right(row)


def _negation(test: Test) -> Test:
    return lambda row: not test(row)


def _port_test(local: bool, compare: Callable[[int, int], bool], port: int) -> Test:
    return lambda row: compare(end_of(row.local if local else row.peer)[1], port)


def _address_test(word: str, value: str) -> Test:
    host, port = _host_and_port(value)
    network = _network(word, host) if host not in ("", "*") else None
    number = _port(word, port) if port not in ("", "*") else None

    def test(row: SocketRow) -> bool:
        address, its_port = end_of(row.local if word == "src" else row.peer)
        return (network is None or _lies_in(address, network)) and (number is None or its_port == number)

    return test


def _host_and_port(value: str) -> tuple[str, str]:
    if value.startswith("["):
        host, _, rest = value[1:].partition("]")
        return host + (rest if rest.startswith("/") else ""), rest.removeprefix(":") if rest.startswith(":") else ""
    if value.count(":") > 1:  # an IPv6 address by itself
        return value, ""
    host, _, port = value.partition(":")
    return host, port


def _network(word: str, text: str) -> IPv4Network | IPv6Network:
    from ipaddress import ip_network

    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise UsageError(f"filter: {word} needs an address, a prefix or :PORT, not {text!r}") from None


def _port(word: str, text: str) -> int:
    if text.isdecimal() and text.isascii() and int(text) <= 65535:
        return int(text)
    from socket import getservbyname

    try:
        return getservbyname(text)
    except (OSError, ValueError):
        raise UsageError(f"filter: {word} needs a port from 0 to 65535 or a service, not {text!r}") from None


def _lies_in(address: str, network: IPv4Network | IPv6Network) -> bool:
    from ipaddress import ip_address

    if address == "*":
        return False
    found = ip_address(address)
    found = getattr(found, "ipv4_mapped", None) or found
    return found in network


def end_of(shown: str) -> tuple[str, int]:
    """('198.18.0.2', 80) of '198.18.0.2:80'; a port that is '*' is 0."""
    host, _, port = shown.rpartition(":")
    return host.strip("[]"), int(port) if port.isdecimal() else 0

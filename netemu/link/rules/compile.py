"""Expressions to functions of a packet: compiled once, called for each.

Of each expression there are two: ``exact`` for a packet as the wire has it, and ``possible`` for a super-packet: may it hold
for one of the packets that it stands for? Where ``possible`` says no, a super-packet need not be split. For the negation of
an expression a third is needed, ``certain``: must it hold for each of them?
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import NamedTuple

from netemu.link.rules import flowfields
from netemu.link.rules.field import Field, Kind, Span, Value
from netemu.link.rules.fields import PROTOCOLS, field_of
from netemu.link.rules.nodes import (
    And,
    Compare,
    Expression,
    In,
    Masked,
    Not,
    Or,
    Present,
    Range,
    RuleError,
    Slice,
    Text,
    Word,
)
from netemu.link.rules.nodes import Value as Node
from netemu.link.rules.values import Element, check_of, constant_of, range_of
from netemu.link.rules.view import View

Check = Callable[[View], bool]


def always(view: View) -> bool:
    return True


def never(view: View) -> bool:
    return False


class Test(NamedTuple):
    """An expression, compiled."""

    exact: Check
    possible: Check
    certain: Check
    follows_flows: bool = False
    """``exact`` needs ``View.flow``."""


def compile_expression(tree: Expression) -> Test:
    """The functions for a tree; RuleError for a field that is none, or a value that a field cannot have."""
    match tree:
        case And(terms):
            tests = [compile_expression(term) for term in terms]
            return Test(
                _all([test.exact for test in tests]),
                _all([test.possible for test in tests]),
                _all([test.certain for test in tests]),
                any(test.follows_flows for test in tests),
            )
        case Or(terms):
            tests = [compile_expression(term) for term in terms]
            return Test(
                _any([test.exact for test in tests]),
                _any([test.possible for test in tests]),
                _any([test.certain for test in tests]),
                any(test.follows_flows for test in tests),
            )
        case Not(term):
            test = compile_expression(term)
            return Test(_not(test.exact), _not(test.certain), _not(test.possible), test.follows_flows)
        case Present(value):
            return _present(value)
        case Compare(left, sign, right):
            return _compare(left, sign, right)
        case In(value, ranges):
            return _member(value, ranges)


def _all(checks: list[Check]) -> Check:
    if never in checks:
        return never
    checks = [check for check in checks if check is not always]
    if len(checks) < 2:
        return checks[0] if checks else always
    if len(checks) == 2:
        first, second = checks
        return lambda view: first(view) and second(view)
    several = tuple(checks)

    def check_all(view: View) -> bool:
        for check in several:  # noqa: SIM110 - a generator costs a third more, and this runs for each packet
            if not check(view):
                return False
        return True

    return check_all


def _any(checks: list[Check]) -> Check:
    if always in checks:
        return always
    checks = [check for check in checks if check is not never]
    if len(checks) < 2:
        return checks[0] if checks else never
    several = tuple(checks)

    def check_any(view: View) -> bool:
        for check in several:  # noqa: SIM110
            if check(view):
                return True
        return False

    return check_any


def _not(check: Check) -> Check:
    if check is always:
        return never
    if check is never:
        return always
    return lambda view: not check(view)


# What stands on one side of a comparison


class Operand(NamedTuple):
    """A field, or a part of one."""

    name: str
    kind: Kind
    highest: int
    """Of numbers; 0: no bound."""
    get: Callable[[View], Value | None]
    many: Callable[[View], tuple[Value, ...]] | None
    varies: bool
    span: Span | None
    follows: bool


def _operand(node: Node) -> Operand | None:
    """None: a value and no field."""
    if isinstance(node, Masked):
        return _masked(node)
    if isinstance(node, Slice):
        return _sliced(node)
    if isinstance(node, Text) or not _is_name(node.text):
        return None
    if node.text in PROTOCOLS:
        raise RuleError(f"{node.text} is a protocol: it has no value to compare", node.column)
    return _whole(field_of(node))


_NAME = re.compile(r"(?![0-9A-Fa-f]{2}\Z)[A-Za-z_][\w-]*(\.[\w-]+)*\Z", re.ASCII)
"""Two hexadecimal digits are a byte."""


def _is_name(text: str) -> bool:
    return bool(_NAME.match(text)) and text.lower() not in ("true", "false")


def _whole(field: Field) -> Operand:
    follows = flowfields.follows(field.name)
    return Operand(field.name, field.kind, field.highest, field.get, field.many, field.varies, field.span, follows)


def _masked(node: Masked) -> Operand:
    field = field_of(node.field)
    if field.kind not in (Kind.NUMBER, Kind.FLAG) or field.many:
        raise RuleError(f"{field.name} has no bits to choose from", node.field.column)
    bits = constant_of(Kind.NUMBER, str(node), node.bits)
    assert isinstance(bits, int)
    get, mask = field.get, bits

    def masked(view: View) -> int | None:
        value = get(view)
        return value & mask if isinstance(value, int) else None

    return _whole(field)._replace(name=str(node), kind=Kind.NUMBER, highest=mask, get=masked, span=None)


def _sliced(node: Slice) -> Operand:
    field = field_of(node.field)
    if field.kind not in (Kind.BYTES, Kind.IPV4, Kind.IPV6) or field.many:
        raise RuleError(f"{field.name} has no bytes to choose from", node.field.column)
    get, part = field.get, slice(node.start, node.stop)

    def sliced(view: View) -> bytes | None:
        """None where the field is shorter, as in Wireshark."""
        value = get(view)
        piece = value[part] if isinstance(value, bytes) else b""
        return piece if len(piece) == (part.stop or part.start + 1) - part.start or (not part.stop and piece) else None

    return _whole(field)._replace(name=str(node), kind=Kind.BYTES, get=sliced)


# The three kinds of test


def _present(node: Node) -> Test:
    if isinstance(node, Word) and node.text in PROTOCOLS:
        check = PROTOCOLS[node.text]
        check = always if node.text == "frame" else check
        return Test(check, check, check)
    operand = _operand(node)
    if operand is None:
        raise RuleError(f"{node} is a value and no field", node.column if isinstance(node, Word | Text) else 0)
    # DEVIATION from Wireshark, where a flag is 'there' in every packet that could have it set: here it is set
    is_flag = operand.kind is Kind.FLAG or isinstance(node, Masked)
    get, many = operand.get, operand.many
    if many is not None:
        plural = many
        return _tested(operand, lambda view: bool(plural(view)), lambda low, high: True)
    if is_flag:
        return _tested(operand, lambda view: bool(get(view)), lambda low, high: high > 0)
    return _tested(operand, lambda view: get(view) is not None, lambda low, high: True)


def _tested(operand: Operand, exact: Check, overlaps: Callable[[int, int], bool]) -> Test:
    """The test with what can be said of super-packets; ``overlaps`` answers for values from low to high."""
    if not operand.varies:
        return Test(exact, exact, exact, operand.follows)
    span = operand.span
    if span is None:
        return Test(exact, always, never, operand.follows)
    known = span

    def possible(view: View) -> bool:
        ends = known(view)
        return ends is not None and overlaps(*ends)

    return Test(exact, possible, never, operand.follows)


_OPERATORS: dict[str, Callable[[Value, Value], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TURNED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_OVERLAPS: dict[str, Callable[[int, int, int], bool]] = {
    "==": lambda low, high, value: low <= value <= high,
    "!=": lambda low, high, value: not low == high == value,
    "<": lambda low, high, value: low < value,
    "<=": lambda low, high, value: low <= value,
    ">": lambda low, high, value: high > value,
    ">=": lambda low, high, value: high >= value,
}


def _compare(left: Node, sign: str, right: Node) -> Test:
    operand, other = _operand(left), None if sign in ("contains", "matches") else _operand(right)
    if operand is None and other is not None:
        operand, other, right, sign = other, None, left, _TURNED[sign]
    if operand is None:
        raise RuleError(f"{left} {sign} {right} asks nothing of the packet", getattr(left, "column", 0))
    if other is not None:
        return _two_fields(operand, sign, other, right)
    assert isinstance(right, Word | Text)
    if sign in ("contains", "matches"):
        return _searched(operand, sign, right)
    element = constant_of(operand.kind, operand.name, right, operand.highest, sign not in ("==", "!="))
    exact = _for_one_or_many(operand, check_of(_OPERATORS[sign], sign, element), sign == "!=")
    if isinstance(element, int):
        value, overlaps = element, _OVERLAPS[sign]
        return _tested(operand, exact, lambda low, high: overlaps(low, high, value))
    return _tested(operand, exact, lambda low, high: True)


def _for_one_or_many(operand: Operand, check: Callable[[Value], bool], of_all: bool) -> Check:
    """Any of the values will do; ``of_all``: each must (Wireshark's !=). No value: false."""
    get, many = operand.get, operand.many
    if many is None:

        def single(view: View) -> bool:
            value = get(view)
            return value is not None and check(value)

        return single
    plural = many

    def several(view: View) -> bool:
        values = plural(view)
        return bool(values) and (all if of_all else any)(map(check, values))

    return several


def _two_fields(left: Operand, sign: str, right: Operand, node: Node) -> Test:
    numbers = (Kind.NUMBER, Kind.FLAG)
    if left.kind is not right.kind and not (left.kind in numbers and right.kind in numbers):
        raise RuleError(f"{left.name} and {right.name} cannot be compared", getattr(node, "column", 0))
    compare, quantity = _OPERATORS[sign], all if sign == "!=" else any

    def exact(view: View) -> bool:
        first, second = _values(left, view), _values(right, view)
        return bool(first and second) and quantity(compare(a, b) for a in first for b in second)

    follows = left.follows or right.follows
    if left.varies or right.varies:
        return Test(exact, always, never, follows)
    return Test(exact, exact, exact, follows)


def _values(operand: Operand, view: View) -> tuple[Value, ...]:
    if operand.many is not None:
        return operand.many(view)
    value = operand.get(view)
    return () if value is None else (value,)


def _searched(operand: Operand, sign: str, node: Word | Text) -> Test:
    if operand.kind is not Kind.BYTES:
        raise RuleError(f"{operand.name} holds no text to search", node.column)
    get = operand.get
    if sign == "contains":
        wanted = constant_of(Kind.BYTES, operand.name, node)
        assert isinstance(wanted, bytes)

        def exact(view: View) -> bool:
            value = get(view)
            return isinstance(value, bytes) and wanted in value

        return Test(exact, exact, never, operand.follows)  # what is in no super-packet is in none of its slices
    pattern = _pattern(node)

    def matching(view: View) -> bool:
        value = get(view)
        return isinstance(value, bytes) and pattern.search(value) is not None

    return Test(matching, always, never, operand.follows)


def _pattern(node: Word | Text) -> re.Pattern[bytes]:
    """Wireshark's: case does not matter."""
    if isinstance(node, Word):
        raise RuleError(f"matches takes a pattern in quotes, not {node}", node.column)
    try:
        return re.compile(node.data, re.IGNORECASE)
    except re.error as error:
        raise RuleError(f"{node} is no pattern: {error}", node.column) from None


def _member(node: Node, ranges: tuple[Range, ...]) -> Test:
    operand = _operand(node)
    if operand is None:
        raise RuleError(f"{node} is a value and no field", getattr(node, "column", 0))
    elements = [range_of(operand.kind, operand.name, range_, operand.highest) for range_ in ranges]
    exact = _for_one_or_many(operand, _any_element(elements), False)
    numbers = [(first, last) for first, last in elements if isinstance(first, int) and isinstance(last, int)]
    if len(numbers) < len(elements):
        return _tested(operand, exact, lambda low, high: True)
    return _tested(operand, exact, lambda low, high: any(low <= last and high >= first for first, last in numbers))


def _any_element(elements: list[Element]) -> Callable[[Value], bool]:
    singles = frozenset(first for first, last in elements if first == last)
    pairs = tuple((first, last) for first, last in elements if first != last)
    if not pairs:
        return singles.__contains__
    return lambda value: value in singles or any(first <= value <= last for first, last in pairs)  # type: ignore[operator]

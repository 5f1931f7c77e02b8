"""A filter: an expression with its canonical text and its functions."""

from __future__ import annotations

from dataclasses import dataclass, field

from netemu.link.rules.compile import Test, compile_expression
from netemu.link.rules.nodes import Expression


@dataclass(frozen=True, slots=True)
class Filter:
    """Which packets a rule is about."""

    tree: Expression
    test: Test = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "test", compile_expression(self.tree))

    def __str__(self) -> str:
        return str(self.tree)


def parse_filter(text: str) -> Filter:
    """The filter for an expression such as ``tcp.flags.syn and tcp.dstport == 80``; RuleError."""
    from netemu.link.rules.grammar import parse_expression

    return Filter(parse_expression(text))

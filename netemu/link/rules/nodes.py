"""What an expression says, as a tree; ``str`` of it is the canonical text, which parses back to the same tree."""

from __future__ import annotations

from dataclasses import dataclass, field


class RuleError(ValueError):
    """A rule that cannot be; the text is one line that says where and what was expected."""

    def __init__(self, message: str, column: int = 0) -> None:
        """``column`` counts from 1; 0 where no place can be named."""
        super().__init__(f"rule, column {column}: {message}" if column else f"rule: {message}")


@dataclass(frozen=True, slots=True)
class Word:
    """A field's name, a protocol's name or a value, as it was written."""

    text: str
    column: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Text:
    """A string in quotes; it stands for its bytes (UTF-8, and \\xNN for any byte)."""

    data: bytes
    column: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return quoted(self.data)


@dataclass(frozen=True, slots=True)
class Masked:
    """``FIELD & BITS``."""

    field: Word
    bits: Word

    def __str__(self) -> str:
        return f"{self.field} & {self.bits}"


@dataclass(frozen=True, slots=True)
class Slice:
    """Some bytes of a field: ``tcp.payload[0:4]``. ``stop`` None: to the end."""

    field: Word
    start: int
    stop: int | None

    def __str__(self) -> str:
        return f"{self.field}[{self.start}:{'' if self.stop is None else self.stop - self.start}]"


Value = Word | Text | Masked | Slice


@dataclass(frozen=True, slots=True)
class Present:
    """A bare name: the protocol or field is there; of a flag: it is set; of masked bits: one of them is."""

    value: Value

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True)
class Compare:
    """``operator``: == != < <= > >= contains matches."""

    left: Value
    operator: str
    right: Value

    def __str__(self) -> str:
        return f"{self.left} {self.operator} {self.right}"


@dataclass(frozen=True, slots=True)
class Range:
    """First to last, both included; one value when they are the same."""

    first: Word | Text
    last: Word | Text

    def __str__(self) -> str:
        return str(self.first) if self.first is self.last else f"{self.first}..{self.last}"


@dataclass(frozen=True, slots=True)
class In:
    value: Value
    ranges: tuple[Range, ...]

    def __str__(self) -> str:
        return f"{self.value} in {{{', '.join(map(str, self.ranges))}}}"


@dataclass(frozen=True, slots=True)
class Not:
    term: Expression

    def __str__(self) -> str:
        return f"not ({self.term})" if isinstance(self.term, And | Or) else f"not {self.term}"


@dataclass(frozen=True, slots=True)
class And:
    terms: tuple[Expression, ...]

    def __str__(self) -> str:
        return " and ".join(f"({term})" if isinstance(term, Or) else str(term) for term in self.terms)


@dataclass(frozen=True, slots=True)
class Or:
    terms: tuple[Expression, ...]

    def __str__(self) -> str:
        return " or ".join(map(str, self.terms))


Expression = Present | Compare | In | Not | And | Or


def all_of(*terms: Expression) -> Expression:
    """The conjunction, flat."""
    flat = [inner for term in terms for inner in (term.terms if isinstance(term, And) else (term,))]
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def any_of(*terms: Expression) -> Expression:
    """The disjunction, flat."""
    flat = [inner for term in terms for inner in (term.terms if isinstance(term, Or) else (term,))]
    return flat[0] if len(flat) == 1 else Or(tuple(flat))


_ESCAPES = {0x22: '\\"', 0x5C: "\\\\", 0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t"}


def quoted(data: bytes) -> str:
    """``data`` as a string of the language."""
    plain = (_ESCAPES.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}") for byte in data)
    return f'"{"".join(plain)}"'

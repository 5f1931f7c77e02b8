"""The language of rules: its grammar, and text to tree. lark is imported when the first rule is read.

    rule       = expression action { "," action } { limit }
    expression = Wireshark's display filters (wireshark-filter(4)): and or not == != < <= > >= in contains matches &, slices

The words of actions and limits are read by those who own them (actions.py, limits.py); here they are words with a column.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache
from typing import Any, NamedTuple

from netemu.link.rules.nodes import (
    Compare,
    Expression,
    In,
    Masked,
    Not,
    Present,
    Range,
    RuleError,
    Slice,
    Text,
    Value,
    Word,
    all_of,
    any_of,
)

Token = Any
"""lark's: a str with a column."""

ACTIONS = (
    "drop", "delay", "duplicate", "corrupt", "set", "truncate", "reset", "unreachable", "frag-needed", "mark", "steer",
    "pass", "count", "call",
)  # fmt: skip
LIMITS = ("first", "skip", "every", "probability", "for")
LONGEST = 4000
"""Characters of a rule, and with ``MOST`` the bound on how deep it nests."""
MOST = 400
"""Words and signs of a rule."""


GRAMMAR = rf"""
rule: expression action ("," action)* limit*
action: ACTION argument*
limit: LIMIT argument
?argument: WORD -> word
    | STRING    -> text
    | ASSIGN    -> word

?expression: conjunction (("or" | "||") conjunction)*  -> disjunction
?conjunction: term (("and" | "&&") term)*              -> conjunction
?term: ("not" | "!") term  -> negation
    | "(" expression ")"
    | value                        -> present
    | value _comparison value      -> compare
    | value "in" "{{" element ("," element)* "}}"        -> member
    | value "not" "in" "{{" element ("," element)* "}}"  -> stranger
_comparison: COMPARISON
element: single [DOTS single]
?single: WORD -> word
    | STRING  -> text
value: single                 -> plain
    | WORD "&" WORD -> masked
    | WORD SLICE    -> slice

COMPARISON.2: "==" | "!=" | "<=" | ">=" | "<" | ">" | /(eq|ne|le|ge|lt|gt|contains|matches)(?![\w.:\/%-])/
ACTION.2: /({"|".join(ACTIONS)})(?![\w.:\/%-])/
LIMIT.2: /({"|".join(LIMITS)})(?![\w.:\/%-])/
DOTS: ".."
ASSIGN: "+=" | "-=" | "="
SLICE: /\[[^\]]*\]/
STRING: /"(\\.|[^"\\])*"/
WORD: /(?:(?!\.\.)[\w.:\/%])(?:(?!\.\.|-=)[\w.:\/%-])*/
%ignore /\s+/
"""
SYNONYMS = {"eq": "==", "ne": "!=", "le": "<=", "ge": ">=", "lt": "<", "gt": ">"}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_LETTERS = {"n": "\n", "r": "\r", "t": "\t"}
_SLICE = re.compile(r"\[\s*(\d*)\s*(?:([:-])\s*(\d*)\s*)?\]", re.ASCII)


class Call(NamedTuple):
    """The words of an action or of a limit: its name, and what it was given."""

    name: Word
    arguments: tuple[Word | Text, ...]


class ParsedRule(NamedTuple):
    expression: Expression
    actions: tuple[Call, ...]
    limits: tuple[Call, ...]


def parse_expression(text: str) -> Expression:
    """The tree of an expression; RuleError."""
    tree: Expression = _parse(text, "expression")
    return tree


def parse_parts(text: str) -> ParsedRule:
    """The parts of a rule, its direction aside; RuleError."""
    parts: ParsedRule = _parse(text, "rule")
    return parts


def parse_action(text: str) -> Call:
    """The parts of one action; RuleError."""
    call: Call = _parse(text, "action")
    return call


def _parse(text: str, start: str) -> Any:
    from lark import UnexpectedInput

    if len(text) > LONGEST:
        raise RuleError(f"{len(text)} characters are too many, {LONGEST} are the most")
    parser = _parser()
    try:
        if sum(1 for _ in parser.lex(text, dont_ignore=False)) > MOST:
            raise RuleError(f"more than {MOST} words and signs")
        return parser.parse(text, start=start)
    except UnexpectedInput as error:
        raise _explained(error, text) from None


@cache
def _parser() -> Any:
    from lark import Lark

    return Lark(
        GRAMMAR, parser="lalr", start=["rule", "expression", "action"], transformer=_builder(), maybe_placeholders=False
    )


# Errors


def _explained(error: Exception, text: str) -> RuleError:
    """One line for what lark says: what stands there, and what could."""
    from lark import UnexpectedCharacters, UnexpectedToken

    if isinstance(error, UnexpectedCharacters):
        return RuleError(f"{text[error.pos_in_stream or 0]!r} means nothing here", error.column)
    if not isinstance(error, UnexpectedToken):
        return RuleError("unfinished")
    expected, token = error.accepts or error.expected, error.token
    column = len(text.rstrip()) + 1 if token.type == "$END" else token.column or 0
    found = "the end" if token.type == "$END" else repr(str(token))
    return RuleError(f"expected {_wanted(expected, str(token))}, found {found}", column)


def _wanted(expected: set[str], found: str) -> str:
    known: tuple[str, ...] = ()
    if "ACTION" in expected:
        known = (*known, *ACTIONS)
    if "LIMIT" in expected:
        known = (*known, *LIMITS)
    if "AND" in expected:
        known = (*known, "and", "or")
    close = get_close_matches(found, known, 1)
    if close:
        return repr(close[0])
    words = []
    if "COMPARISON" in expected:
        words.append("a comparison (== != < <= > >= in contains matches)")
    if "AND" in expected:
        words.append("and, or")
    if "ACTION" in expected:
        words.append("an action (drop, delay TIME, set FIELD=VALUE, reset …)")
    if "LIMIT" in expected:
        words.append("a limit (first N, skip N, every N, probability P%, for TIME)")
    if "NOT" in expected and "AND" not in expected:
        words.append("a field such as tcp.dstport")
    elif "WORD" in expected and not words:
        words.append("a value")
    return " or ".join(words) or " or ".join(sorted(_SIGNS.get(name, name.lower()) for name in expected))


_SIGNS = {"RPAR": "')'", "RBRACE": "'}'", "LBRACE": "'{'", "COMMA": "','", "DOTS": "'..'", "$END": "the end"}


# Tokens to tree


def _unquoted(token: Token) -> Text:
    def letter(match: re.Match[str]) -> str:
        code = match[1]
        return _LETTERS.get(code, code) if len(code) == 1 else chr(0xDC00 | int(code[1:], 16))

    body = _ESCAPE.sub(letter, token[1:-1])
    # \xNN is that byte; anything else is its UTF-8. Bytes from 0x80 up travel as surrogates, those below are themselves.
    data = b"".join(
        bytes((ord(char) & 0xFF,)) if 0xDC00 <= ord(char) <= 0xDCFF else char.encode("utf-8", "replace")
        for char in body
    )
    return Text(data, token.column or 0)


def _slice(field: Word, token: Token) -> Slice:
    match = _SLICE.fullmatch(token)
    column = token.column or 0
    if not match or not (match[1] or match[2]):
        raise RuleError(f"{str(token)!r} is no slice: [START:LENGTH], [FIRST-LAST] or [AT]", column)
    start = int(match[1] or 0)
    if match[2] is None:
        return Slice(field, start, start + 1)
    if not match[3]:
        return Slice(field, start, None)
    stop = start + int(match[3]) if match[2] == ":" else int(match[3]) + 1
    if stop <= start:
        raise RuleError(f"{str(token)!r} is a slice of nothing", column)
    return Slice(field, start, stop)


def _builder() -> Any:
    from lark import Transformer, v_args

    @v_args(inline=True)
    class Builder(Transformer[Any, Any]):
        """What each rule of the grammar becomes; called from the leaves up while the text is read."""

        def WORD(self, token: Token) -> Word:
            return Word(str(token), token.column or 0)

        def ASSIGN(self, token: Token) -> Word:
            return Word(str(token), token.column or 0)

        def STRING(self, token: Token) -> Text:
            return _unquoted(token)

        def word(self, word: Word) -> Word:
            return word

        def text(self, text: Text) -> Text:
            return text

        def plain(self, value: Word | Text) -> Value:
            return value

        def masked(self, field: Word, bits: Word) -> Masked:
            return Masked(field, bits)

        def slice(self, field: Word, token: Token) -> Slice:
            return _slice(field, token)

        def present(self, value: Value) -> Expression:
            return Present(value)

        def compare(self, left: Value, operator: Token, right: Value) -> Expression:
            return Compare(left, SYNONYMS.get(operator, str(operator)), right)

        def element(self, first: Word | Text, *rest: Word | Text) -> Range:
            return Range(first, rest[-1] if rest else first)

        def member(self, value: Value, *ranges: Range) -> Expression:
            return In(value, ranges)

        def stranger(self, value: Value, *ranges: Range) -> Expression:
            return Not(In(value, ranges))

        def negation(self, term: Expression) -> Expression:
            return Not(term)

        def conjunction(self, *terms: Expression) -> Expression:
            return all_of(*terms)

        def disjunction(self, *terms: Expression) -> Expression:
            return any_of(*terms)

        def action(self, name: Token, *arguments: Word | Text) -> Call:
            return Call(Word(str(name), name.column or 0), arguments)

        def limit(self, name: Token, argument: Word | Text) -> Call:
            return Call(Word(str(name), name.column or 0), (argument,))

        def rule(self, expression: Expression, *calls: Call) -> ParsedRule:
            actions = tuple(call for call in calls if call.name.text in ACTIONS)
            return ParsedRule(expression, actions, calls[len(actions) :])

    return Builder()

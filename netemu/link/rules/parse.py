"""Words to rules: ``[in|out|both:] EXPRESSION ACTION [, ACTION …] [LIMIT …]``.

actions    drop | delay TIME | duplicate [N] | corrupt [good] | set FIELD=VALUE (also += and -=) | truncate BYTES
           reset [sender|receiver|both] [out-of-window] | unreachable [net|host|port|admin] | frag-needed MTU | mark
           steer LINK | pass | count | call FUNCTION
limits     first N | skip N | every N | probability P% | for TIME
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from itertools import pairwise

from netemu.link.rules import actions
from netemu.link.rules.answers import CODES
from netemu.link.rules.field import Field, Kind
from netemu.link.rules.fields import field_of, fields
from netemu.link.rules.filter import Filter
from netemu.link.rules.function import Called, Function
from netemu.link.rules.grammar import Call, parse_action, parse_parts
from netemu.link.rules.limits import limits_of
from netemu.link.rules.nodes import RuleError, Text, Word
from netemu.link.rules.rule import Rule
from netemu.link.rules.values import constant_of, number_of, time_of

Functions = Callable[[str], Function]
"""Finds the function of a ``call``; ValueError says in one line why there is none."""

_DIRECTION = re.compile(r"\s*((?:in|out|both)(?=\s*:)|\w+(?=:\s))\s*:\s*")
_DIRECTIONS = ("in", "out", "both")
_LAST = ("drop", "pass", "steer")
"""After these there is nothing left to do something to."""
MOST_COPIES = 100
LEAST_MTU = 68
"""RFC 791: what each link must carry."""


def parse_rule(words: str | Sequence[str], functions: Functions | None = None) -> Rule:
    """The rule that a text says, or words of a command line; RuleError (one line, with the column)."""
    text = words if isinstance(words, str) else " ".join(words)
    direction, prefix = "both", _DIRECTION.match(text)
    if prefix:
        direction = prefix[1]
        if direction not in _DIRECTIONS:
            raise RuleError(f"a rule is for in:, out: or both:, not {direction}:", prefix.start(1) + 1)
        text = " " * prefix.end() + text[prefix.end() :]  # so that columns stay what they are
    parts = parse_parts(text)
    match = Filter(parts.expression)
    for call, following in pairwise(parts.actions):
        if call.name.text in _LAST:
            raise RuleError(
                f"{following.name} comes too late: {call.name} is the last that is done", following.name.column
            )
    return Rule(direction, match, tuple(_action(call, functions) for call in parts.actions), limits_of(parts.limits))


def parse_single_action(text: str) -> actions.Action:
    """One action, as a function returns it; RuleError."""
    return _action(parse_action(text), None)


def _action(call: Call, functions: Functions | None) -> actions.Action:
    name, arguments = call.name, list(call.arguments)
    if name.text == "call":
        made: actions.Action = _called(name, arguments, functions)
    else:
        made = _BUILDERS[name.text](name, arguments)
    if arguments:
        raise RuleError(f"{name} does not take {arguments[0]} here", arguments[0].column)
    return made


Arguments = list[Word | Text]
"""What the builders take from the front of."""


def _needed(name: Word, arguments: Arguments, what: str) -> Word | Text:
    if not arguments:
        raise RuleError(f"{name} needs {what}", name.column + len(name.text))
    return arguments.pop(0)


def _choice(arguments: Arguments, choices: Sequence[str], default: str) -> str:
    """One of the choices, if it stands there."""
    if not arguments or not isinstance(arguments[0], Word):
        return default
    if arguments[0].text in choices:
        return str(arguments.pop(0))
    close = get_close_matches(arguments[0].text, choices, 1)
    hint = f"{close[0]}?" if close else ", ".join(choices)
    raise RuleError(f"{arguments[0]} means nothing here: {hint}", arguments[0].column)


def _verdict(name: Word, arguments: Arguments) -> actions.Action:
    return actions.Verdict(name.text)


def _delay(name: Word, arguments: Arguments) -> actions.Action:
    return actions.Delay(time_of(_needed(name, arguments, Kind.TIME.value), "delay"))


def _duplicate(name: Word, arguments: Arguments) -> actions.Action:
    return actions.Duplicate(number_of(arguments.pop(0), "duplicate", 1, MOST_COPIES) if arguments else 1)


def _corrupt(name: Word, arguments: Arguments) -> actions.Action:
    return actions.Corrupt(_choice(arguments, ("good",), "") == "good")


def _truncate(name: Word, arguments: Arguments) -> actions.Action:
    return actions.Truncate(number_of(_needed(name, arguments, "the payload bytes to keep"), "truncate", 0, 65535))


def _reset(name: Word, arguments: Arguments) -> actions.Action:
    towards, far = "sender", False
    if arguments and str(arguments[0]) != "out-of-window":
        towards = _choice(arguments, ("sender", "receiver", "both", "out-of-window"), "sender")
    if arguments:
        far = _choice(arguments, ("out-of-window",), "") != ""
    return actions.Reset(towards, far)


def _unreachable(name: Word, arguments: Arguments) -> actions.Action:
    return actions.Unreachable(_choice(arguments, tuple(CODES), "port"))


def _frag_needed(name: Word, arguments: Arguments) -> actions.Action:
    return actions.FragNeeded(number_of(_needed(name, arguments, "an MTU in bytes"), "frag-needed", LEAST_MTU, 65535))


def _mark(name: Word, arguments: Arguments) -> actions.Action:
    return actions.Mark()


def _steer(name: Word, arguments: Arguments) -> actions.Action:
    return actions.Steer(_plain(_needed(name, arguments, "the name of a link")))


def _plain(word: Word | Text) -> str:
    return word.text if isinstance(word, Word) else word.data.decode(errors="replace")


def _called(name: Word, arguments: Arguments, functions: Functions | None) -> actions.Action:
    word = _needed(name, arguments, "a function such as rules.py:drop_odd")
    text = _plain(word)
    if functions is None:
        raise RuleError(f"no function can be called here, so not {text} either", word.column)
    try:
        return Called(str(word), functions(text))
    except ValueError as error:
        raise RuleError(str(error), word.column) from None


def _set(name: Word, arguments: Arguments) -> actions.Action:
    word = _needed(name, arguments, "FIELD=VALUE")
    if isinstance(word, Text):
        raise RuleError(f"set needs FIELD=VALUE, not {word}", word.column)
    field = field_of(word)
    if field.place is None:
        raw = f"{field.name}_raw"
        hint = f"; {raw} can" if raw in fields() else ""
        raise RuleError(f"{field.name} cannot be set{hint}", word.column)
    sign = str(_needed(name, arguments, f"a value: {field.name}=VALUE"))
    if sign not in ("=", "+=", "-="):
        raise RuleError(f"set needs {field.name}=VALUE", word.column + len(word.text))
    value = _needed(name, arguments, f"a value: {field.name}{sign}VALUE")
    return actions.Set(field, sign, _value(field, sign, value), str(value))


def _value(field: Field, sign: str, word: Word | Text) -> int:
    assert field.place is not None
    if sign != "=":
        if field.kind is not Kind.NUMBER:
            raise RuleError(f"{field.name} is no number to add to; set it with =", word.column)
        return number_of(word, field.name, 0, field.place.highest)
    value = constant_of(field.kind, field.name, word, field.place.highest)
    if isinstance(value, bytes):
        return int.from_bytes(value, "big")
    if not isinstance(value, int):
        raise RuleError(f"{word} is a prefix; {field.name} takes one address", word.column)
    return value


_BUILDERS: dict[str, Callable[[Word, Arguments], actions.Action]] = {
    "drop": _verdict,
    "pass": _verdict,
    "count": _verdict,
    "delay": _delay,
    "duplicate": _duplicate,
    "corrupt": _corrupt,
    "set": _set,
    "truncate": _truncate,
    "reset": _reset,
    "unreachable": _unreachable,
    "frag-needed": _frag_needed,
    "mark": _mark,
    "steer": _steer,
}

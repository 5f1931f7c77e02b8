"""Queue disciplines by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from random import Random
from typing import Any, get_args, get_type_hints

from netemu.link.queues.base import Kind, Queue
from netemu.link.queues.codel import Codel
from netemu.link.queues.fq_codel import FqCodel
from netemu.link.queues.pie import Pie
from netemu.link.queues.plain import DropHead, DropTail
from netemu.link.queues.red import Red

DISCIPLINES: Mapping[str, type[Queue]] = {
    "droptail": DropTail,
    "drophead": DropHead,
    "red": Red,
    "codel": Codel,
    "fq_codel": FqCodel,
    "pie": Pie,
}


@cache
def parameters_of(name: str) -> Mapping[str, Kind]:
    """The parameters of a discipline, and what the value of each is. ValueError, one line, when there is no such discipline."""
    if name not in DISCIPLINES:
        raise ValueError(f"no queue discipline {name!r}: give one of {', '.join(DISCIPLINES)}")
    hints = get_type_hints(DISCIPLINES[name].__init__, include_extras=True)
    return {parameter: kind for parameter, hint in hints.items() for kind in _kinds_in(hint)}


def _kinds_in(hint: Any) -> list[Kind]:
    """The kind of an annotation like Time or Time | None; none of one that is no parameter's."""
    return [
        kind for each in (hint, *get_args(hint)) for kind in getattr(each, "__metadata__", ()) if isinstance(kind, Kind)
    ]


def make_queue(name: str, parameters: Mapping[str, int | float | bool], random: Random) -> Queue:
    """An empty queue. ValueError, one line, says what is wrong with ``name`` or ``parameters`` (times in ns, rates in bit/s)."""
    known = parameters_of(name)
    for parameter in parameters:
        if parameter not in known:
            raise ValueError(f"queue {name} has no {parameter!r}: give one of {', '.join(known)}")
    try:
        return DISCIPLINES[name](random, **parameters)  # type: ignore[arg-type]  # each has keywords of its own, checked above
    except ValueError as error:
        raise ValueError(f"queue {name}: {error}") from None

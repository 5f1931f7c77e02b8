"""A user's own parts, by entry point: congestion control algorithms in the group ``netemu.congestion``.

    [project.entry-points."netemu.congestion"]
    mine = "mypackage.mine:Mine"        # a class of netemu.tcp.congestion.base.CongestionControl

Whoever starts hosts imports this module; what is installed is looked for when a name is asked for that is not one of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netemu.tcp.congestion.base import CongestionControl
from netemu.tcp.congestion.registry import ALGORITHMS, BROKEN, LOADERS

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "netemu.congestion"
NAME_MAX = 15
"""Characters that TCP_CONGESTION takes."""


def load_congestion_controls() -> None:
    """Put what is installed among the algorithms; our own names stay ours."""
    from importlib.metadata import entry_points  # slow to import, and seldom wanted

    for entry in entry_points(group=GROUP):
        if entry.name not in ALGORITHMS:
            found = _loaded(entry)
            if isinstance(found, str):
                BROKEN[entry.name] = found
            else:
                ALGORITHMS[entry.name] = found


def _loaded(entry: EntryPoint) -> type[CongestionControl] | str:
    """The class, or why there is none."""
    if len(entry.name) > NAME_MAX:
        return f"has more than {NAME_MAX} characters"
    try:
        found: type[CongestionControl] = entry.load()
        if issubclass(found, CongestionControl):
            found(1460)  # abstract methods, and whatever else it cannot do
            return found
    except Exception as fault:  # whatever a user's module does when it is imported
        return f"({entry.value}) cannot be loaded: {fault}"
    return f"({entry.value}) is no class of netemu.tcp.congestion.base.CongestionControl"


LOADERS.append(load_congestion_controls)

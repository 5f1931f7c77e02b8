"""What happens to links: [[at]], and what a change makes of what a link is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from netemu.link import units
from netemu.link.reader import WordsError
from netemu.link.ways import Both, parse_ways
from netemu.scenario.files import Files
from netemu.scenario.links import read_rule
from netemu.scenario.model import Change, Link
from netemu.scenario.section import Section, Source, unknown

ACTIONS = ("set", "add", "rule", "down", "up", "reset")
"""What an [[at]] may do; exactly one of them."""
DIRECTIONS = ("both", "in", "out")


def after(change: Change, now: Both, initial: Both, files: Files) -> Both:
    """What both directions are asked for from a change on; WordsError.

    ``now``: before it; ``initial``: at the start, which 'reset' brings back.
    """
    if change.action in ("set", "add"):
        return parse_ways(change.text.split(), now, adds=change.action == "add", read_file=files.read)
    if change.action == "reset":
        inward, outward = initial
    else:
        inward, outward = (replace(asked, down=change.action == "down", flap=None) for asked in now)
    return (now[0] if change.text == "out" else inward, now[1] if change.text == "in" else outward)


def read_timeline(source: Source, document: Section, links: Mapping[str, Link], files: Files) -> tuple[Change, ...]:
    """The [[at]] tables in the order of their times; what is wrong is collected."""
    found: list[tuple[Change, Section]] = []
    tables = document.value("at") or []
    if not isinstance(tables, list):
        source.problems.append(str(document.wrong("at", "write [[at]], with two brackets, before each change")))
        return ()
    for number, data in enumerate(tables):
        with source.collecting():
            section = Section(source, ("at", number), data, keys=("time", "link", *ACTIONS))
            found.append((_change(section, links, files), section))
    found.sort(key=lambda pair: pair[0].time)
    asked = {name: (link.inward, link.outward) for name, link in links.items()}
    initial = dict(asked)
    for change, section in found:  # words may be right by themselves, but not with what the link is asked for by then
        with source.collecting():
            if change.action != "rule":
                try:
                    asked[change.link] = after(change, asked[change.link], initial[change.link], files)
                except WordsError as error:
                    raise section.wrong(change.action, str(error)) from None
    return tuple(change for change, _ in found)


def _change(section: Section, links: Mapping[str, Link], files: Files) -> Change:
    time = _time(section)
    link = section.text("link")
    if link not in links:
        raise section.wrong("link", unknown(f"there is no link {link!r}" if link else "which link?", link, list(links)))
    actions = [action for action in ACTIONS if action in section]
    if len(actions) != 1:
        what = f"{len(actions)} changes in one [[at]]; give one of {', '.join(ACTIONS)}"
        raise section.wrong(actions[1] if actions else (), what)
    (action,) = actions
    if action == "rule":
        text = str(read_rule(section, ("rule",), section.text("rule"), list(links), files))
    elif action in ("set", "add"):
        text = section.text(action)
    else:
        text = _switched(section, action)
    return Change(time, link, action, text)


def _time(section: Section) -> int:
    text = section.text("time")
    try:
        return units.time(text)
    except ValueError as error:
        raise section.wrong("time", f"{text!r}: {error}" if text else str(error)) from None


def _switched(section: Section, action: str) -> str:
    """The directions of ``down = true`` (both) or ``down = "in"``."""
    value = section.value(action)
    if value is True:
        return "both"
    if value in DIRECTIONS:
        return str(value)
    raise section.wrong(action, f"{value!r} will not do; give true, or one direction: 'in' or 'out'")

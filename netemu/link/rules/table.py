"""The rules of one direction of a link, in order: what becomes of a packet."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from netemu.link.rules.actions import Hand
from netemu.link.rules.flows import FlowTracker
from netemu.link.rules.function import FunctionError
from netemu.link.rules.limits import Meter
from netemu.link.rules.outcomes import Outcome
from netemu.link.rules.row import RuleRow
from netemu.link.rules.rule import Rule
from netemu.link.rules.view import View
from netemu.wire.packet import Packet


class _Entry:
    """A rule in the table, with what it has done so far."""

    __slots__ = ("bytes", "error", "errors", "exact", "meter", "number", "possible", "random", "rule")

    def __init__(self, number: int, rule: Rule, seed: str) -> None:
        self.number = number
        self.rule = rule
        self.exact, self.possible = rule.match.test.exact, rule.match.test.possible
        self.random = Random(f"{seed}/rule {number}")
        self.meter = Meter(rule.limits, Random(f"{seed}/rule {number} probability"))
        self.bytes = 0
        self.errors = 0
        self.error = ""

    def act(self, hand: Hand) -> None:
        hand.random = self.random
        done = False
        for action in self.rule.actions:
            hand.notes.append(f"rule {self.number}: {action}")
            try:
                applies = action.act(hand)
            except FunctionError as error:
                self.errors += 1
                self.error = str(error)
                hand.notes[-1] = f"rule {self.number}: {error}"
                continue
            done |= applies
            if not applies:
                hand.notes.pop()
            if hand.is_over:
                break
        self.meter.acted += done


class RuleTable:
    """False when empty. Rules are known by numbers that stay theirs; they are tried in the order of the table."""

    def __init__(self, seed: str = "", address: dict[int, bytes] | None = None) -> None:
        """``seed``: of what rules do at random. ``address``: by IP version, who signs ICMP errors (kept, not copied)."""
        self._seed = seed
        self._address = {} if address is None else address
        self._entries: list[_Entry] = []
        self._flows: FlowTracker | None = None
        self.last = 0
        """The highest number that was given."""

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, number: int) -> bool:
        return any(entry.number == number for entry in self._entries)

    # -- rules ------------------------------------------------------------------------------------------------------------

    def add(self, rule: Rule, before: int | None = None, number: int | None = None) -> int:
        """Its number, by default the next one. It stands last, or before another. KeyError: no such number."""
        at = len(self._entries) if before is None else self._index(before)
        number = self.last + 1 if number is None else number
        self.last = max(self.last, number)
        self._entries.insert(at, _Entry(number, rule, self._seed))
        self._track()
        return number

    def delete(self, number: int) -> Rule:
        """KeyError: no such number."""
        entry = self._entries.pop(self._index(number))
        self._track()
        return entry.rule

    def clear(self) -> None:
        self._entries.clear()
        self._track()

    def show(self, now: int, link: str = "", direction: str = "") -> list[RuleRow]:
        """A row for each; ``link`` and ``direction`` are what they say."""
        return [
            RuleRow(
                link,
                entry.number,
                direction,
                str(entry.rule.match),
                ", ".join(map(str, entry.rule.actions)),
                str(entry.rule.limits),
                entry.meter.matched,
                entry.bytes,
                entry.meter.acted,
                entry.meter.rests(now),
                entry.errors,
                entry.error,
            )
            for entry in self._entries
        ]

    def matching(self, packet: Packet, now: int) -> list[str]:
        """The rules that would look twice at this packet if it came now, as people know them. Nothing is counted."""
        view = View(packet, now)
        if self._flows is not None:
            self._flows.foresee(view)
        return [
            f"rule {entry.number}: {entry.rule}"
            for entry in self._entries
            if entry.exact(view) and not entry.meter.rests(now)
        ]

    def _index(self, number: int) -> int:
        for index, entry in enumerate(self._entries):
            if entry.number == number:
                return index
        raise KeyError(number)

    def _track(self) -> None:
        """Follow flows while a rule asks about them, and no longer."""
        if not any(entry.rule.match.test.follows_flows for entry in self._entries):
            self._flows = None
        elif self._flows is None:
            self._flows = FlowTracker()

    # -- packets ----------------------------------------------------------------------------------------------------------

    def lets_pass(self, packet: Packet, now: int) -> bool:
        """Can no rule do anything to any of a super-packet's packets? Then it is counted in and may go on whole.

        Otherwise ``apply`` must see each of them.
        """
        view, flows = View(packet, now), self._flows
        if flows is not None:
            flows.peek(view)
        for entry in self._entries:
            if entry.possible(view) and not entry.meter.rests(now):
                return False
        if flows is not None:
            flows.note(view)
        return True

    def apply(self, packet: Packet, now: int) -> Sequence[Outcome]:
        """What becomes of a packet of the wire (not of a super-packet). Nothing: it goes on as it is."""
        view, flows = View(packet, now), self._flows
        if flows is not None:
            flows.note(view)
        hand: Hand | None = None
        for entry in self._entries:
            if not entry.exact(view) or entry.meter.rests(now):
                continue
            entry.bytes += len(view.packet)
            if not entry.meter.takes(now):
                continue
            if hand is None:
                hand = Hand(view, self._address)
            entry.act(hand)
            if hand.is_over:
                break
            view = hand.view
        return hand.outcomes() if hand is not None and hand.notes else ()

"""A link: two ends, and a direction each way."""

from __future__ import annotations

from netemu.link.direction import Direction
from netemu.link.impairments import CLEAR, Impairments
from netemu.link.rules.row import RuleRow
from netemu.link.rules.rule import Rule
from netemu.link.stats import DirectionRow, Percentiles
from netemu.link.wording import words_of

WAYS = ("in", "out")


class Link:
    """``inward`` leads from the first end to the second, ``outward`` back."""

    def __init__(
        self,
        name: str,
        ends: tuple[str, str],
        seed: int,
        inward: Impairments = CLEAR,
        outward: Impairments = CLEAR,
    ) -> None:
        self.name = name
        self.ends = ends
        self.inward = Direction(f"{name}/in", seed, inward)
        self.outward = Direction(f"{name}/out", seed, outward)

    def directions(self, which: str = "both") -> list[Direction]:
        """Those called "in", "out" or "both"; ValueError for any other word."""
        if which not in ("in", "out", "both"):
            raise ValueError(f"{which!r} is no direction of a link; give in, out or both")
        return [d for way, d in zip(WAYS, (self.inward, self.outward), strict=True) if which in (way, "both")]

    def add_rule(self, rule: Rule, before: int | None = None) -> int:
        """In the directions that it is for, by one number; last, or before that of another. ValueError: there is no such rule."""
        tables = [direction.rules for direction in self.directions()]
        if before is not None and not any(before in table for table in tables):
            raise ValueError(f"there is no rule {before} on link {self.name}; `netemu rule show` lists them")
        number = max(table.last for table in tables) + 1
        for direction in self.directions(rule.direction):
            direction.rules.add(rule, before if before is not None and before in direction.rules else None, number)
        return number

    def delete_rule(self, number: int) -> None:
        """From both directions. ValueError: there is none of that number."""
        tables = [direction.rules for direction in self.directions() if number in direction.rules]
        if not tables:
            raise ValueError(f"there is no rule {number} on link {self.name}; `netemu rule show` lists them")
        for table in tables:
            table.delete(number)

    def rule_rows(self, now: int) -> list[RuleRow]:
        """What `netemu rule show` says of it: inward, outward."""
        ways = zip(WAYS, self.directions(), strict=True)
        return [row for way, direction in ways for row in direction.rules.show(now, self.name, way)]

    def rows(self) -> list[DirectionRow]:
        """What `netemu link show` says of it: inward, outward."""
        return [_row(self, way, direction) for way, direction in zip(WAYS, (self.inward, self.outward), strict=True)]


def _row(link: Link, way: str, direction: Direction) -> DirectionRow:
    stats = direction.stats
    source, destination = link.ends if way == "in" else link.ends[::-1]
    delayed = stats.lateness
    return DirectionRow(
        link=link.name,
        direction=way,
        source=source,
        destination=destination,
        words=words_of(direction.impairments),
        packets_in=stats.packets_in,
        bytes_in=stats.bytes_in,
        packets_out=stats.packets_out,
        bytes_out=stats.bytes_out,
        dropped={reason.name: number for reason, number in stats.dropped.items() if number},
        duplicated=stats.duplicated,
        corrupted=stats.corrupted,
        reordered=stats.reordered,
        marked=stats.marked,
        fragmented=stats.fragmented,
        answered=stats.answered,
        passed=stats.passed,
        queued_packets=direction.queued,
        queued_bytes=direction.queued_bytes,
        in_flight=direction.in_flight,
        sojourn=Percentiles.of(stats.sojourn),
        delay_asked=stats.asked / delayed.count if delayed.count else None,
        delay_measured=(stats.asked + delayed.total) / delayed.count if delayed.count else None,
        delay_error=Percentiles.of(delayed),
        rate_asked=direction.rate_asked,
        rate_measured=stats.rate,
        late=stats.late,
        rules=len(direction.rules),
    )

"""What `netemu link` and `netemu rule` do to the links of a running network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from netemu.link.direction import Direction
from netemu.link.link import Link
from netemu.link.stats import DirectionRow, Percentiles
from netemu.link.ways import parse_ways
from netemu.link.words import words_of
from netemu.runtime.network import Network


class Links:
    """The links of ``network`` by name. ValueError, in one line, for all that a user gets wrong."""

    def __init__(self, network: Network, clock: Callable[[], int]) -> None:
        self._network = network
        self._clock = clock

    def rows(self) -> list[DirectionRow]:
        """A row for each direction of each link."""
        return [
            direction_row(link, way, direction)
            for link in self._network.links.values()
            for way, direction in (("in", link.inward), ("out", link.outward))
        ]

    def find(self, name: str | None) -> Link:
        """The link of that name, or the only one there is."""
        links = self._network.links
        if name is None and len(links) == 1:
            return next(iter(links.values()))
        if name is None or name not in links:
            says = "which link?" if name is None else f"there is no link {name!r}:"
            raise ValueError(f"{says} give --link with one of {', '.join(links)}")
        return links[name]

    def change(self, name: str | None, action: str, words: Sequence[str], files: Mapping[str, str]) -> None:
        """``set`` and ``add`` take words for a link, ``reset`` directions: they do nothing any more, and count from 0.

        ``files``: the texts of files that words name.
        """
        link, now = self.find(name), self._clock()
        if action == "reset":
            for way in words or ["both"]:
                for direction in link.directions(way):
                    direction.change(parse_ways(["clear"])[0], now)
                    direction.stats.reset()
        else:
            current = link.inward.impairments, link.outward.impairments
            asked = parse_ways(words, current, adds=action == "add", read_file=files.__getitem__)
            for direction, impairments in zip((link.inward, link.outward), asked, strict=True):
                if impairments != direction.impairments:
                    direction.change(impairments, now)
        self._network.rewire()


def direction_row(link: Link, way: str, direction: Direction) -> DirectionRow:
    stats, asked = direction.stats, direction.impairments
    source, destination = link.ends if way == "in" else link.ends[::-1]
    return DirectionRow(
        link=link.name,
        direction=way,
        source=source,
        destination=destination,
        words=words_of(asked),
        packets_in=stats.packets_in,
        bytes_in=stats.bytes_in,
        packets_out=stats.packets_out,
        bytes_out=stats.bytes_out,
        dropped={reason.name: count for reason, count in stats.dropped.items() if count},
        duplicated=stats.duplicated,
        corrupted=stats.corrupted,
        reordered=stats.reordered,
        marked=stats.marked,
        fragmented=stats.fragmented,
        answered=stats.answered,
        queued_packets=direction.queued,
        queued_bytes=0,
        in_flight=direction.in_flight,
        sojourn=Percentiles.of(stats.sojourn),
        delay_asked=stats.asked.mean,
        delay_measured=None if stats.asked.mean is None else stats.asked.mean + (stats.lateness.mean or 0),
        delay_error=Percentiles.of(stats.lateness),
        rate_asked=asked.rate.bits if asked.rate else None,
        rate_measured=stats.rate,
        late=stats.late,
    )

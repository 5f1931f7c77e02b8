"""What `netemu link` and `netemu rule` do to the links of a running network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from netemu.link.link import Link
from netemu.link.stats import DirectionRow
from netemu.link.ways import parse_ways
from netemu.runtime.network import Network


class Links:
    """The links of ``network`` by name. ValueError, in one line, for all that a user gets wrong."""

    def __init__(self, network: Network, clock: Callable[[], int]) -> None:
        self._network = network
        self._clock = clock

    def rows(self) -> list[DirectionRow]:
        """A row for each direction of each link."""
        return [row for link in self._network.links.values() for row in link.rows()]

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

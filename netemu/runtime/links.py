"""What `netemu link` and `netemu rule` do to the links of a running network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from netemu.link.link import Link
from netemu.link.rules.actions import Steer
from netemu.link.rules.function import Function
from netemu.link.rules.parse import parse_rule
from netemu.link.rules.row import RuleRow
from netemu.link.rules.rule import Rule
from netemu.link.stats import DirectionRow
from netemu.link.ways import parse_ways
from netemu.runtime.network import Network


class Links:
    """The links of ``network`` by name. ValueError, in one line, for all that a user gets wrong."""

    def __init__(
        self, network: Network, clock: Callable[[], int], unread: Mapping[str, Callable[[], int]] | None = None
    ) -> None:
        """``unread``: of attachments by name, how many packets the kernel threw away because they were not read in time."""
        self._network = network
        self._clock = clock
        self._unread = unread or {}
        self._unread_before: Counter[str] = Counter()

    def rows(self) -> list[DirectionRow]:
        """A row for each direction of each link."""
        return [self._with_unread(row) for link in self._network.links.values() for row in link.rows()]

    def _with_unread(self, row: DirectionRow) -> DirectionRow:
        source = row.source
        if source not in self._unread:
            return row
        return replace(row, unread=self._unread[source]() - self._unread_before[source])

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
        """``set`` and ``add`` take words for a link, ``reset`` directions: they do nothing any more, and begin anew.

        ``files``: the texts of files that words name.
        """
        link, now = self.find(name), self._clock()
        if action == "reset":
            for way in words or ["both"]:
                for direction in link.directions(way):
                    direction.reset(now)
                    source = link.ends[direction is link.outward]
                    if source in self._unread:
                        self._unread_before[source] = self._unread[source]()
        else:
            current = link.inward.impairments, link.outward.impairments
            asked = parse_ways(words, current, adds=action == "add", read_file=files.__getitem__)
            for direction, impairments in zip((link.inward, link.outward), asked, strict=True):
                if impairments != direction.impairments:
                    direction.change(impairments, now)
        self._network.rewire()

    # -- rules ------------------------------------------------------------------------------------------------------------

    def rules(self) -> list[RuleRow]:
        """A row for each rule of each direction of each link."""
        now = self._clock()
        return [row for link in self._network.links.values() for row in link.rule_rows(now)]

    def add_rule(self, name: str | None, rule: str | Rule, before: int | None = None) -> int:
        """Its number. A text cannot call Python: whoever may use the control API could run any code as us."""
        link, rule = self.find(name), parse_rule(rule, _refuse) if isinstance(rule, str) else rule
        for action in rule.actions:
            if isinstance(action, Steer) and (action.link == link.name or action.link not in self._network.links):
                others = ", ".join(other for other in self._network.links if other != link.name)
                raise ValueError(f"{action}: give another link of the network: {others or 'there is none'}")
        number = link.add_rule(rule, before)
        self._network.rewire()
        return number

    def delete_rules(self, name: str | None, numbers: Sequence[int]) -> None:
        """All of them, or none where one is wrong. No numbers: all there are."""
        link = self.find(name)
        known = {row.number for row in link.rule_rows(self._clock())}
        for number in (each for each in numbers if each not in known):
            raise ValueError(f"there is no rule {number} on link {link.name}; `netemu rule show` lists them")
        for number in dict.fromkeys(numbers) if numbers else known:
            link.delete_rule(number)
        self._network.rewire()


def _refuse(name: str) -> Function:
    raise ValueError(f"call {name}: only a scenario file and the API of Python can have functions called")

"""A link: two ends, and a direction each way."""

from __future__ import annotations

from netemu.link.direction import Direction
from netemu.link.impairments import CLEAR, Impairments

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

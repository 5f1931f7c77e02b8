"""SACK blocks of a receiver (RFC 2018 sections 3 and 4)."""

from __future__ import annotations

import pytest
from wire_end import WireEnd, established

Blocks = tuple[tuple[int, int], ...]


def hole(end: WireEnd, *starts: int) -> Blocks:
    """Deliver 100 bytes at each of ``starts``; the blocks of the last ACK."""
    blocks: Blocks = ()
    for start in starts:
        end.send(".", b"x" * 100, seq=start)
        blocks = end.expect(".").options.sack
    return blocks


def test_without_the_option_there_are_none() -> None:
    assert hole(established(), 201) == ()
    end = established(sack=True)
    end.connection.sack_ok = False
    assert hole(end, 201) == ()


def test_with_nothing_missing_there_are_none() -> None:
    end = established(sack=True)
    end.send(".", b"x" * 100)
    assert end.expect(".", ack=101).options.sack == ()


def test_one_hole() -> None:
    end = established(sack=True)
    assert hole(end, 201) == ((201, 301),)
    assert hole(end, 301) == ((201, 401),)
    assert hole(end, 501) == ((501, 601), (201, 401))


def test_the_block_of_the_segment_that_came_is_first() -> None:
    """Section 4: 'The first SACK block MUST specify the contiguous block of data containing the segment which triggered this
    ACK', then the ones most recently reported."""
    end = established(sack=True)
    assert hole(end, 201, 401, 601, 801)[:2] == ((801, 901), (601, 701))
    assert hole(end, 301) == ((201, 501), (801, 901), (601, 701))
    assert hole(end, 601)[1:] == ((601, 701), (201, 501), (801, 901))  # a duplicate too, behind its DSACK


def test_the_example_of_rfc_2018() -> None:
    """Section 7, case 2: the first segment is dropped, the others arrive."""
    end = established(sack=True, rcvbuf=60_000)
    blocks = []
    for number in range(1, 8):
        end.send(".", b"x" * 500, seq=1 + 500 * number)
        blocks.append(end.expect(".", ack=1).options.sack)
    assert blocks == [((501, 1001 + 500 * i),) for i in range(7)]


@pytest.mark.parametrize(("ts", "most"), [(False, 4), (True, 3)])
def test_how_many_fit(ts: bool, most: int) -> None:
    """Section 3: 4 blocks, or 3 beside timestamps, in 40 bytes."""
    end = established(sack=True, ts=ts)
    assert len(hole(end, 201, 401, 601, 801, 1001, 1201)) == most


def test_a_filled_hole_is_no_block() -> None:
    end = established(sack=True)
    hole(end, 201, 401)
    end.send(".", b"x" * 200, seq=1)
    assert end.expect(".", ack=301).options.sack == ((401, 501),)
    end.send(".", b"x" * 100, seq=301)
    assert end.expect(".", ack=501).options.sack == ()


def test_they_are_on_whatever_leaves() -> None:
    """Data and FIN carry them as well as ACKs do, as far as there is room."""
    end = established(sack=True)
    end.send(".", b"x" * 100, seq=201)
    end.connection.write(b"answer")
    assert end.expect("P.", seq=1).options.sack == ((201, 301),)


def test_a_fin_beyond_a_hole() -> None:
    """The FIN is kept, but no block covers its number."""
    end = established(sack=True)
    end.send("F.", b"x" * 100, seq=201)
    assert end.expect(".", ack=1).options.sack == ((201, 301),)
    end.send(".", b"x" * 200, seq=1)
    assert end.expect(".", ack=302).options.sack == ()

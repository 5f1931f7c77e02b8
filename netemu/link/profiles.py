"""Named profiles: what a kind of access asks of a link, in words, each with where its figures come from.

The subscriber is at the link's first end: ``inward`` is the upload and ``outward`` the download. So it is with `netemu up`,
where the client is behind the TUN, and in a scenario with `ends = ["laptop", "r1"]`. A published round trip is shared evenly
between the directions. Where there is no figure to cite, ``source`` says so.
"""

from __future__ import annotations

from dataclasses import dataclass

_WPT = "WebPageTest, www/settings/connectivity.ini.sample"


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of access."""

    name: str
    summary: str
    """One line for people."""
    inward: str
    """Words of the direction from the subscriber to the network."""
    outward: str
    """Words of the direction to the subscriber."""
    source: str
    """Publication and year, and which of the figures are our choice."""


class ProfileError(ValueError):
    """There is no such profile; the text is one line that names one that is near."""


_OURS = "typical values, our choice"

_ALL = (
    Profile(
        "dial-up", "a 56k modem: 49/30 kbit/s, 120 ms round trip",
        "rate 30kbit delay 60ms", "rate 49kbit delay 60ms",
        f"{_WPT}, [Dial]",
    ),
    Profile(
        "2g", "second generation: 280/256 kbit/s, 800 ms round trip",
        "rate 256kbit delay 400ms", "rate 280kbit delay 400ms",
        f"{_WPT}, [2G]",
    ),
    Profile(
        "edge", "EDGE: 240/200 kbit/s, 840 ms round trip",
        "rate 200kbit delay 420ms", "rate 240kbit delay 420ms",
        f"{_WPT}, [Edge]",
    ),
    Profile(
        "3g", "UMTS: 1.6/0.768 Mbit/s, 300 ms round trip",
        "rate 768kbit delay 150ms", "rate 1600kbit delay 150ms",
        f"{_WPT}, [3G]",
    ),
    Profile(
        "lte", "12/12 Mbit/s, 70 ms round trip",
        "rate 12mbit delay 35ms", "rate 12mbit delay 35ms",
        f"{_WPT}, [LTE]",
    ),
    Profile(
        "lte-bad", "LTE at the edge of a cell: 2/0.5 Mbit/s, 160 ms round trip with jitter, losses in bursts",
        "rate 500kbit delay 80ms 30ms 25% keep-order loss gemodel 0.5% 30%",
        "rate 2mbit delay 80ms 30ms 25% keep-order loss gemodel 0.5% 30%",
        _OURS,
    ),
    Profile(
        "5g", "mid-band 5G: 50/10 Mbit/s, 40 ms round trip with some jitter",
        "rate 10mbit delay 20ms 3ms keep-order", "rate 50mbit delay 20ms 3ms keep-order",
        "Rizvi, Heidemann and Plonka, Third-Party Assessment of Mobile Performance in the 5G Era, arXiv:2507.18834, 2025: six in "
        "ten users get less than 50 Mbit/s, one in twenty a round trip below 20 ms; within that, and for the upload, our choice",
    ),
    Profile(
        "wifi", "a good home network: 50 Mbit/s, a few ms with a long tail",
        "rate 50mbit delay 3ms 3ms distribution pareto keep-order",
        "rate 50mbit delay 3ms 3ms distribution pareto keep-order",
        "Sui et al., Characterizing and Improving WiFi Latency in Large-Scale Operational Networks, MobiSys 2016: median 3 ms, "
        "90th percentile 20 ms; the rate and the shape of the tail are our choice",
    ),
    Profile(
        "wifi-bad", "a crowded channel, far from the access point: 5 Mbit/s, tens of ms with a long tail, 2 % loss",
        "rate 5mbit delay 20ms 25ms distribution pareto keep-order loss 2%",
        "rate 5mbit delay 20ms 25ms distribution pareto keep-order loss 2%",
        "Pei et al., WiFi can be the weakest link of round trip network latency in the wild, INFOCOM 2016: more than half of the "
        "packets wait longer than 20 ms, a tenth longer than 100 ms; rate and loss are our choice",
    ),
    Profile(
        "dsl", "ADSL: 5.7/0.82 Mbit/s, 37 ms round trip",
        "rate 820kbit delay 18.5ms", "rate 5660kbit delay 18.5ms",
        "Verizon, network performance, after the FCC's Measuring Broadband America 2016: High Speed Internet, 3.1 to 7 Mbit/s",
    ),
    Profile(
        "cable", "DOCSIS: 5/1 Mbit/s, 28 ms round trip",
        "rate 1mbit delay 14ms", "rate 5mbit delay 14ms",
        f"{_WPT}, [Cable]",
    ),
    Profile(
        "fiber", "fibre to the home: 514/565 Mbit/s, 12 ms round trip",
        "rate 565mbit delay 6ms", "rate 514mbit delay 6ms",
        "Verizon, network performance, after the FCC's Measuring Broadband America 2016: the rates are of Fios 500/500, the "
        "round trip of the tiers from 50 to 75 Mbit/s (11.6 ms)",
    ),
    Profile(
        "satellite-geo", "a geostationary satellite: 100/10 Mbit/s, 600 ms round trip",
        "rate 10mbit delay 300ms", "rate 100mbit delay 300ms",
        "RFC 2488 (1999): 240 to 280 ms each way for the light alone; rates and round trip as of the subscription in Michel, "
        "Trevisan, Giordano and Bonaventure, A First Look at Starlink Performance, IMC 2022",
    ),
    Profile(
        "leo", "satellites in low orbit: 150/15 Mbit/s, 50 ms round trip with jitter, some loss",
        "rate 15mbit delay 25ms 10ms distribution normal keep-order loss 0.5%",
        "rate 150mbit delay 25ms 10ms distribution normal keep-order loss 0.5%",
        "Michel, Trevisan, Giordano and Bonaventure, A First Look at Starlink Performance, IMC 2022: a median of 50 ms, half of "
        "all between 40 and 60 ms; the rates within the advertised 100 to 200 Mbit/s, upload and loss are our choice",
    ),
    Profile(
        "transatlantic", "New York to London: 90 ms round trip",
        "delay 45ms", "delay 45ms",
        "Verizon's service level agreement for its IP network: at most 90 ms on average between New York and London",
    ),
    Profile(
        "datacenter", "two machines of one data centre: 10 Gbit/s, 0.25 ms round trip",
        "rate 10gbit delay 125us", "rate 10gbit delay 125us",
        f"{_OURS}; of the order that Guo et al., Pingmesh, SIGCOMM 2015, measure between servers",
    ),
)  # fmt: skip

PROFILES: dict[str, Profile] = {profile.name: profile for profile in _ALL}
"""By name, from slow to fast within each kind."""


def find_profile(name: str) -> Profile:
    """The profile of that name, in any case; ProfileError says which there are."""
    found = PROFILES.get(name.lower())
    if found is not None:
        return found
    from difflib import get_close_matches  # only a mistake pays for it

    near = get_close_matches(name.lower(), PROFILES, n=1)
    raise ProfileError(
        f"there is no profile {name!r}; "
        + (f"did you mean {near[0]!r}?" if near else f"give one of {', '.join(PROFILES)}")
    )

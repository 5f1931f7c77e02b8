"""Much data through the real TUN: every byte arrives, and memory does not grow with it.

NETEMU_FULL=1 moves 1 GiB in each direction instead of 64 MiB.
"""

from __future__ import annotations

import pytest
from emulated import ADDRESS4, ADDRESS6, FULL, MIB, emulated, pattern_sha256, scratch, sha256_of, write_pattern
from netns import Namespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SIZE = (1024 if FULL else 64) * MIB
GROWTH = 64 * MIB
"""What a transfer may cost at its peak, whatever its size."""
PATHS = pytest.mark.parametrize(
    ("options", "address", "size"),
    [((), ADDRESS4, SIZE), ((), ADDRESS6, SIZE), (("--no-offload",), ADDRESS4, SIZE >> 3)],
    ids=["v4", "v6", "no-offload"],
)


def url(address: str, rest: str) -> str:
    return f"http://[{address}]{rest}" if ":" in address else f"http://{address}{rest}"


@PATHS
def test_download(netns: Namespace, options: tuple[str, ...], address: str, size: int) -> None:
    with emulated(netns, *options) as host:
        before = host.rss()
        host.reset_peak()
        line = f"curl -sSg --fail '{url(address, f'/bytes/{size}')}' | sha256sum"
        said = netns.run("sh", "-c", line, timeout=500).stdout
        assert said.split()[0] == pattern_sha256(size)
        assert host.peak() - before < GROWTH


@PATHS
def test_upload(netns: Namespace, options: tuple[str, ...], address: str, size: int) -> None:
    with scratch() as root, scratch() as elsewhere:
        digest = write_pattern(elsewhere / "source", size)
        with emulated(netns, *options, "--app", f"files=http:80,root={root},write=yes") as host:
            before = host.rss()
            host.reset_peak()
            netns.run("curl", "-sSg", "--fail", "-T", f"{elsewhere}/source", url(address, "/target"), timeout=500)
            assert host.peak() - before < GROWTH
            assert sha256_of(root / "target") == digest
            assert [path.name for path in root.iterdir()] == ["target"]


def test_both_directions_of_one_connection(netns: Namespace) -> None:
    """echo sends back what comes in, while it comes in."""
    size = SIZE >> 2
    with scratch() as elsewhere, emulated(netns) as host:
        digest = write_pattern(elsewhere / "source", size)
        before = host.rss()
        host.reset_peak()
        line = f"nc.openbsd -N {ADDRESS4} 7 <{elsewhere}/source | sha256sum"
        assert netns.run("sh", "-c", line, timeout=300).stdout.split()[0] == digest
        assert host.peak() - before < GROWTH

"""A plugin for pytest, `pytest -p netemu.packetdrill.plugin`: it collects *.pkt.

Each script is run over IPv4, IPv6 and IPv4-mapped sockets, or over what its name ends with: -v4, -v6, -mapped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from netemu.packetdrill.many import run_text
from netemu.packetdrill.outcome import PASSED, Outcome
from netemu.packetdrill.settings import IPV4, IPV6, MAPPED, Settings

VERSIONS = {
    IPV4: Settings(),
    IPV6: Settings(ip_version=IPV6, mtu=1520),  # so that the MSS is that of IPv4, and one script does for all
    MAPPED: Settings(ip_version=MAPPED),
}
ENDINGS = {"-v4": [IPV4], "-v6": [IPV6], "-mapped": [MAPPED]}


class NotPassed(Exception):
    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.problem)
        self.outcome = outcome


class ScriptFile(pytest.File):
    def collect(self) -> Iterator[pytest.Item]:
        for version in next((v for ending, v in ENDINGS.items() if self.path.stem.endswith(ending)), list(VERSIONS)):
            item: ScriptItem = ScriptItem.from_parent(self, name=version)
            yield item


class ScriptItem(pytest.Item):
    def runtest(self) -> None:
        outcome = run_text(self.path.read_text(), str(self.path), VERSIONS[self.name])
        if outcome.status != PASSED:
            raise NotPassed(outcome)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        error = excinfo.value
        if not isinstance(error, NotPassed):
            return str(super().repr_failure(excinfo))
        outcome = error.outcome
        return "\n".join([f"{outcome.path}:{outcome.line}: {outcome.status}: {outcome.problem}", *outcome.details])

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.path.name} over {self.name}"


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.File | None:
    if file_path.suffix != ".pkt":
        return None
    made: ScriptFile = ScriptFile.from_parent(parent, path=file_path)
    return made

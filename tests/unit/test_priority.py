"""Who runs first: real-time priority while a link does something, and not a moment longer."""

import os

import pytest

from netemu.runtime.network import Network
from netemu.runtime.priority import LOWEST, raise_priority

ORDINARY, REAL_TIME = os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.SCHED_RR | os.SCHED_RESET_ON_FORK


class Scheduler:
    """What sched(7) would say of a thread of ours."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cores: int = 2) -> None:
        self.policy = os.SCHED_OTHER
        self.priority = 0
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
        monkeypatch.setattr(os, "sched_getscheduler", lambda _: self.policy)
        monkeypatch.setattr(os, "sched_setscheduler", self.set)

    def set(self, pid: int, policy: int, parameters: os.sched_param) -> None:
        self.policy, self.priority = policy, parameters.sched_priority


def test_up_and_down_again(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = Scheduler(monkeypatch)
    raise_priority(False)
    assert scheduler.policy == os.SCHED_OTHER
    raise_priority(True)
    assert (scheduler.policy, scheduler.priority) == (REAL_TIME, LOWEST)
    raise_priority(False)
    assert (scheduler.policy, scheduler.priority) == (ORDINARY, 0)


def test_nobody_is_kept_from_the_only_core(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = Scheduler(monkeypatch, cores=1)
    raise_priority(True)
    assert scheduler.policy == os.SCHED_OTHER


def test_who_may_not_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    Scheduler(monkeypatch)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    raise_priority(True)


def test_network_tells_of_links_that_were_changed() -> None:
    told: list[bool] = []
    network = Network()
    network.on_rewire = lambda: told.append(True)
    network.rewire()
    assert told == [True]

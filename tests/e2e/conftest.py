"""Fixtures of the end-to-end tests, which need root. A tool that is missing fails a test; nothing is skipped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from emulated import Emulated, emulated, until
from netns import Namespace

import netemu
from netemu.attached.host import AttachedHost


@pytest.fixture
def netns() -> Iterator[Namespace]:
    """A network namespace of this test's own, with lo up."""
    namespace = Namespace()
    try:
        yield namespace
    finally:
        namespace.close()


@pytest.fixture(scope="module")
def instance() -> Iterator[Emulated]:
    """An instance without apps, for those that attach; after the module's tests nothing may be left in it."""
    namespace = Namespace()
    try:
        with emulated(namespace, "--no-apps", "--seed", "7") as instance:
            yield instance
            until(lambda: all(row["state"] == "TIME-WAIT" for row in instance.sockets()))
    finally:
        namespace.close()


@pytest.fixture
def host(instance: Emulated) -> Iterator[AttachedHost]:
    """This process as app 'app' of the instance."""
    host = netemu.attach(app="app", name=instance.name)
    yield host
    host.close()

"""Fixtures of the end-to-end tests, which need root. A tool that is missing fails a test; nothing is skipped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from netns import Namespace


@pytest.fixture
def netns() -> Iterator[Namespace]:
    """A network namespace of this test's own, with lo up."""
    namespace = Namespace()
    try:
        yield namespace
    finally:
        namespace.close()

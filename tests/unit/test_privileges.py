"""Whom to become, decided without being root (tests/e2e/test_rootless.py becomes somebody)."""

from __future__ import annotations

import os
import pwd

import pytest

from netemu.apps.base import UsageError
from netemu.runtime import privileges
from netemu.runtime.privileges import User, drop_root, target_user

NOBODY = User(*pwd.getpwnam("nobody")[2:4], "nobody")


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    """As root, called by nobody through sudo."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(privileges, "_is_mapped", lambda uid: True)
    monkeypatch.setenv("SUDO_UID", str(NOBODY.uid))
    monkeypatch.setenv("SUDO_GID", str(NOBODY.gid))


@pytest.fixture
def ordinary(root: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


@pytest.mark.usefixtures("root")
def test_by_default_the_one_who_called_sudo() -> None:
    assert target_user(None) == NOBODY


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(("uid", "gid"), [("0", "0"), ("", "0"), ("65534", ""), ("x", "y"), ("-1", "-1")])
def test_nobody_called_sudo(monkeypatch: pytest.MonkeyPatch, uid: str, gid: str) -> None:
    monkeypatch.setenv("SUDO_UID", uid)
    monkeypatch.setenv("SUDO_GID", gid)
    assert target_user(None) is None
    assert drop_root(None) is None


@pytest.mark.usefixtures("root")
def test_a_name_or_a_uid() -> None:
    assert target_user("nobody") == NOBODY
    assert target_user(str(NOBODY.uid)) == NOBODY
    assert target_user("54321") == User(54321, 54321, "54321")  # a uid without a name, as in a container
    assert target_user("root") is None
    assert target_user("0") is None


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("user", ["no-such-user", "", "-1", str(2**32 - 1), str(2**40), "nul\0"])
def test_no_such_user(user: str) -> None:
    with pytest.raises(UsageError, match="no such user"):
        target_user(user)


@pytest.mark.usefixtures("root")
def test_who_is_not_in_this_user_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "_is_mapped", lambda uid: uid == 0)
    assert target_user(None) is None
    with pytest.raises(UsageError, match="nobody does not exist in this user namespace"):
        target_user("nobody")


@pytest.mark.usefixtures("ordinary")
def test_without_root_there_is_nothing_to_give_up() -> None:
    assert target_user(None) is None
    assert drop_root(None) is None
    assert target_user("1000") is None
    with pytest.raises(UsageError, match="only root can become nobody: start netemu with sudo"):
        target_user("nobody")

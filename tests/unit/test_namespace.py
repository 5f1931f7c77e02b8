"""The command of a private namespace, and why one may be refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from netemu.runtime import namespace
from netemu.runtime.namespace import can_unshare, explain_refusal, private_namespace_command


def test_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert private_namespace_command(["-x", "y"]) == ["unshare", "--net", "--", "-x", "y"]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert private_namespace_command(["x"]) == ["unshare", "--user", "--map-root-user", "--net", "--", "x"]


@pytest.mark.parametrize(
    ("settings", "root", "answer"),
    [
        ({"user.max_user_namespaces": "0"}, False, "user.max_user_namespaces = 0 forbids"),
        ({"kernel.apparmor_restrict_unprivileged_userns": "1"}, False, "restrict_unprivileged_userns=0' (as root)"),
        ({"kernel.unprivileged_userns_clone": "0"}, False, "sysctl kernel.unprivileged_userns_clone=1"),
        ({"user.max_net_namespaces": "0"}, True, "user.max_net_namespaces = 0 forbids"),
        ({"user.max_user_namespaces": "0"}, True, "Operation not permitted: root lacks CAP_SYS_ADMIN"),
        ({}, False, "Operation not permitted: no user namespaces here; run netemu with sudo"),
    ],
)
def test_the_reason(settings: dict[str, str], root: bool, answer: str) -> None:
    reason = explain_refusal("warning\nunshare: unshare failed: Operation not permitted\n", root, settings.get)
    assert answer in reason
    assert "\n" not in reason


def test_a_refusal_without_a_word() -> None:
    assert explain_refusal("", False, lambda name: None).startswith("unshare failed: ")


def test_no_unshare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert can_unshare() == "no 'unshare' command: install util-linux"


def test_no_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(namespace, "_DEVICE", str(tmp_path / "tun"))
    assert "modprobe tun" in (can_unshare() or "")


@pytest.mark.parametrize(("uid", "way_out"), [(0, "--device"), (1000, "chmod 666")])
def test_a_forbidden_device(monkeypatch: pytest.MonkeyPatch, uid: int, way_out: str) -> None:
    def refuse(path: str, flags: int) -> int:
        raise PermissionError(1, "Operation not permitted", path)

    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(os, "open", refuse)
    reason = can_unshare()
    monkeypatch.undo()
    assert way_out in (reason or "")

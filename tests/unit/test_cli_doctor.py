"""`netemu doctor`: every line that misses something says what to do about it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from netemu.cli import doctor, main
from netemu.cli.doctor import Check


def test_answers_about_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["doctor", "--json"])
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert {"python", "kernel", "/dev/net/tun", "rights", "namespaces", "offload", "address range", "curl"} <= set(
        checks
    )
    assert checks["python"]["ok"]
    assert status == any(check["needed"] == "up" and not check["ok"] for check in checks.values())
    assert all(check["ok"] or check["detail"] for check in checks.values())


def test_a_missing_need_is_status_1_and_has_a_fix(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [
        Check("python", True, "3.11", needed="up"),
        Check("rights", False, "no CAP_NET_ADMIN", "use `sudo netemu up`", "up"),
        Check("curl", False, "not installed", "apt install curl"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda: iter(found))
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "ok       python         3.11",
        "MISSING  rights         no CAP_NET_ADMIN; use `sudo netemu up`",
        "missing  curl           not installed; apt install curl",
    ]


def test_a_missing_tool_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: iter([Check("curl", False, "not installed", "apt install curl")]))
    assert main(["doctor"]) == 0


def test_the_device_node(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(error: type[OSError]) -> None:
        def fail(path: str, flags: int) -> int:
            raise error(1, "why")

        monkeypatch.setattr(os, "open", fail)

    refuse(PermissionError)
    assert "this user may not open it" in doctor.tun_node().detail
    refuse(FileNotFoundError)
    assert "modprobe tun" in doctor.tun_node().fix


def test_rights_come_from_the_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "effective_capabilities", lambda: 1 << 12)
    assert doctor.rights().ok
    monkeypatch.setattr(doctor, "effective_capabilities", lambda: 1 << 11)
    assert not doctor.rights().ok


def test_offload_is_not_tried_in_the_machines_own_namespace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert not doctor.offload(Check("namespaces", False, "forbidden")).ok

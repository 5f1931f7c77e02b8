"""Decision 1 and the arrows of the design, read from the sources: what may import what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SANS_IO = ("wire", "tcp", "stack", "link", "router", "capture")
BELOW: dict[str, set[str]] = {
    "wire": set(),
    "tcp": {"wire"},
    "stack": {"wire", "tcp"},
    "link": {"wire", "tcp"},
    "router": {"wire", "tcp"},
    "capture": {"wire", "tcp"},
    "apps": {"wire", "tcp", "stack", "link", "capture"},
    "runtime": {"wire", "tcp", "stack", "link", "router", "capture", "apps", "tun"},
    "scenario": {"wire", "tcp", "stack", "link", "router", "capture", "apps", "runtime"},
    "attached": {"stack", "runtime"},
    "story": {"wire", "stack", "capture", "runtime", "attached"},
    "sim": {"wire", "tcp", "stack", "link", "router", "capture", "apps", "runtime", "scenario"},
    "packetdrill": {"wire", "tcp", "stack", "capture"},
    "cli": {
        "wire",
        "tcp",
        "stack",
        "link",
        "router",
        "capture",
        "apps",
        "runtime",
        "scenario",
        "attached",
        "story",
        "sim",
        "packetdrill",
        "tun",
    },
}
"""Room: the rooms that it may import from, its own and netemu/reasons.py aside. Arrows go down only; the engine of runtime is
what a simulation runs, and the instance of runtime is what starts apps."""

PURE = frozenset(
    (
        "__future__", "abc", "bisect", "collections", "contextlib", "copy", "dataclasses", "decimal", "difflib", "enum",
        "errno", "functools", "hashlib", "heapq", "io", "ipaddress", "itertools", "math", "operator", "pickle", "random",
        "re", "string", "struct", "types", "typing",
    )
)  # fmt: skip
"""What the sans-I/O rooms may import of the standard library: nothing that can see the world or wait for it (io: BytesIO)."""
THIRD_PARTY = {"capture": {"scapy"}, "stack": {"msgspec"}, "link": {"lark", "msgspec", "scapy"}, "router": {"msgspec"}}
"""Further: scapy for inspection, lazily; msgspec's structs are the rows of listings; lark reads the language of rules."""


def imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """(module, line, at the top of the file?) for every import of a file."""
    tree = ast.parse(path.read_text(), str(path))
    top = {id(node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    inner = {id(n) for node in ast.walk(tree) if id(node) in top for n in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, id(node) not in inner
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: relative import"
            assert node.module
            yield node.module, node.lineno, id(node) not in inner
            if node.module == "netemu":
                for alias in node.names:  # from netemu import wire
                    yield f"netemu.{alias.name}", node.lineno, id(node) not in inner


def sources(*rooms: str) -> list[Path]:
    return [path for room in rooms for path in sorted((ROOT / "netemu" / room).rglob("*.py"))]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room_of(module: str) -> str | None:
    """'wire' for netemu.wire.tcp, 'tun' for tun.device; None for what is no room."""
    parts = module.split(".")
    if parts[0] == "tun":
        return "tun"
    if parts[0] == "netemu" and len(parts) > 1 and (ROOT / "netemu" / parts[1]).is_dir():
        return parts[1]
    return None


def test_every_room_is_known() -> None:
    rooms = {path.name for path in (ROOT / "netemu").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms <= set(BELOW)


@pytest.mark.parametrize("path", sources(*BELOW), ids=name_of)
def test_arrows_go_down(path: Path) -> None:
    room = path.relative_to(ROOT / "netemu").parts[0]
    for module, line, _ in imports(path):
        other = room_of(module)
        assert other is None or other == room or other in BELOW[room], f"{name_of(path)}:{line} imports {module}"


@pytest.mark.parametrize("path", sources(*SANS_IO), ids=name_of)
def test_no_io_below_runtime(path: Path) -> None:
    room = path.relative_to(ROOT / "netemu").parts[0]
    for module, line, at_top in imports(path):
        first = module.split(".")[0]
        if first == "netemu" or first in PURE:
            continue
        assert first in THIRD_PARTY.get(room, ()), f"{name_of(path)}:{line} imports {module}"
        assert first not in ("scapy", "lark") or not at_top, (
            f"{name_of(path)}:{line}: {first} is slow to import: do it lazily"
        )


@pytest.mark.parametrize("path", sources(*SANS_IO), ids=name_of)
def test_nothing_sneaks_in_by_other_ways(path: Path) -> None:
    """No open() or print(), no __import__, and random numbers only from an injected Random."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            forbidden = {"open", "print", "input", "__import__", "exec", "eval", "breakpoint"}
            assert node.func.id not in forbidden, f"{name_of(path)}:{node.lineno} calls {node.func.id}"
        if isinstance(node, ast.ImportFrom) and node.module == "random":
            assert [alias.name for alias in node.names] == ["Random"], f"{name_of(path)}:{node.lineno}"
        if isinstance(node, ast.Import):
            assert "random" not in [alias.name for alias in node.names], f"{name_of(path)}:{node.lineno}"


def test_tun_stands_alone() -> None:
    for path in sorted((ROOT / "tun").rglob("*.py")):
        for module, line, _ in imports(path):
            assert module.split(".")[0] != "netemu", f"{name_of(path)}:{line} imports {module}"


def test_reasons_are_a_leaf() -> None:
    for module, line, _ in imports(ROOT / "netemu" / "reasons.py"):
        assert module in ("__future__", "enum"), f"reasons.py:{line} imports {module}"


def test_wire_does_not_know_the_clock_of_anyone() -> None:
    """Nothing on the wire depends on chance: what is random there, the caller gives."""
    for path in sources("wire"):
        for module, line, _ in imports(path):
            assert module != "random", f"{name_of(path)}:{line}"

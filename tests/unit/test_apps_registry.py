"""What --app takes, and what it says to what it does not take."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from apps_transport import FakeClock

import netemu.apps
from netemu.apps.base import UsageError
from netemu.apps.http import HttpApp
from netemu.apps.registry import DEFAULT_APPS, KINDS, AppSpec, make_app, parse_app

APPS = Path(next(iter(netemu.apps.__path__)))
KINDS_LISTED = "kinds: chargen, daytime, discard, echo, http, trouble"
FORM = "write [NAME=]KIND[:PORT][,key=value]..."


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("C=echo", AppSpec("C", "echo", 7, {})),
        ("C=echo:12345", AppSpec("C", "echo", 12345, {})),
        ("my-web.1=http:80,root=/a=b:c,write=yes", AppSpec("my-web.1", "http", 80, {"root": "/a=b:c", "write": "yes"})),
        ("w=http,root=/srv", AppSpec("w", "http", 80, {"root": "/srv"})),
        ("echo", AppSpec("echo", "echo", 7, {})),
        ("http:8080,root=/srv", AppSpec("http", "http", 8080, {"root": "/srv"})),
        ("trouble", AppSpec("trouble", "trouble", 10001, {})),
    ],
)
def test_parse(text: str, spec: AppSpec) -> None:
    assert parse_app(text) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"--app : there is no kind ''; {KINDS_LISTED}"),
        ("htpp:80", f"--app htpp:80: there is no kind 'htpp'; did you mean 'http'? {KINDS_LISTED}"),
        ("trouble:65500", "--app trouble:65500: trouble takes 43 ports; give 65493 at most"),
        ("=echo", f"--app =echo: the name is empty; {FORM}"),
        ("a b=echo", f"--app a b=echo: the name is not one word; {FORM}"),
        ("w=htpp", f"--app w=htpp: there is no kind 'htpp'; did you mean 'http'? {KINDS_LISTED}"),
        ("w=quux", f"--app w=quux: there is no kind 'quux'; {KINDS_LISTED}"),
        ("w=", f"--app w=: there is no kind ''; {KINDS_LISTED}"),
        ("w=http:", "--app w=http:: '' is not a port; give a number from 1 to 65535"),
        ("w=http:0", "--app w=http:0: '0' is not a port; give a number from 1 to 65535"),
        ("w=http:65536", "--app w=http:65536: '65536' is not a port; give a number from 1 to 65535"),
        ("w=http:-1", "--app w=http:-1: '-1' is not a port; give a number from 1 to 65535"),
        ("w=http:\u0664", "--app w=http:\u0664: '\u0664' is not a port; give a number from 1 to 65535"),
        ("w=http:" + "9" * 5000, f"--app w=http:{'9' * 5000}: '{'9' * 5000}' is not a port; give a number from 1 to 65535"),
        ("w=http,root", "--app w=http,root: 'root' is not an option; write key=value"),
        ("w=http,=x", "--app w=http,=x: '=x' is not an option; write key=value"),
        ("w=http,", "--app w=http,: '' is not an option; write key=value"),
        ("w=http,root=a,root=b", "--app w=http,root=a,root=b: an option stands there twice; give each key once"),
    ],
)  # fmt: skip
def test_parse_errors_say_what_to_do(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_app(text)
    assert str(caught.value) == message


def make(text: str) -> None:
    make_app(parse_app(text), FakeClock())


def test_option_errors_say_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for text, message in [
        ("e=echo,size=3", "echo: there is no option 'size'; it takes none"),
        ("trouble,size=3", "trouble: there is no option 'size'; it takes addresses, port"),
        ("w=http,rot=/", "http: there is no option 'rot'; it takes root, write"),
        ("w=http,root=/,write=1", "http: write=1 is neither yes nor no; write write=yes or write=no"),
        ("w=http,write=yes", "http: write=yes needs a directory to write to; add root=DIR"),
        ("w=http,root=/nowhere", "http: root=/nowhere does not exist; give an existing directory"),
        (f"w=http,root={file}", f"http: root={file} is not a directory; give one"),
    ]:
        with pytest.raises(UsageError) as caught:
            make(text)
        assert str(caught.value) == message


@pytest.mark.parametrize("mode", ["read", "write"])
def test_a_directory_that_we_may_not_use(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbidden = {"read": 4, "write": 2}[mode]
    monkeypatch.setattr("os.access", lambda path, wanted: not wanted & forbidden)  # root may do everything
    with pytest.raises(UsageError, match=f"is not {mode.rstrip('e')}able; change its mode or"):
        make(f"w=http,root={tmp_path},write=yes")


def test_the_default_apps_can_all_be_made() -> None:
    assert [(spec.name, spec.port) for spec in DEFAULT_APPS] == [
        ("http", 80), ("echo", 7), ("discard", 9), ("daytime", 13), ("chargen", 19)
    ]  # fmt: skip
    for spec in DEFAULT_APPS:
        app = make_app(spec, FakeClock())
        assert app.stream() is not app.stream()
        assert app.udp == (spec.kind != "http")
    assert KINDS["http"] is HttpApp
    with pytest.raises(TypeError):
        make_app(DEFAULT_APPS[0], FakeClock()).datagram()


def test_the_registry_is_cheap_to_import() -> None:
    loaded = (
        "import sys, netemu.apps.registry; print({'h11', 'asyncio', 'scapy', 'mimetypes', 'email'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=True, cwd=APPS.parents[1]
    )
    assert done.stdout == "set()\n"


def test_an_app_may_take_several_ports() -> None:
    spec = parse_app("t=trouble:20001")
    ports = [service.port for service in make_app(spec, FakeClock()).services(spec.port)]
    assert min(ports) >= spec.ports[0] == 20001
    assert max(ports) == spec.ports[-1]
    assert len(set(ports)) == len(ports)
    assert [service.port for service in make_app(parse_app("echo:99"), FakeClock()).services(99)] == [99]


@pytest.mark.parametrize("path", sorted(APPS.rglob("*.py")), ids=lambda path: str(path.relative_to(APPS)))
def test_apps_leave_time_and_loops_to_others(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported = {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported = {(node.module or "").partition(".")[0]}
        else:
            continue
        assert not imported & {"asyncio", "threading", "time", "socket", "select"}

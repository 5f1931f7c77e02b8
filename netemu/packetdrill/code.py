"""Python between %{ and }%: tcp_info under Linux' names, and what the script's earlier code has defined."""

from __future__ import annotations

import contextlib
import io
import traceback

from netemu.packetdrill.outcome import Failure
from netemu.packetdrill.script import Code, Event, ScriptError
from netemu.packetdrill.symbols import SYMBOLS
from netemu.packetdrill.world import World
from netemu.stack import constants as so
from netemu.stack.stream_socket import StreamSocket
from netemu.stack.tcpinfo import fields

ROOM = 1024


class Interpreter:
    """Runs a script's code. What it prints is collected."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._names: dict[str, object] = dict(SYMBOLS)
        self.printed: list[str] = []

    def run(self, event: Event, code: Code) -> None:
        """Failure where an assertion fails or anything else is raised."""
        self._names.update(self._tcp_info())
        source = _dedented(code.source)
        try:
            compiled = compile(source, "script", "exec")
        except SyntaxError as error:
            raise ScriptError(
                f"the Python code is not valid: {error.msg}", event.line + (error.lineno or 1) - 1
            ) from None
        out = io.StringIO()
        try:
            with contextlib.redirect_stdout(out):
                exec(compiled, self._names)
        except AssertionError as error:
            raise Failure(event, "the assertion does not hold", [*_where(error, source), *_said(error)]) from None
        except Exception as error:
            text = f"the Python code raised {type(error).__name__}: {error}"
            raise Failure(event, text, _where(error, source)) from None
        finally:
            self.printed += out.getvalue().splitlines()

    def _tcp_info(self) -> dict[str, object]:
        world = self._world
        owner = world.machine.connection_owner()
        socket = owner if isinstance(owner, StreamSocket) and owner.connection is not None else world.under_test
        if not isinstance(socket, StreamSocket):
            return {}
        packed = socket.getsockopt(so.IPPROTO_TCP, so.TCP_INFO, ROOM)
        assert isinstance(packed, bytes)
        return {f"tcpi_{name}": value for name, value in fields(packed).items()}


def _dedented(source: str) -> str:
    """The first line stands behind the brace; the others may be indented by any common amount."""
    first, _, rest = source.partition("\n")
    lines = rest.split("\n") if rest else []
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join((first.strip(), *(line[margin:] for line in lines)))


def _where(error: Exception, source: str) -> list[str]:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == "script"]
    lines = source.split("\n")
    return [f"  {lines[f.lineno - 1].strip()}" for f in frames[-1:] if f.lineno and f.lineno <= len(lines)]


def _said(error: AssertionError) -> list[str]:
    return [f"  it is {error.args[0]!r}"] if error.args else []

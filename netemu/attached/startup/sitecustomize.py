"""What a Python that `netemu exec` starts runs first: from now on socket.socket makes sockets of the emulated host.

It lies in a directory of its own, which `netemu exec` puts on PYTHONPATH, and hands on to the sitecustomize that would have
been found without it. Any Python 3.7 or later must get through it, also one that has nothing of what netemu needs.
"""

import errno
import os
import sys
from importlib import import_module
from importlib.machinery import PathFinder
from typing import NoReturn


def start() -> None:
    """Become the app. Nothing of netemu stays on sys.path: the program finds what it would find without us."""
    places = [place for place in os.environ["NETEMU_EXEC_PATH"].split(os.pathsep) if place not in sys.path]
    sys.path.extend(places)
    try:
        import socket
        from pathlib import Path

        from netemu.attached.host import attach_at
        from netemu.attached.patch import patched_class
        from netemu.attached.socket import AttachedSocket
        from netemu.runtime.errors import RuntimeFailure
    except (ImportError, SyntaxError) as problem:
        own = os.environ["NETEMU_EXEC_PYTHON"]
        give_up(f"{sys.executable} lacks what netemu needs ({problem}): install netemu-tun there, or run it with {own}")
    finally:
        for place in places:
            sys.path.remove(place)
    try:
        host = attach_at(Path(os.environ["NETEMU_EXEC_SOCKET"]), os.environ["NETEMU_EXEC_APP"])
    except (OSError, RuntimeFailure) as problem:
        give_up(str(problem))
    socket.socket = patched_class(host, socket.socket)  # type: ignore[misc]  # that is the point
    end_with_instance(AttachedSocket)


def end_with_instance(attached: type) -> None:
    """A server ends when the host has: most take an OSError from accept for a passing one, and would try for ever."""
    accept = attached.accept  # type: ignore[attr-defined]  # this file knows nothing of netemu before it looks for it

    def accept_or_end(self: object) -> object:
        try:
            return accept(self)
        except OSError as problem:
            if problem.errno != errno.ENETDOWN:
                raise
            raise SystemExit(f"netemu: exec: {problem.strerror}") from None

    attached.accept = accept_or_end  # type: ignore[attr-defined]


def give_up(why: str) -> NoReturn:
    """In one line; an exception in here would be 'Fatal Python error' with a traceback."""
    sys.stderr.write(f"netemu: exec: {why}\n")
    sys.stderr.flush()
    os._exit(1)


def hand_on() -> None:
    """Run the sitecustomize behind this one on sys.path, if there is one, under its own name."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [place for place in sys.path if os.path.abspath(place) != here]
    if PathFinder.find_spec("sitecustomize", sys.path) is not None:
        del sys.modules["sitecustomize"]
        import_module("sitecustomize")


if "NETEMU_EXEC_SOCKET" in os.environ:
    try:
        start()
    except KeyboardInterrupt:
        os._exit(130)  # as a shell has it; else Python says that it failed to import site
hand_on()

"""The session of this process with a broker: requests out, answers in."""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path
from typing import TypeVar

import msgspec

from netemu.runtime.broker.protocol import DESCRIPTORS, LARGEST, VERSION, Welcome, descriptors_in

Answer = TypeVar("Answer")
_ANSWER = tuple[int, int, str, msgspec.Raw]
_ENDED = "the instance has ended"
PATIENCE = 5.0
"""Seconds for the first answer: an instance that is stopped is better told of than waited for."""


class Channel:
    """Safe to use from several threads, after fork and after a change of the effective uid: each process, and each uid, has a
    session of its own."""

    def __init__(self, path: Path, app: str) -> None:
        """OSError when nobody serves there or the app's name is refused."""
        self.path = path
        self.app = app
        self._connect()

    def _connect(self) -> None:
        self._lock = threading.Lock()
        self._owner = os.getpid(), os.geteuid()
        self._number = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._socket.settimeout(PATIENCE)
            self._socket.connect(os.fspath(self.path))
            self.welcome = self._ask(Welcome, "hello", VERSION, self.app)[0]
            self._socket.settimeout(None)
        except OSError:
            self._socket.close()
            raise

    def ask(self, kind: type[Answer], operation: str, *arguments: object) -> tuple[Answer, int]:
        """The result, and the descriptor that came with it or -1. OSError with the host's errno; ENETDOWN when it has ended.

        A descriptor that comes with an error is in the error's ``descriptor``.
        """
        if self._owner != (os.getpid(), os.geteuid()):
            self._connect()
        return self._ask(kind, operation, *arguments)

    def _ask(
        self, kind: type[Answer], operation: str, *arguments: object, sent: tuple[int, ...] = ()
    ) -> tuple[Answer, int]:
        with self._lock:
            self._number += 1
            payload = msgspec.msgpack.encode([self._number, operation, *arguments])
            if self._socket.fileno() < 0:
                raise OSError(errno.EBADF, "the host was closed here")
            if len(payload) > LARGEST:
                raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
            try:
                socket.send_fds(self._socket, [payload], list(sent))
                answer, descriptors = self._answer_to(self._number)
            except TimeoutError:
                raise TimeoutError(errno.ETIMEDOUT, f"the instance does not answer within {PATIENCE:g} s") from None
            except OSError:
                answer, descriptors = b"", []
        if not answer:
            raise OSError(errno.ENETDOWN, _ENDED)
        _, code, words, result = msgspec.msgpack.decode(answer, type=_ANSWER)
        descriptor = descriptors[0] if descriptors else -1
        if code:
            raise refusal(code, words, descriptor)
        return msgspec.msgpack.decode(result, type=kind), descriptor

    def _answer_to(self, number: int) -> tuple[bytes, list[int]]:
        """Whoever asked before us may have been interrupted (^C) while he waited: his answer is nobody's now."""
        while True:
            answer, descriptors = receive_with_descriptors(self._socket)
            if not answer or msgspec.msgpack.decode(answer, type=_ANSWER)[0] == number:
                return answer, descriptors
            for descriptor in descriptors:
                os.close(descriptor)

    def show(self, kind: type[Answer], operation: str, descriptor: int) -> Answer:
        """Ask about a descriptor of ours. EBADF when it is none."""
        os.fstat(descriptor)
        if self._owner != (os.getpid(), os.geteuid()):
            self._connect()
        return self._ask(kind, operation, sent=(descriptor,))[0]

    def tell(self, operation: str, *arguments: object) -> None:
        """As ask, but nobody waits for an answer. Silent when the instance has ended."""
        try:
            if self._owner != (os.getpid(), os.geteuid()):
                self._connect()
            with self._lock:
                self._socket.send(msgspec.msgpack.encode([0, operation, *arguments]))
        except OSError:
            return

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()


def receive_with_descriptors(end: socket.socket) -> tuple[bytes, list[int]]:
    """A message. Not by socket.recv_fds, which drops the flag: descriptors would be inherited by every child."""
    space = socket.CMSG_SPACE(4 * DESCRIPTORS)
    message, ancillary, _, _ = end.recvmsg(LARGEST, space, socket.MSG_CMSG_CLOEXEC)
    return message, descriptors_in(ancillary)


def refusal(code: int, words: str, descriptor: int) -> OSError:
    """OSError in the subclass that Python gives ``code``."""
    problem = OSError(code, os.strerror(code) if words in ("", errno.errorcode.get(code)) else words)
    if descriptor >= 0:
        problem.__dict__["descriptor"] = descriptor
    return problem

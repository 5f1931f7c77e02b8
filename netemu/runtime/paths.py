"""Where instances live, how they are found, and what they leave.

Each has a directory, BASE/NAME, with its control socket, instance.json and (detached) its log. The base is its owner's:
NETEMU_DIR where that is set; /run/netemu for root; /run/netemu/UID for the user whom root started it for (so that it can
tidy up without root's rights); $XDG_RUNTIME_DIR/netemu or /tmp/netemu-UID for what a user starts alone. Readers look
into all of these, or only into NETEMU_DIR.

An instance holds a lock on its directory for as long as it lives. The kernel gives the lock up whatever way the process
ends, so what a kill -9 leaves is told from a living instance without a doubt, and the next `netemu up` takes it over.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import socket
import stat
from pathlib import Path

from netemu.apps.base import UsageError
from netemu.runtime.errors import RuntimeFailure
from netemu.runtime.privileges import target_user

RUN = Path("/run/netemu")
SOCKET, INFO, LOG = "control.sock", "instance.json", "log"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,14}")
LONGEST_SOCKET_PATH = 107
"""Bytes that fit into sockaddr_un."""


def check_name(name: str) -> str:
    """The name itself; UsageError where it cannot be one (it is a directory's name, and by default the TUN's)."""
    if not NAME.fullmatch(name):
        raise UsageError(f"--name {name!r}: give a letter, then at most 14 letters, digits, '_', '.' or '-'")
    return name


class InstanceDirectory:
    """The directory of a running instance; made by claim()."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.socket = path / SOCKET
        self.info = path / INFO
        self.log = path / LOG
        self._lock = lock

    def write_info(self, text: bytes) -> None:
        """Put JSON about the instance where people and scripts find it."""
        self.info.write_bytes(text)

    def release(self) -> None:
        """Remove the directory, as far as we may, and give up the lock. Safe to call twice."""
        if self._lock < 0:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
        self._lock = -1


def claim(name: str, uid: int | None = None, gid: int | None = None, *, shared: bool = False) -> InstanceDirectory:
    """Make the directory for a new instance that is to run as ``uid``, ``gid``; ourselves when None.

    ``shared``: others may look into it (what each file allows is its own business).

    Raises RuntimeFailure when the name is taken or no directory can be made.
    """
    for other in running():
        if other.name == name:
            raise _taken(name, other)
    owner = (os.geteuid() if uid is None else uid, os.getegid() if gid is None else gid)
    path = _make_base(owner) / name
    if len(os.fsencode(path / SOCKET)) > LONGEST_SOCKET_PATH:
        raise RuntimeFailure(f"{path}: too long for a unix socket; set NETEMU_DIR to a shorter directory")
    directory = InstanceDirectory(path, _lock(path, owner))
    for passed in (path.parent, path) if shared else ():
        passed.chmod(0o755)
    for leftover in path.iterdir():  # of one that was killed: a directory is one of its hosts
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()
    directory.write_info(b'{"name": "%s", "pid": %d}\n' % (name.encode(), os.getpid()))
    if owner[0] != os.geteuid():
        os.chown(directory.info, *owner)
    return directory


def _lock(path: Path, owner: tuple[int, int]) -> int:
    """Make the directory and lock it; the descriptor that holds the lock."""
    while True:
        try:
            _make(path, owner)
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue  # its last owner removed it between the two calls
        except OSError as error:
            raise RuntimeFailure(
                f"{path}: {error.strerror}; set NETEMU_DIR to a directory that you may write"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(path.stat(), os.fstat(lock)):
                return lock
        except FileNotFoundError:
            pass  # removed before we had the lock: that one is nobody's now
        except OSError:
            os.close(lock)
            raise _taken(path.name, path) from None
        os.close(lock)


def find(name: str | None = None, file: str = SOCKET) -> Path:
    """The socket ``file`` of the instance called ``name``; without one, of the only one that runs."""
    name = name or os.environ.get("NETEMU_NAME") or None
    if name is not None:
        return _find_named(check_name(name), file)
    found = running(file)
    if len(found) == 1:
        return found[0] / file
    if found:
        names = ", ".join(path.name for path in found)
        raise RuntimeFailure(f"{len(found)} instances are running ({names}): choose one with --name")
    raise RuntimeFailure("no instance is running: start one with `sudo netemu up`")


def running(file: str = SOCKET) -> list[Path]:
    """The directories of the instances that we may talk to, by name."""
    found = [path for base in search_bases() for path in _children(base) if _answers(path / file)]
    return sorted(found, key=lambda path: path.name)


def own_base() -> Path:
    """The directory in which what this user (the one who called sudo, if one did) starts lives; it is made."""
    target = target_user(None)
    return _make_base((target.uid, target.gid) if target else (os.geteuid(), os.getegid()))


def search_bases() -> list[Path]:
    """Where instances that concern us may be: our own, those that root started for us, and what others share."""
    uid = os.geteuid()
    if os.environ.get("NETEMU_DIR"):
        return [Path(os.environ["NETEMU_DIR"])]  # what others run does not concern who set this: a test, `netemu run`
    bases = [RUN]
    bases.extend(path for path in _children(RUN) if path.name.isdecimal() and _may_enter(path, uid))
    if os.environ.get("XDG_RUNTIME_DIR"):
        bases.append(Path(os.environ["XDG_RUNTIME_DIR"]) / "netemu")
    if _is_private(_temporary(uid)):  # /tmp is everybody's: what somebody else made there is not ours to trust
        bases.append(_temporary(uid))
    return bases


def _find_named(name: str, file: str) -> Path:
    for base in search_bases():
        path = base / name / file
        try:
            if _answers(path, strict=True):
                return path
        except PermissionError:
            raise RuntimeFailure(f"the instance {name!r} is another user's: try sudo") from None
    raise RuntimeFailure(f"no instance named {name!r} is running: `netemu ls` lists those that are")


def _answers(path: Path, strict: bool = False) -> bool:
    """True when a process listens on the socket. An instance too busy to accept is there all the same."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except TimeoutError:
            return True
        except PermissionError:
            if strict:
                raise
            return False
        except OSError as problem:
            return problem.errno == errno.EPROTOTYPE  # somebody listens, on a socket of another kind (attach.sock)
    return True


def _children(base: Path) -> list[Path]:
    try:
        return sorted(base.iterdir())
    except OSError:
        return []


def _make_base(owner: tuple[int, int]) -> Path:
    """The directory for a new instance's directory."""
    chosen = os.environ.get("NETEMU_DIR")
    if chosen:
        return _made(Path(chosen), owner)
    if os.geteuid() == 0 and os.access(RUN if RUN.exists() else RUN.parent, os.W_OK):
        if not RUN.exists():
            RUN.mkdir()
            RUN.chmod(0o755)  # whatever the umask: the users whom root starts instances for pass through here
        return RUN if owner[0] == 0 else _made(RUN / str(owner[0]), owner)
    if os.environ.get("XDG_RUNTIME_DIR"):
        return _made(Path(os.environ["XDG_RUNTIME_DIR"]) / "netemu", owner)
    base = _made(_temporary(os.geteuid()), owner)
    if not _is_private(base):
        raise RuntimeFailure(f"{base} is not a private directory of yours: set NETEMU_DIR to one that is")
    return base


def _made(path: Path, owner: tuple[int, int]) -> Path:
    try:
        _make(path, owner)
    except OSError as error:
        raise RuntimeFailure(f"{path}: {error.strerror}; set NETEMU_DIR to a directory that you may write") from None
    return path


def _make(path: Path, owner: tuple[int, int]) -> None:
    """Make a directory for its owner's eyes only; one that is there stays as it is."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return
    if owner[0] != os.geteuid():
        os.chown(path, *owner)


def _temporary(uid: int) -> Path:
    return Path(f"/tmp/netemu-{uid}")


def _may_enter(path: Path, uid: int) -> bool:
    """Ours, or shared with everybody."""
    return uid == 0 or path.name == str(uid) or bool(path.stat().st_mode & 0o001)


def _is_private(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _taken(name: str, path: Path) -> RuntimeFailure:
    match = None
    with contextlib.suppress(OSError):
        match = re.search(r'"pid": ?(\d+)', (path / INFO).read_text())
    who = f" (pid {match[1]})" if match else ""
    advice = f"stop it with `netemu down --name {name}`, or choose another --name"
    return RuntimeFailure(f"an instance named {name!r} is already running{who}: {advice}")

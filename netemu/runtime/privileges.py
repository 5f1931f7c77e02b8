"""Giving up root once the device is set up (setresuid(2), credentials(7))."""

from __future__ import annotations

import os
import pwd
from typing import NamedTuple

from netemu.apps.base import UsageError


class User(NamedTuple):
    """Whom to become."""

    uid: int
    gid: int
    name: str


def target_user(user: str | None) -> User | None:
    """Whom ``drop_root(user)`` will become: NAME or UID, or for None the one who called sudo.

    None when there is nothing to give up: this process is not root, root itself is asked for, or nobody called sudo.
    Raises UsageError for a user that does not exist or that this process cannot become.
    """
    if user is None:
        return _sudo_caller() if os.geteuid() == 0 else None
    target = _find(user)
    if target.uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise UsageError(f"only root can become {target.name}: start netemu with sudo, or leave out --user")
    if not _is_mapped(target.uid):
        raise UsageError(f"{target.name} does not exist in this user namespace: leave out --user")
    return target


def drop_root(user: str | None) -> str | None:
    """Become ``target_user(user)`` for good; returns its name, or None when there was nothing to give up.

    Groups go first, while there is still the right to; real, effective and saved ids all change, so that there is no
    way back, and with the last uid of root the kernel clears every capability. Descriptors that are open stay usable.
    """
    target = target_user(user)
    if target is None:
        return None
    try:
        os.initgroups(target.name, target.gid)  # for a uid without a name: that one group
        os.setresgid(target.gid, target.gid, target.gid)
        os.setresuid(target.uid, target.uid, target.uid)
    except OSError as error:
        raise UsageError(f"cannot become {target.name}: {error.strerror}; try --user root to stay root") from error
    return target.name


def _find(user: str) -> User:
    try:
        entry = pwd.getpwnam(user)
    except (KeyError, ValueError):
        if not (user.isascii() and user.isdigit() and int(user) < 2**32 - 1):  # -1 means 'leave as is' to setresuid
            raise UsageError(f"no such user: {user}; give --user a name or a uid of this machine") from None
        return _by_uid(int(user))
    return User(entry.pw_uid, entry.pw_gid, entry.pw_name)


def _by_uid(uid: int, gid: int | None = None) -> User:
    """A uid need not have a name (containers); its group then is, unless told, the one of the same number."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return User(uid, uid if gid is None else gid, str(uid))
    return User(uid, entry.pw_gid if gid is None else gid, entry.pw_name)


def _sudo_caller() -> User | None:
    """The one who called sudo(8), from its environment. Root may have called it too, or the variables be left over."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if not (uid.isdigit() and gid.isdigit()) or int(uid) == 0 or not _is_mapped(int(uid)):
        return None
    return _by_uid(int(uid), int(gid))


def _is_mapped(uid: int) -> bool:
    """Whether this user namespace has the uid: `unshare --map-root-user` leaves only root (user_namespaces(7))."""
    try:
        with open("/proc/self/uid_map") as lines:
            ranges = [(int(first), int(count)) for first, _, count in map(str.split, lines)]
    except OSError:
        return True  # no /proc: let setresuid say
    return any(first <= uid < first + count for first, count in ranges)

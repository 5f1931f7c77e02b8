"""Other users' view: commands run by somebody who is not root, wherever this Python and this checkout may lie."""

from __future__ import annotations

import pwd
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from netns import ROOT

NOBODY = pwd.getpwnam("nobody")


@contextmanager
def readable_by_everybody() -> Iterator[list[str]]:
    """A command that runs the one behind it in a mount namespace where everybody may read what netemu is made of.

    Python may well be below /root, which only root may enter: there, an empty directory takes its place, and in that
    is mounted just what is needed.
    """
    with tempfile.TemporaryDirectory(prefix="netemu-e2e-") as hold:
        needed = {Path(sys.base_prefix), Path(sys.prefix), ROOT}
        hidden = {path: wall for path in needed if (wall := _wall_before(path)) is not None}
        steps = ["set -e"]
        for number, path in enumerate(sorted(hidden)):
            steps.append(f"mkdir -p {hold}/{number}; mount --bind '{path}' {hold}/{number}")
        steps.extend(f"mount -t tmpfs -o mode=755 none '{wall}'" for wall in sorted(set(hidden.values())))
        for number, path in enumerate(sorted(hidden)):
            steps.append(f"mkdir -p '{path}'; mount --bind {hold}/{number} '{path}'")
        yield ["unshare", "--mount", "sh", "-c", "; ".join([*steps, 'exec "$@"']), "sh"]


def _wall_before(path: Path) -> Path | None:
    """The topmost directory on the way that others may not enter."""
    return next((d for d in reversed([path, *path.parents]) if not d.stat().st_mode & 0o001), None)


AS_NOBODY = [
    "setpriv",
    f"--reuid={NOBODY.pw_uid}",
    f"--regid={NOBODY.pw_gid}",
    "--clear-groups",
    "--no-new-privs",
    "env",
    "-u",
    "XDG_RUNTIME_DIR",
    "HOME=/nonexistent",
]

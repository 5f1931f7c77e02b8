"""The web server, as far as --app knows it; the rest is imported when one is made, since h11 takes its time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from netemu.apps.base import App, Clock, UsageError
from netemu.apps.options import check_known, yes_or_no

if TYPE_CHECKING:
    from netemu.apps.http_connection import HttpConnection
    from netemu.apps.resources import Site


class HttpApp(App):
    """``root=DIR`` serves the files below DIR, else there is a built-in page and /bytes/N; ``write=yes`` allows PUT."""

    kind = "http"
    port = 80
    summary = "a web server (HTTP/1.1): files below root=DIR or built-in pages; write=yes allows PUT"

    def __init__(self, options: Mapping[str, str], clock: Clock) -> None:
        super().__init__(options, clock)
        check_known(self.kind, options, "root", "write")
        self.site = make_site(options.get("root"), yes_or_no(self.kind, options, "write"))
        from netemu.apps.http_connection import HttpConnection  # now: the first client shall not wait for it

        self.connection = HttpConnection

    def stream(self) -> HttpConnection:
        return self.connection(self.site, self.clock)


def make_site(root: str | None, write: bool) -> Site:
    if root is None:
        if write:
            raise UsageError("http: write=yes needs a directory to write to; add root=DIR")
        from netemu.apps.builtin_site import BuiltinSite

        return BuiltinSite()
    if not os.path.exists(root):
        raise UsageError(f"http: root={root} does not exist; give an existing directory")
    if not os.path.isdir(root):
        raise UsageError(f"http: root={root} is not a directory; give one")
    if not os.access(root, os.R_OK | os.X_OK):
        raise UsageError(f"http: root={root} is not readable; change its mode or give another directory")
    if write and not os.access(root, os.W_OK):
        raise UsageError(f"http: root={root} is not writable; change its mode or leave out write=yes")
    from netemu.apps.files import FileSite

    return FileSite(root, write)

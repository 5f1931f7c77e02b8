"""What stops a command at run time."""

from __future__ import annotations


class RuntimeFailure(Exception):
    """The machine or a running instance is not as needed; the text is one line that says what to do (exit status 1)."""

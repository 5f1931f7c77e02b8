"""The files that a scenario names: traces, distributions, Python functions. Their paths start where its own file lies."""

from __future__ import annotations

import ast
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

MAX_BYTES = 64 << 20
"""No trace is larger; a device such as /dev/zero would be."""


class Files:
    """What lies in and around a directory. Each file is read once: what was checked is what is taken."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._texts: dict[str, str] = {}
        self._modules: dict[str, dict[str, Any]] = {}

    def read(self, path: str) -> str:
        """The text of a file; OSError where it cannot be read, UnicodeError where it is no text."""
        if path not in self._texts:
            self._texts[path] = self._read(path)
        return self._texts[path]

    def _read(self, path: str) -> str:
        with open(self.directory / path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise OSError(27, "more than 64 MiB", path)
        return data.decode()

    def promise(self, name: str) -> Callable[..., Any]:
        """A stand-in for the function called FILE.py:FUNCTION, if there is one; else ValueError. Nothing of the file is run."""
        path, function = _split(name)
        try:
            tree = ast.parse(self.read(path))
        except OSError as error:
            raise ValueError(f"{path} cannot be read ({error.strerror}); give a file that can") from None
        except UnicodeError:
            raise ValueError(f"{path} is no text; give a file of Python") from None
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None)
            raise ValueError(f"{path}{f':{line}' if line else ''}: no Python: {getattr(error, 'msg', error)}") from None
        defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        if function not in defined:
            raise ValueError(f"{path} has no function {function!r}; it has {', '.join(defined) or 'none'}")
        return _promised

    def load(self, name: str) -> Callable[..., Any]:
        """The function called FILE.py:FUNCTION. Runs the file, once for all its functions."""
        self.promise(name)
        path, function = _split(name)
        if path not in self._modules:
            self._modules[path] = runpy.run_path(str(self.directory / path))
        loaded: Callable[..., Any] = self._modules[path][function]
        return loaded


def _split(name: str) -> tuple[str, str]:
    path, colon, function = name.rpartition(":")
    if not colon or not path or not function.isidentifier():
        raise ValueError(f"{name!r} names no function; give FILE.py:FUNCTION")
    return path, function


def _promised(*arguments: Any) -> Any:
    raise AssertionError("a scenario that was only checked is not run")

"""What stands between backticks: settings for the host, questions to it, a few things that need no shell.

No shell runs. Whatever is not known here makes the script one that was not run.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from netemu.packetdrill import asking
from netemu.packetdrill.outcome import Failure, Unsupported
from netemu.packetdrill.script import SECOND, Event
from netemu.packetdrill.sysctls import apply
from netemu.packetdrill.world import World

_PROC = re.compile(r"/proc/sys/(\S+)$")
_HARMLESS = (
    re.compile(r"ip (-\d )?tcp_metrics flush"),
    re.compile(r"tc qdisc (add|replace|del) dev \S+ root( pfifo)?$"),
    re.compile(r"ethtool -K \S+( (gso|tso|gro|lro) (on|off))+$"),
    re.compile(r"/tmp/sysctl_restore_\S*\.sh$"),
    re.compile(r"(true|:|set [-+]\w+|ulimit .*|modprobe .*)$"),
)
"""They change nothing here: there are no cached metrics, no queueing discipline and no offload to switch."""
_DEEPEST = 4
_PPID = re.compile(r"\$\{?PPID\}?|\$\$")


class Commands:
    """Runs the command lines of one script."""

    def __init__(self, world: World, directory: Path) -> None:
        self._world = world
        self._directory = directory
        self.counters: dict[str, int] = {}
        """As `nstat -n` left them."""

    def run(self, event: Event, text: str) -> None:
        """Failure where a command ends with another status than 0; Unsupported for one that is not known."""
        try:
            for line in _lines(text):
                if not self._line(line, 0):
                    raise Failure(event, "the command failed", [f"  {line}"])
        except Unsupported as problem:
            raise Unsupported(str(problem), event.line) from None

    def _line(self, line: str, depth: int) -> bool:
        """Was its exit status 0?"""
        for part in re.split(r"\s*(?:;|&&)\s*(?=(?:[^\"']|\"[^\"]*\"|'[^']*')*$)", line):
            if part and not self._command(part, depth):
                return False
        return True

    def _command(self, text: str, depth: int) -> bool:
        plain = re.sub(r"\s+\d?>\s*(/dev/null|&\d)", "", text).strip()
        if any(pattern.match(plain) for pattern in _HARMLESS):
            return True
        if asking.is_question(plain):
            return asking.ask(self._world, plain, self.counters)
        redirected = re.match(r"echo\s+(.*?)\s*>\s*/proc/sys/(\S+)$", plain)
        if redirected:
            self._set(redirected[2].replace("/", "."), redirected[1].strip("\"'"))
            return True
        try:
            words = shlex.split(plain)
        except ValueError as error:
            raise Unsupported(f"the command {plain!r} is not understood: {error}") from None
        return self._words(words, plain, depth) if words else True

    def _words(self, words: list[str], plain: str, depth: int) -> bool:
        name = Path(words[0]).name
        if name == "sysctl":
            for word in words[1:]:
                if not word.startswith("-"):
                    setting, _, value = word.partition("=")
                    self._set(setting, value)
            return True
        if name == "set_sysctls.py":
            for word in words[1:]:
                setting, _, value = word.partition("=")
                found = _PROC.match(setting)
                if not found:
                    raise Unsupported(f"{word!r} is no file below /proc/sys")
                self._set(found[1].replace("/", "."), value)
            return True
        if name == "sleep" and len(words) == 2 and re.fullmatch(r"\d*\.?\d+", words[1]):
            self._world.machine.go_to(self._world.machine.now + int(float(words[1]) * SECOND))
            return True
        if name in ("rm", "dd", "truncate", "head"):
            return self._disk(name, words)
        if name.endswith(".sh") or name in ("source", ".", "bash", "sh"):
            return self._source(words[1] if name in ("source", ".", "bash", "sh") else words[0], depth)
        raise Unsupported(f"the command {plain!r} is not known")

    def _set(self, name: str, value: str) -> None:
        value = re.sub(r"\$\(\((.*?)\)\)", lambda found: str(_arithmetic(found[1])), value)
        apply(self._world.machine.host, name.replace("/", "."), value)

    def _source(self, path: str, depth: int) -> bool:
        """A script of settings beside the script: its lines are read, not run. One that is not there changes nothing."""
        if depth >= _DEEPEST:
            raise Unsupported(f"{path} sources itself")
        for base in (self._directory, Path()):
            file = base / path
            if file.is_file():
                lines = _lines(file.read_text(errors="replace"))
                return all(self._line(line, depth + 1) for line in lines)
        if Path(path).name == "defaults.sh":
            return True
        raise Unsupported(f"{path} is not there")

    def _disk(self, name: str, words: list[str]) -> bool:
        """rm, dd and truncate on the files that this script alone sees."""
        disk = self._world.disk
        if name == "rm":
            for word in words[1:]:
                disk.pop(word, None)
            return True
        given = dict(word.partition("=")[::2] for word in words[1:])
        if name == "dd" and given.get("if") == "/dev/zero" and "of" in given:
            disk[given["of"]] = bytes(_size(given.get("bs", "512")) * _size(given.get("count", "1")))
            return True
        if name == "truncate" and len(words) == 4 and words[1] == "-s":
            disk[words[3]] = bytes(_size(words[2]))
            return True
        raise Unsupported(f"the command {' '.join(words)!r} is not known")


def _lines(text: str) -> list[str]:
    """The command lines of a text, continued ones in one, without comments."""
    joined = _PPID.sub("1", re.sub(r"\\\n", " ", text))
    found = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in joined.split("\n"))
    return [line for line in found if line]


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+)([kKMG]?)", text)
    if not found:
        raise Unsupported(f"{text!r} is no size")
    return int(found[1]) << {"": 0, "k": 10, "K": 10, "M": 20, "G": 30}[found[2]]


def _arithmetic(text: str) -> int:
    """$((256*1024)): products and sums."""
    if not re.fullmatch(r"[\d\s*+()-]+", text):
        raise Unsupported(f"$(({text})) is not understood")
    total = 0
    for term in text.replace("(", "").replace(")", "").split("+"):
        product = 1
        for factor in term.split("*"):
            product *= int(factor)
        total += product
    return total

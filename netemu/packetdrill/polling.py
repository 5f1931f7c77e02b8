"""poll and epoll."""

from __future__ import annotations

import errno

from netemu.packetdrill.files import POLLERR, POLLHUP, EpollFile, File, Watch, told, wanted
from netemu.packetdrill.outcome import Returned
from netemu.packetdrill.script import ELLIPSIS, Array, Call, ScriptError, Struct
from netemu.packetdrill.symbols import flags_text
from netemu.packetdrill.values import describe
from netemu.packetdrill.world import Handler, Waiting, World
from netemu.tcp.config import MS

POLLNVAL = 0x20


def _poll(world: World, call: Call) -> Waiting:
    array, _, timeout = world.arguments(call, 3)
    if not isinstance(array, Array):
        raise ScriptError("poll takes an array of struct pollfd")
    structs = [item for item in array.items if isinstance(item, Struct)]
    deadline, waits = _deadline(world, timeout)
    while True:
        found = [_revents(world, item) for item in structs]
        count = sum(bool(bits) for bits in found)
        if count or not waits or (deadline is not None and world.machine.now >= deadline):
            break
        yield deadline
    checks = []
    for item, bits in zip(structs, found, strict=True):
        expected = item.get("revents", ELLIPSIS)
        if expected is not ELLIPSIS and world.values.number(expected) != bits:
            shown = flags_text(world.values.number(expected), "POLL"), flags_text(bits, "POLL")
            checks.append((f"revents of {item.get('fd')}", *shown))
    return Returned(count, checks=tuple(checks))


def _deadline(world: World, timeout: object) -> tuple[int | None, bool]:
    """(until when it waits, whether it waits at all) for a timeout in ms; -1: for ever."""
    millis = world.values.number(timeout)
    return (world.machine.now + millis * MS if millis >= 0 else None), millis != 0


def _revents(world: World, item: Struct) -> int:
    number = world.values.number(item.get("fd", -1))
    if number < 0:
        return 0
    file = world.files.get(number)
    if file is None:
        return POLLNVAL
    return file.ready() & (world.values.number(item.get("events", 0)) | POLLERR | POLLHUP)


def _epoll_create(world: World, call: Call) -> Returned:
    (size,) = world.arguments(call, 1)
    if world.values.number(size) <= 0 and call.name == "epoll_create":
        raise OSError(errno.EINVAL, "size must be positive")
    return Returned(0, made=EpollFile())


def _epoll(world: World, fd: object) -> EpollFile:
    file = world.file(fd)
    if not isinstance(file, EpollFile):
        raise OSError(errno.EINVAL, "not an epoll descriptor")
    return file


def _epoll_ctl(world: World, call: Call) -> Returned:
    fd, operation, target, *rest = world.arguments(call, 3, 4)
    epoll, number = _epoll(world, fd), world.values.number(target)
    file: File = world.file(target)
    known = epoll.watched.get(number)
    event = rest[0] if rest else None
    match operation:
        case "EPOLL_CTL_ADD" if known is not None:
            raise OSError(errno.EEXIST, "it is there already")
        case "EPOLL_CTL_MOD" | "EPOLL_CTL_DEL" if known is None:
            raise OSError(errno.ENOENT, "it is not there")
        case "EPOLL_CTL_DEL":
            del epoll.watched[number]
        case "EPOLL_CTL_ADD" | "EPOLL_CTL_MOD":
            if not isinstance(event, Struct):
                raise ScriptError(f"epoll_ctl takes a struct epoll_event, not {describe(event)}")
            epoll.watched[number] = Watch(file, world.values.number(event.get("events", 0)), event)
        case _:
            raise OSError(errno.EINVAL, "no such operation")
    return Returned(0)


def _epoll_wait(world: World, call: Call) -> Waiting:
    fd, given, most, timeout, *_ = world.arguments(call, 4, 5)
    epoll = _epoll(world, fd)
    deadline, waits = _deadline(world, timeout)
    limit = world.values.number(most)
    if limit <= 0:
        raise OSError(errno.EINVAL, "no room for events")
    while True:
        found = [(watch, bits) for watch in epoll.watched.values() if (bits := wanted(watch))][:limit]
        if found or not waits or (deadline is not None and world.machine.now >= deadline):
            break
        yield deadline
    for watch, _ in found:
        told(watch)
    structs = [s for s in (given.items if isinstance(given, Array) else (given,)) if isinstance(s, Struct)]
    checks: list[tuple[str, str, str]] = []
    for item, (watch, bits) in zip(structs, found, strict=False):
        checks += _event_checks(world, item, watch, bits)
    return Returned(len(found), checks=tuple(checks))


def _event_checks(world: World, item: Struct, watch: Watch, bits: int) -> list[tuple[str, str, str]]:
    checks = []
    events = item.get("events", ELLIPSIS)
    if events is not ELLIPSIS and world.values.number(events) != bits:
        checks.append(("events", flags_text(world.values.number(events), "EPOLL"), flags_text(bits, "EPOLL")))
    for name in ("fd", "ptr", "u32", "u64"):
        label, expected = watch.label, item.get(name, ELLIPSIS)
        known = label.get(name, ELLIPSIS) if isinstance(label, Struct) else ELLIPSIS
        if ELLIPSIS not in (expected, known) and world.values.number(expected) != world.values.number(known):
            checks.append((name, str(expected), str(known)))
    return checks


HANDLERS: dict[str, Handler] = {
    "poll": _poll,
    "epoll_create": _epoll_create,
    "epoll_create1": _epoll_create,
    "epoll_ctl": _epoll_ctl,
    "epoll_wait": _epoll_wait,
    "epoll_pwait": _epoll_wait,
}

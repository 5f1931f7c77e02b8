"""Runs one script: event after event, each at its time, against a fresh host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from struct import error as StructError
from typing import cast

from netemu.packetdrill import live as wire
from netemu.packetdrill.calls import begin
from netemu.packetdrill.code import Interpreter
from netemu.packetdrill.commands import Commands
from netemu.packetdrill.files import File
from netemu.packetdrill.live import Live, Part
from netemu.packetdrill.machine import Machine
from netemu.packetdrill.outcome import Failure, Returned
from netemu.packetdrill.script import (
    ELLIPSIS,
    Call,
    Code,
    Command,
    Event,
    IcmpLine,
    Script,
    ScriptError,
    TcpLine,
    UdpLine,
)
from netemu.packetdrill.settings import Settings
from netemu.packetdrill.show import beside, seconds
from netemu.packetdrill.symbols import SYMBOLS
from netemu.packetdrill.world import Waiting, World
from netemu.tcp.config import NEVER, SECOND
from netemu.tcp.connection import Connection

PATIENCE = 3600 * SECOND
"""How long, in virtual time, a late packet or call is waited for, so that a failure can say when it came."""
ERRNOS = {number: name for name, number in SYMBOLS.items() if name.startswith("E") and not name.startswith("EPOLL")}

Say = Callable[[str], None]


class Pending:
    """A blocking call in progress."""

    def __init__(self, event: Event, call: Call, waiting: Waiting, due: int | None) -> None:
        self.event, self.call, self.waiting = event, call, waiting
        self.due = due
        """When it is to return, in the script's time; None where that is not said."""
        self.asked_until: int | None = None


class Run:
    """One run of one script."""

    def __init__(self, script: Script, settings: Settings, say: Say | None = None) -> None:
        for name, value, line in script.options:
            settings = settings.with_option(name, value, line)
        self.script, self.settings, self.say = script, settings, say
        self.machine = Machine(settings)
        self.world = World(self.machine)
        self.code = Interpreter(self.world)
        self.commands = Commands(self.world, Path(script.path).parent)
        self.pending: Pending | None = None
        self.base = 0
        """The time of the event before, in the script's time."""
        self.machine.changed = self._resume
        self.machine.due = self._wanted_at
        self.current: Event | None = None
        self._resuming = False

    def run(self) -> None:
        """Failure, Unsupported or ScriptError where it does not go to its end as it says."""
        for event in self.script.events:
            self.current = event
            try:
                self._event(event)
            except (ValueError, OverflowError, TypeError, StructError) as error:  # a number that fits nowhere, say
                raise ScriptError(f"this makes no sense: {error}", event.line) from None
        self.current = None
        self._finish()

    def _finish(self) -> None:
        self._settle_pending()
        self.machine.pump()
        left = [p for p in self.machine.sent if self.machine.flow is None or p.belongs_to(self.machine.flow)]
        if left:
            last = self.script.events[-1] if self.script.events else None
            self._unexpected(last, left[0], "the script has ended, and there is a packet that no line expects")

    def _unexpected(self, event: Event | None, packet: Live, problem: str) -> None:
        found = wire.observed(packet, self.machine.flow)
        why = f" [{packet.why}]" if packet.why else ""
        raise Failure(
            event, problem, [f"  actual:   {seconds(packet.now - self.machine.begin)} {wire.show(found)}{why}"]
        )

    # -- events -------------------------------------------------------------------------------------------------------------

    def _event(self, event: Event) -> None:
        begin_at, last = self._times(event)
        action = event.action
        if isinstance(action, TcpLine | UdpLine | IcmpLine) and not action.inbound:
            self._outbound(event, action, begin_at, last)
        else:
            if begin_at is not None:
                self.machine.go_to(self.machine.begin + begin_at)
            if isinstance(action, Call):
                self._settle_pending()
            self._check_time(event, begin_at, last, self.machine.time, "it happens")
            self._perform(event)
        # what comes after a time that was left open counts from when it was
        self.base = begin_at if begin_at is not None and last is None else self.machine.time

    def _times(self, event: Event) -> tuple[int | None, int | None]:
        """From when to when it is to happen, in the script's time; None for any time."""
        time = event.time
        if time is None:
            return self.base, None
        if time.kind == "any":
            return None, None
        offset = self.base if time.kind == "relative" else 0
        return offset + time.start, None if time.last is None else offset + time.last

    def _tolerance(self, expected: int) -> int:
        gap = max(0, expected - self.base)
        return max(self.settings.tolerance_usecs * 1000, int(gap * self.settings.tolerance_percent / 100))

    def _check_time(self, event: Event, expected: int | None, last: int | None, came: int, what: str) -> None:
        if expected is None or event.time is None:
            return
        latest = expected if last is None else last
        if expected - self._tolerance(expected) <= came <= latest + self._tolerance(latest):
            return
        when = seconds(expected) + ("" if last is None else f" to {seconds(last)}")
        text = f"timing: {what} at {seconds(came)} s, expected at {when} s"
        raise Failure(event, f"{text} (tolerance {self._tolerance(latest) / 1e6:g} ms)")

    def _perform(self, event: Event) -> None:
        action, machine = event.action, self.machine
        self._say(event)
        match action:
            case TcpLine():
                flow = machine.flow
                if flow is None or (action.opens and self.world.listening and flow.local != self.world.listening):
                    flow = self.world.flow_for_syn()
                machine.inject(flow.tcp(action, machine.ident(), self.settings.mss))
            case UdpLine():
                if machine.flow is None:
                    raise ScriptError("a datagram comes before there is a socket", event.line)
                machine.inject(machine.flow.udp(action, machine.ident()))
            case IcmpLine():
                if machine.flow is None:
                    raise ScriptError("an ICMP message comes before there is a flow", event.line)
                machine.inject(machine.flow.icmp(action, machine.ident(), self._snd_una()))
            case Call():
                self._call(event, action)
            case Code():
                self.code.run(event, action)
            case Command():
                self.commands.run(event, action.text)
                machine.pump()

    def _snd_una(self) -> int | None:
        flow = self.machine.flow
        c = self.machine.host.table.connections.get(flow.key) if flow is not None else None
        return c.snd_una if isinstance(c, Connection) else None

    # -- packets out --------------------------------------------------------------------------------------------------------

    def _outbound(self, event: Event, wanted: wire.PacketLine, begin_at: int | None, last: int | None) -> None:
        machine = self.machine
        first = machine.next_sent(machine.now + PATIENCE)
        if first is None:
            shown = f"  expected: {'' if begin_at is None else seconds(begin_at) + ' '}{wire.show(wanted)}"
            raise Failure(event, "no such packet left the host", [shown])
        came = first.now - machine.begin
        found = wire.observed(first, machine.flow)
        if isinstance(wanted, TcpLine) and isinstance(found, TcpLine):
            found = self._learnt(wanted, first) or found
            found = self._gathered(wanted, found)
        expected, actual, same = wire.compare(wanted, found, machine.flow, self.settings)
        if not same:
            lines = beside(expected, actual, begin_at, came)
            raise Failure(
                event, "another packet than expected", lines + ([f"  because: {first.why}"] if first.why else [])
            )
        self._say(event, came)
        self._check_time(event, begin_at, last, came, "the packet left")

    def _learnt(self, wanted: TcpLine, packet: Live) -> TcpLine | None:
        """Our SYN tells the flow its offset; then the packet reads otherwise."""
        flow = self.machine.flow
        raw = wire.observed(packet, None)
        if flow is None or not isinstance(raw, TcpLine) or wanted.flags & 0xFF != raw.flags & 0xFF:
            return None
        flow.learn(wanted, raw.seq, raw.options or ())
        found = wire.observed(packet, flow)
        return found if isinstance(found, TcpLine) else None

    def _gathered(self, wanted: TcpLine, found: TcpLine) -> TcpLine:
        """Segments that a device cut out of what the script has as one."""
        machine = self.machine
        while not self.settings.strict_segments and found.length < wanted.length and found.seq == wanted.seq:
            following = machine.next_sent(machine.now + self.settings.tolerance_usecs * 1000)
            if following is None:
                break
            second = wire.observed(following, machine.flow)
            both = wire.joined(found, second) if isinstance(second, TcpLine) else None
            if both is None or both.length > wanted.length:
                machine.sent.appendleft(following)
                break
            found = both
        return found

    # -- calls --------------------------------------------------------------------------------------------------------------

    def _call(self, event: Event, call: Call) -> None:
        made = begin(self.world, call)
        until = event.time.until if event.time is not None else None
        due = None
        if until is not None and event.time is not None:
            due = until + (self.base if event.time.kind == "relative" else 0)
        if isinstance(made, Returned):
            self._returned(event, call, made)
        else:
            self.pending = Pending(event, call, made, due)
            self._resume()
            if self.pending is not None and due is None:
                raise Failure(event, f"{call.name} blocks, and the script does not expect it to")
        self.machine.pump()

    def _wanted_at(self) -> int:
        pending = self.pending
        return NEVER if pending is None or pending.asked_until is None else pending.asked_until

    def _resume(self) -> None:
        """Ask the call that waits once more."""
        pending = self.pending
        if pending is None or self._resuming:
            return
        self._resuming = True
        try:
            pending.asked_until = next(pending.waiting)
        except StopIteration as stop:
            self.pending = None
            self._returned(pending.event, pending.call, stop.value)
            if pending.due is not None:
                self._check_time(pending.event, pending.due, None, self.machine.time, f"{pending.call.name} returned")
        finally:
            self._resuming = False

    def _settle_pending(self) -> None:
        """A call begins, or the script ends: the one before must have returned."""
        pending, limit = self.pending, self.machine.now + PATIENCE
        while self.pending is not None and self.machine.step(limit):
            pass
        if self.pending is not None and pending is not None:
            raise Failure(pending.event, f"{pending.call.name} never returns")

    def _returned(self, event: Event, call: Call, returned: Returned) -> None:
        values = self.world.values
        expected = call.result
        if call.errno is not None or (expected == -1 and returned.errno):
            self._check_errno(event, call, returned)
        elif returned.errno:
            raise self._differs(event, call, "", ERRNOS.get(returned.errno, str(returned.errno)), returned)
        elif returned.made is not None:
            if expected is not ELLIPSIS:
                self.world.files[values.number(expected)] = cast("File", returned.made)
        elif expected is not ELLIPSIS and values.number(expected) != returned.value:
            raise self._differs(event, call, "", "", returned)
        for what, wanted, found in returned.checks:
            lines = [f"  expected: {what} {wanted}", f"  actual:   {what} {found}"]
            raise Failure(event, f"{call.name} gave another {what}", lines)
        self._adopt(call)

    def _adopt(self, call: Call) -> None:
        """The socket that was spoken to may be the one under test now."""
        first = call.arguments[0] if call.arguments else None
        if isinstance(first, int):
            self.world.adopt(self.world.files.get(first))
        if call.name in ("accept", "accept4") and isinstance(call.result, int):
            self.world.adopt(self.world.files.get(call.result))

    def _check_errno(self, event: Event, call: Call, returned: Returned) -> None:
        wanted = call.errno
        got = ERRNOS.get(returned.errno, str(returned.errno)) if returned.errno else ""
        if not returned.errno or (wanted is not None and self.world.values.number(wanted) != returned.errno):
            raise self._differs(event, call, wanted or "", got, returned)

    def _differs(self, event: Event, call: Call, wanted: str, found: str, returned: Returned) -> Failure:
        expected = "..." if call.result is ELLIPSIS else str(call.result)
        first, second = (
            [Part(f"{call.name}(…) ="), Part(expected)],
            [Part(f"{call.name}(…) ="), Part(str(returned.value))],
        )
        if expected != str(returned.value):
            second[1] = second[1]._replace(wrong=True)
        if wanted or found:
            first.append(Part(wanted))
            second.append(Part(found, wanted != found))
        return Failure(event, f"{call.name} returned something else", beside(first, second, None, None))

    # -- telling ------------------------------------------------------------------------------------------------------------

    def _say(self, event: Event, time: int | None = None) -> None:
        if self.say is not None:
            when = seconds(self.machine.time if time is None else time)
            self.say(f"{when} line {event.line}: {self.script.text_of(event)}")

"""The control API: HTTP and JSON on a unix socket that only its owner may open.

    GET /status /sockets /counters     structs of netemu.runtime.messages
    GET /why?protocol=&src=&dst=&flags=&seq=&ack=&length=    what would become of such a packet
    POST /why?length=&sent=0|1         the same for the packet in the body, from its IP header on
    GET /links                         a row for each direction of each link
    POST /links                        a LinkChange; its answer is the rows of that link
    GET /routers                       a row for each router
    GET /rules                         a row for each rule of each direction of each link
    POST /rules                        a RuleChange; its answer is the rules of that link
    GET /capture?filter=&count=&snaplen=     a pcapng stream; its X-Capture header is its number
    DELETE /capture/NUMBER             end that stream in good order
    POST /stop                         end the instance in good order

An error is {"error": one line}, with status 400 for the caller's mistake.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from aiohttp import web

from netemu.capture.filter import FilterError, compile_filter
from netemu.capture.pcapng import SNAPLEN
from netemu.runtime.capturestream import CaptureStream
from netemu.runtime.messages import InstanceView, LinkChange, Question, RuleChange

LARGEST_REQUEST = 16 << 20
"""Bytes of a request body: a trace's file may be long."""
LARGEST_PACKET = 128 << 10
GRACE = 1.0
"""Seconds that open requests get to end once the server stops."""

log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ControlServer:
    """Serves ``instance`` at ``path`` from start() to stop(). ``owner`` is the (uid, gid) who may open the socket."""

    def __init__(self, instance: InstanceView, path: Path, owner: tuple[int, int] | None = None) -> None:
        self._instance = instance
        self._path = path
        self._owner = owner
        self._captures: dict[int, CaptureStream] = {}
        self._numbers = itertools.count(1)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(client_max_size=LARGEST_REQUEST, middlewares=[errors_as_json])
        app.router.add_get("/status", self._status)
        app.router.add_get("/sockets", self._sockets)
        app.router.add_get("/counters", self._counters)
        app.router.add_get("/why", self._why)
        app.router.add_post("/why", self._why_packet)
        app.router.add_get("/links", self._links)
        app.router.add_post("/links", self._change_link)
        app.router.add_get("/routers", self._routers)
        app.router.add_get("/rules", self._rules)
        app.router.add_post("/rules", self._change_rules)
        app.router.add_get("/capture", self._capture)
        app.router.add_delete("/capture/{number:\\d+}", self._end_capture)
        app.router.add_post("/stop", self._stop)
        # A client that goes away ends its handler, or a quiet capture would keep its tap for ever.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=GRACE)
        await self._runner.setup()
        await web.SockSite(self._runner, self._listen()).start()

    async def stop(self) -> None:
        """End captures with all they hold, then everything else."""
        for capture in self._captures.values():
            capture.end()
        if self._runner:
            await self._runner.cleanup()
        self._path.unlink(missing_ok=True)

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(os.fspath(self._path))
        self._path.chmod(0o600)
        if self._owner:
            os.chown(self._path, *self._owner)
        return listener

    async def _status(self, request: web.Request) -> web.Response:
        return json_response(self._instance.status())

    async def _sockets(self, request: web.Request) -> web.Response:
        return json_response(self._instance.sockets())

    async def _counters(self, request: web.Request) -> web.Response:
        return json_response(self._instance.counters())

    async def _why(self, request: web.Request) -> web.Response:
        try:
            question = msgspec.convert(dict(request.query), Question, strict=False)
            return json_response(self._instance.why(question))
        except ValueError as problem:  # msgspec's ValidationError is one
            raise bad_request(str(problem)) from None

    async def _why_packet(self, request: web.Request) -> web.Response:
        data = await request.read()
        length = number_of(request, "length", len(data))
        if not len(data) <= length < LARGEST_PACKET:
            raise bad_request(f"length: {length} is less than the packet, or too much")
        return json_response(self._instance.why_packet(data, length, number_of(request, "sent", 0) == 1))

    async def _links(self, request: web.Request) -> web.Response:
        return json_response(self._instance.links())

    async def _change_link(self, request: web.Request) -> web.Response:
        try:
            return json_response(self._instance.change_link(msgspec.json.decode(await request.read(), type=LinkChange)))
        except ValueError as problem:
            raise bad_request(str(problem)) from None

    async def _routers(self, request: web.Request) -> web.Response:
        return json_response(self._instance.routers())

    async def _rules(self, request: web.Request) -> web.Response:
        return json_response(self._instance.rules())

    async def _change_rules(self, request: web.Request) -> web.Response:
        try:
            return json_response(
                self._instance.change_rules(msgspec.json.decode(await request.read(), type=RuleChange))
            )
        except ValueError as problem:
            raise bad_request(str(problem)) from None

    async def _stop(self, request: web.Request) -> web.Response:
        # The answer goes first: once the instance ends, so does this connection.
        asyncio.get_running_loop().call_soon(self._instance.stop)
        return json_response({"stopping": self._instance.name})

    async def _capture(self, request: web.Request) -> web.StreamResponse:
        capture, number = self._new_capture(request), next(self._numbers)
        headers = {"Content-Type": "application/vnd.tcpdump.pcap", "X-Capture": str(number)}
        response = web.StreamResponse(headers=headers)
        self._captures[number] = capture
        self._instance.add_tap(capture.tap)
        try:
            await response.prepare(request)
            async for chunk in capture.chunks():
                await response.write(chunk)
            await response.write_eof()
        except ConnectionError:
            pass  # the reader went away
        finally:
            self._instance.remove_tap(capture.tap)
            del self._captures[number]
        return response

    def _new_capture(self, request: web.Request) -> CaptureStream:
        try:
            keep = compile_filter(request.query.get("filter", ""))
        except FilterError as error:
            raise bad_request(str(error)) from None
        count, snaplen = number_of(request, "count", 0), number_of(request, "snaplen", SNAPLEN)
        return CaptureStream(self._instance.status().tun, keep, count, snaplen)

    async def _end_capture(self, request: web.Request) -> web.Response:
        capture = self._captures.get(int(request.match_info["number"]))
        if capture:
            capture.end()
        return json_response({"ended": capture is not None})


def json_response(value: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def number_of(request: web.Request, key: str, default: int) -> int:
    text = request.query.get(key, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise bad_request(f"{key}: {text!r} is not a number from 0 to 999999999")
    return int(text)


def bad_request(text: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=text)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        return json_response({"error": error.text or error.reason}, error.status)
    except Exception as error:
        log.exception("control API: %s %s", request.method, request.path)
        return json_response({"error": f"a bug in netemu: {error!r}"}, 500)

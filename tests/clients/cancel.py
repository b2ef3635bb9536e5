"""The official Python SDK, 1.x and 2.x, cancels a call: `python cancel.py http://127.0.0.1:3000/mcp legacy`.

After that nothing is asked again and again, and the session goes on.
"""

import asyncio
import contextlib
import json
import sys
from importlib.metadata import version

from mcp import types

try:
    import httpx2 as httpx  # the 2.x line
except ImportError:
    import httpx

from python_client import call, connected

CALM_S = 8
GETS_MAX = 2


class Counting(httpx.AsyncHTTPTransport):
    """Counts what is asked for by GET, and notes under which id the long call goes."""

    gets = 0
    long = None

    async def handle_async_request(self, request):
        if request.method == "GET":
            Counting.gets += 1
        elif b'"countdown"' in request.content:
            Counting.long = json.loads(request.content)["id"]
        return await super().handle_async_request(request)


async def told_to_stop(client, request):
    """The 1.x line cancels no call that its caller gives up; neither line is harmed by a word more."""
    params = types.CancelledNotificationParams(requestId=request, reason="no longer wanted")
    notification = types.CancelledNotification(method="notifications/cancelled", params=params)
    session = getattr(client, "session", client)
    wrapped = types.ClientNotification(notification) if LINE == "1" else notification
    await session.send_notification(wrapped)


async def main(url, mode):
    async with httpx.AsyncClient(transport=Counting(), timeout=30) as http, connected(url, mode, http) as client:
        await call(client, "echo", {"text": "before"})
        begun = asyncio.Event()

        async def progress(*_):
            begun.set()

        arguments = {"from": 100, "interval_ms": 100}
        long = asyncio.ensure_future(client.call_tool("countdown", arguments, progress_callback=progress))
        await asyncio.wait_for(begun.wait(), 20)
        await told_to_stop(client, Counting.long)
        await asyncio.sleep(0.2)
        long.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await long
        before = Counting.gets
        await asyncio.sleep(CALM_S)
        asked = Counting.gets - before
        assert asked <= GETS_MAX, f"{asked} GETs in {CALM_S} s after a cancellation"
        for number in range(6):
            await call(client, "echo", {"text": f"after {number}"})


VERSION = version("mcp")
LINE = VERSION.split(".", maxsplit=1)[0]
asyncio.run(main(*sys.argv[1:]))
print(f"ok mcp {VERSION} cancel 1 rounds")

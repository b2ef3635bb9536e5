"""The official Python SDK, 1.x, and an httpx-sse below it that ends lines at each line end that Unicode knows, as it did for
long: `python line_ends.py http://127.0.0.1:3000/mcp`

The server must answer by streams (`call.reply = "sse"`), or the clients have nothing to split.
"""

import asyncio
import json
import sys
from importlib.metadata import version

import httpx
import httpx_sse
import mcp
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

LINE_ENDS = "\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"
PATIENCE = 60  # seconds
HEADERS = {"accept": "application/json, text/event-stream"}


async def tour(streams):
    read, write, *_ = streams
    async with mcp.ClientSession(read, write) as session:
        await session.initialize()
        for end in [*LINE_ENDS, LINE_ENDS]:
            text = f"one{end}two"
            echo = await session.call_tool("echo", {"text": text})
            assert echo.content[0].text == text, (text, echo)
            value = {text: [text]}
            await session.call_tool("remember", {"key": "k", "value": value})
            recalled = await session.call_tool("recall", {"key": "k"})
            assert recalled.structuredContent["value"] == value, (text, recalled)


def check_reader():
    """It is one that needs the server's care, or nothing is shown here."""
    headers = {"content-type": "text/event-stream"}
    answer = httpx.Response(200, headers=headers, content="data: one\u2028two\n\n".encode())
    (event,) = httpx_sse.EventSource(answer).iter_sse()
    assert event.data == "one", "this httpx-sse ends lines as the standard says: take the version of requirements-v1.txt"


def ids(url):
    """An id comes back as it was, also one that holds a line end."""
    info = {"name": "anynode-tests", "version": "1"}
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info}
    with httpx.Client(trust_env=False, timeout=PATIENCE, headers=HEADERS) as http:
        message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
        http.headers["mcp-session-id"] = http.post(url, json=message).headers["mcp-session-id"]
        for end in LINE_ENDS:
            call = {"jsonrpc": "2.0", "id": f"one{end}two", "method": "tools/call"}
            call["params"] = {"name": "echo", "arguments": {"text": end}}
            # Raw, as most other languages write JSON.
            body = json.dumps(call, ensure_ascii=False).encode()
            headers = {"content-type": "application/json"}
            with http.stream("POST", url, content=body, headers=headers) as answer:
                events = [event.data for event in httpx_sse.EventSource(answer).iter_sse() if event.data]
            answer = json.loads(events[-1])
            assert answer["id"] == call["id"], (end, events)


async def main():
    url = sys.argv[1]
    check_reader()
    ids(url)
    async with streamable_http_client(url) as streams:
        await asyncio.wait_for(tour(streams), PATIENCE)
    async with sse_client(url.removesuffix("mcp") + "sse") as streams:
        await asyncio.wait_for(tour(streams), PATIENCE)
    print(f"ok mcp {version('mcp')} {len(LINE_ENDS)} line ends")


if __name__ == "__main__":
    asyncio.run(main())

"""The official Python client, 1.x and 2.x, under load, while its tokens end after seconds and are renewed:
`python lasting.py URL ISSUER SECONDS`

What came of it is printed as JSON, on a line of its own.
"""

import asyncio
import json
import sys
import time

import mcp
from dance import provider
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

CLIENTS = 3
STEPS = 20
STEP_MS = 200  # 4 s in all: longer than a token is good


async def one(url, issuer, until, total):
    storage, auth = provider("dcr", url, issuer)

    async def call(name, arguments, **options):
        result = await session.call_tool(name, arguments, **options)
        result = result.model_dump(by_alias=True, mode="json")
        assert not result.get("isError"), f"{name} failed: {result['content']}"
        return result["structuredContent"]

    async def quick(number):
        text = f"{number} äöü"
        assert (await call("echo", {"text": text}))["text"] == text
        total["calls"] += 1

    async def long(_number):
        steps = []

        async def step(progress, *_):
            steps.append(progress)

        asked = {"from": STEPS, "interval_ms": STEP_MS}
        counted = await call("countdown", asked, progress_callback=step)
        assert counted["counted"] == STEPS, counted
        assert steps == list(range(1, STEPS + 1)), steps
        total["counted"] += 1

    async def repeat(task):
        number = 0
        while time.monotonic() < until:
            number += 1
            try:
                await task(number)
            except Exception as error:
                total["failed"].append(repr(error))
            await asyncio.sleep(0.02)

    async with create_mcp_http_client(auth=auth) as http_client:
        async with streamable_http_client(url, http_client=http_client) as (read, write, *_):
            async with mcp.ClientSession(read, write) as session:
                await session.initialize()
                await asyncio.gather(repeat(quick), repeat(long))
    total["tokens"] += len(storage.saved)


async def main():
    url, issuer, seconds = sys.argv[1:]
    until = time.monotonic() + float(seconds)
    total = {"calls": 0, "counted": 0, "tokens": 0, "failed": []}
    await asyncio.gather(*(one(url, issuer, until, total) for _ in range(CLIENTS)))
    print(json.dumps(total))


if __name__ == "__main__":
    asyncio.run(main())

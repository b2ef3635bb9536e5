"""httpx and the official Python SDK, whose requests are refused before their bodies are read:
`python refused.py http://127.0.0.1:3000/mcp CASES`

CASES is a JSON list of `{"status", "bytes", "headers"}`: what is answered to a body of so many bytes with these headers.
Either client must see the status, and the JSON-RPC error that says why.
"""

import asyncio
import contextlib
import json
import sys
from importlib.metadata import version

import mcp
from mcp.client.streamable_http import streamable_http_client
from mcp.types import Implementation

try:
    import httpx
except ModuleNotFoundError:
    import httpx2 as httpx

PATIENCE = 60  # seconds
PLAIN = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
OF_THE_SDK = {"content-type", "accept"}  # which it sets itself


def check(client, case, answers):
    assert answers, f"{client} saw no answer to {case['headers']}"
    status, body = answers[0]
    assert status == case["status"], f"{client}: {status} and not {case['status']}: {body[:300]}"
    error = json.loads(body)["error"]
    assert error["message"] and error["code"], f"{client}: {body[:300]}"


def refused_httpx(url, case):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"x": "x" * case["bytes"]}})
    headers = [*{**PLAIN, **case["headers"]}.items(), *map(tuple, case.get("more", []))]
    with httpx.Client(trust_env=False, timeout=PATIENCE) as http:
        answer = http.post(url, content=body, headers=headers)
    check("httpx", case, [(answer.status_code, answer.text)])


async def refused_sdk(url, case):
    """Its `initialize` is as large as the client's name."""
    answers = []

    async def see(answer):
        await answer.aread()
        answers.append((answer.status_code, answer.text))

    info = Implementation(name="x" * case["bytes"], version="1")
    http = httpx.AsyncClient(headers=case["headers"], trust_env=False, timeout=PATIENCE, event_hooks={"response": [see]})
    # How it reports a refusal differs between its lines; that it does not wait for ever is what counts.
    with contextlib.suppress(Exception):
        async with http:
            server = streamable_http_client(url, http_client=http)
            await asyncio.wait_for(introduce(server, info), PATIENCE)
    check(f"mcp {version('mcp')}", case, answers)


async def introduce(server, info):
    if hasattr(mcp, "Client"):
        async with mcp.Client(server, mode="legacy", client_info=info):
            return
    async with server as (read, write, *_), mcp.ClientSession(read, write, client_info=info) as session:
        await session.initialize()


async def main():
    url, cases = sys.argv[1], json.loads(sys.argv[2])
    for case in cases:
        refused_httpx(url, case)
        # What it cannot be made to send is left to the other.
        if not OF_THE_SDK & case["headers"].keys() and "more" not in case:
            await refused_sdk(url, case)
    print(f"ok mcp {version('mcp')} {len(cases)} refusals")


if __name__ == "__main__":
    asyncio.run(main())

"""FastMCP's client, unchanged, at examples/own_tools: `python fastmcp_own.py http://127.0.0.1:3000/mcp`

It finds out by itself what the server speaks, and takes the newest.
"""

import asyncio
import sys
from importlib.metadata import version

from fastmcp import Client

ROUNDS = 6


async def agree(message, response_type, params, context):
    assert message == "Begin again at 0?", message
    return {"sure": True}


async def main():
    async with Client(sys.argv[1], elicitation_handler=agree) as client:
        for number in range(ROUNDS):
            counted = await client.call_tool("count", {})
            assert counted.content[0].text == f"{number + 1} calls so far", counted
        reset = await client.call_tool("reset", {})
        assert reset.content[0].text == "The next call is the first.", reset
        counted = await client.call_tool("count", {})
        assert counted.content[0].text == "1 calls so far", counted
    print(f"ok fastmcp {version('fastmcp')} {ROUNDS} rounds")


asyncio.run(main())

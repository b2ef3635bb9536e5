"""FastMCP's client, unchanged: `python fastmcp_client.py http://127.0.0.1:3000/mcp [auto|sse]`

It finds out by itself what the server speaks, and takes the newest.
"""

import asyncio
import sys
from importlib.metadata import version

from fastmcp import Client

CONNECTIONS = 4
ROUNDS = 5  # on each


async def tour(client):
    names = [tool.name for tool in await client.list_tools()]
    assert "echo" in names and "remember" in names, names
    opened = await client.call_tool("open_notebook", {})
    notebook = opened.structured_content["notebook"]
    for number in range(ROUNDS):
        key, value = f"round-{number}", {"round": number}
        echo = await client.call_tool("echo", {"text": key})
        assert echo.content[0].text == key, echo
        await client.call_tool("remember", {"notebook": notebook, "key": key, "value": value})
        recalled = await client.call_tool("recall", {"notebook": notebook, "key": key})
        assert recalled.structured_content["value"] == value, recalled
        read = await client.read_resource(f"note://{notebook}/{key}")
        assert str(number) in read[0].text, read
        prompt = await client.get_prompt("handoff", {"notebook": notebook})
        assert key in prompt.messages[0].content.text, prompt


async def main():
    url, mode = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "auto"
    if mode == "sse":
        url = url.removesuffix("mcp") + "sse"
    for _ in range(CONNECTIONS):
        async with Client(url) as client:
            await tour(client)
    print(f"ok fastmcp {version('fastmcp')} {CONNECTIONS * ROUNDS} rounds")


asyncio.run(main())

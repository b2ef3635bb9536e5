"""FastMCP's client, with its own OAuth and the browser of this machine, from the first 401 to a call that needs more than it
has: `python dance_fastmcp.py dcr|cimd|known URL`

What came of it is printed as JSON, on a line of its own. BROWSER names the browser.
"""

import asyncio
import json
import sys

from fastmcp import Client
from fastmcp.client.auth import OAuth

DOCUMENT = "https://client.example.com/client.json"  # the authorization server has what stands there


class Noting(OAuth):
    """Notes the scopes of each token."""

    def _bind(self, url):
        super()._bind(url)
        self.scopes = []  # of each token
        keep = self.context.storage.set_tokens

        async def note(tokens):
            self.scopes.append(tokens.scope)
            await keep(tokens)

        self.context.storage.set_tokens = note


async def main():
    how, url = sys.argv[1:]
    ways = {"dcr": {}, "cimd": {"client_metadata_url": DOCUMENT}, "known": {"client_id": "known"}}
    auth = Noting(client_name="anynode-tests", **ways[how])
    async with Client(url, auth=auth) as client:
        names = [tool.name for tool in await client.list_tools()]
        echoed = await client.call_tool("echo", {"text": "with a token"})
        seen = await client.call_tool("whoami", {})
        opened = await client.call_tool("open_notebook", {})
        notebook = opened.structured_content["notebook"]
        before = len(auth.scopes)
        await client.call_tool("remember", {"notebook": notebook, "key": "colour", "value": "teal"})
        recalled = await client.call_tool("recall", {"notebook": notebook, "key": "colour"})
    print(
        json.dumps(
            {
                "tools": names,
                "echoed": echoed.structured_content["text"],
                "who": seen.structured_content.get("principal"),
                "recalled": recalled.structured_content["value"],
                "stepped_up": len(auth.scopes) > before,
                "scopes": auth.scopes,
            }
        )
    )


asyncio.run(main())

"""The official Python SDK, 1.x and 2.x: `python python_client.py http://127.0.0.1:3000/mcp [legacy|auto|modern|sse]`

The 1.x line knows the modes `legacy` and `sse` only; `sse` is the transport of 2024-11-05. Each line has a virtual environment of its own.
"""

import asyncio
import contextlib
import json
import logging
import sys
from importlib.metadata import version

import mcp
from mcp.types import ResourceTemplateReference

SESSIONS = 4
ROUNDS = 5  # in each session
PARALLEL = 6
TEMPLATE = "note://{notebook}/{key}"
MODES = {"legacy": "legacy", "auto": "auto", "modern": "2026-07-28"}


class Complaints(logging.Handler):
    """Collects what the SDK only logs, such as a session that could not be ended."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


@contextlib.asynccontextmanager
async def connected(url, mode, http=None):
    """A connected client, over `http` if that is given. Both lines name their methods alike."""
    from mcp.client.sse import sse_client
    from mcp.client.streamable_http import streamable_http_client

    if mode == "sse":
        async with sse_client(url.removesuffix("mcp") + "sse") as (read, write):
            async with mcp.ClientSession(read, write) as session:
                await session.initialize()
                yield session
        return
    if hasattr(mcp, "Client"):
        server = streamable_http_client(url, http_client=http) if http else url
        async with mcp.Client(server, mode=MODES[mode]) as client:
            modern = client.protocol_version == "2026-07-28"
            assert modern == (mode != "legacy"), client.protocol_version
            yield client
        return
    assert mode == "legacy", f"the 1.x line has no mode {mode}"
    async with streamable_http_client(url, http_client=http) as (read, write, *_):
        async with mcp.ClientSession(read, write) as session:
            await session.initialize()
            yield session


def plain(result):
    """A result as it is on the wire: the two lines name its fields differently."""
    return result.model_dump(by_alias=True, mode="json")


async def call(client, name, arguments):
    result = plain(await client.call_tool(name, arguments))
    assert not result.get("isError"), f"{name} failed: {result['content']}"
    return result


async def tour(client, legacy):
    names = [tool["name"] for tool in plain(await client.list_tools())["tools"]]
    for wanted in ("echo", "open_notebook", "recall", "remember"):
        assert wanted in names, f"no tool {wanted} in {names}"

    # Without a session, notes are kept in a notebook that is named by a handle.
    notebook = None
    if not legacy:
        opened = await call(client, "open_notebook", {})
        notebook = opened["structuredContent"]["notebook"]
        assert len(notebook) >= 16, notebook
    for number in range(ROUNDS):
        await one_round(client, notebook, number)


async def one_round(client, notebook, number):
    key = f"round-{number}"
    value = {"round": number, "words": ["one", "two"]}
    of = {"notebook": notebook} if notebook else {}

    texts = [f"{key} {index} äöü" for index in range(PARALLEL)]
    echoes = await asyncio.gather(*(call(client, "echo", {"text": text}) for text in texts))
    assert [echo["content"][0]["text"] for echo in echoes] == texts

    await call(client, "remember", {"key": key, "value": value, **of})
    recalled = await call(client, "recall", {"key": key, **of})
    assert recalled["structuredContent"]["found"] is True
    assert recalled["structuredContent"]["value"] == value

    uri = f"note://{notebook or 'session'}/{key}"
    read = plain(await client.read_resource(uri))
    assert json.loads(read["contents"][0]["text"]) == value
    resources = plain(await client.list_resources())["resources"]
    if notebook is None:
        assert uri in [resource["uri"] for resource in resources], f"{uri} is not listed"
    templates = plain(await client.list_resource_templates())["resourceTemplates"]
    assert TEMPLATE in [template["uriTemplate"] for template in templates]

    prompts = plain(await client.list_prompts())["prompts"]
    assert "handoff" in [prompt["name"] for prompt in prompts]
    prompt = plain(await client.get_prompt("handoff", {"to": "Bo", **of}))
    text = prompt["messages"][0]["content"]["text"]
    assert "Bo" in text and key in text, text

    reference = ResourceTemplateReference(type="ref/resource", uri=TEMPLATE)
    argument = {"name": "key", "value": key}
    context = {"notebook": notebook or "session"}
    completed = plain(await client.complete(reference, argument, context))
    assert completed["completion"]["values"] == [key], completed


async def main():
    url = sys.argv[1]
    mode = sys.argv[2] if len(sys.argv) > 2 else "legacy"
    complaints = Complaints()
    logging.getLogger().addHandler(complaints)
    for _ in range(SESSIONS):
        async with connected(url, mode) as client:
            await tour(client, legacy=mode in ("legacy", "sse"))
    assert not complaints.texts, complaints.texts
    print(f"ok mcp {version('mcp')} {mode} {SESSIONS * ROUNDS} rounds")


if __name__ == "__main__":
    asyncio.run(main())

"""The official Python client, 1.x and 2.x, and a server that wants a token, from the first 401 to a call that needs more than
it has: `python dance.py legacy|modern dcr|cimd|known|machine URL ISSUER`

What came of it is printed as JSON, on a line of its own. The 1.x line knows the mode `legacy` only.
"""

import asyncio
import http.cookiejar
import json
import sys
import urllib.parse
import urllib.request

import mcp
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata

REDIRECT = "http://127.0.0.1:9/callback"  # nobody listens there: the person stops before
DOCUMENT = "https://client.example.com/client.json"  # the authorization server has what stands there
MACHINE = ("machine", "a-secret-of-the-machine")
MODES = {"legacy": "legacy", "modern": "2026-07-28"}
HOPS_MAX = 20


class Storage:
    """Keeps what the client wants kept, and all tokens that it ever had."""

    def __init__(self, client):
        self.client = client
        self.saved = []

    async def get_tokens(self):
        return self.saved[-1] if self.saved else None

    async def set_tokens(self, tokens):
        self.saved.append(tokens)

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


class Unfollowed(urllib.request.HTTPRedirectHandler):
    """Leaves redirects to the person."""

    def redirect_request(self, *_):
        return None


class Person:
    """Consents to everything: follows the authorization server's redirects, with its cookies."""

    async def go(self, url):
        self.came_back = await asyncio.to_thread(self.follow, url)

    def follow(self, url):
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        browser = urllib.request.build_opener(Unfollowed, cookies, urllib.request.ProxyHandler({}))
        for _ in range(HOPS_MAX):
            if url.startswith(REDIRECT):
                return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
            try:
                answer = browser.open(url)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                to = answer.headers["Location"]
                assert to, f"{url} answered {answer.status}: {answer.read()[:500]}"
            url = urllib.parse.urljoin(url, to)
        raise AssertionError("too many redirects")

    async def back(self):
        try:
            from mcp.client.auth.oauth2 import AuthorizationCodeResult
        except ImportError:  # the 1.x line
            return self.came_back["code"], self.came_back.get("state")
        return AuthorizationCodeResult(**{name: self.came_back.get(name) for name in ("code", "state", "iss")})


def provider(how, url, issuer):
    if how == "machine":
        storage = Storage(None)
        # By position: the two lines name them differently.
        wanted = (*MACHINE, "client_secret_basic", "mcp:tools mcp:write", issuer)
        return storage, ClientCredentialsOAuthProvider(url, storage, *wanted)
    metadata = {
        "client_name": "anynode-tests",
        "redirect_uris": [REDIRECT],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }
    known = OAuthClientInformationFull(client_id="known", issuer=issuer, **metadata) if how == "known" else None
    storage, person = Storage(known), Person()
    document = {"client_metadata_url": DOCUMENT} if how == "cimd" else {}
    wanted = OAuthClientMetadata(**metadata)
    return storage, OAuthClientProvider(url, wanted, storage, person.go, person.back, **document)


async def dance(client, storage, modern):
    async def call(name, arguments):
        result = (await client.call_tool(name, arguments)).model_dump(by_alias=True, mode="json")
        assert not result.get("isError"), f"{name} failed: {result['content']}"
        return result["structuredContent"]

    listed = (await client.list_tools()).model_dump(by_alias=True, mode="json")
    echoed = await call("echo", {"text": "with a token"})
    seen = await call("whoami", {})
    # Without a session, notes are kept in a notebook that is named by a handle.
    of = {"notebook": (await call("open_notebook", {}))["notebook"]} if modern else {}
    before = len(storage.saved)
    await call("remember", {**of, "key": "colour", "value": "teal"})
    recalled = await call("recall", {**of, "key": "colour"})
    return {
        "tools": [tool["name"] for tool in listed["tools"]],
        "echoed": echoed["text"],
        "who": seen.get("principal"),
        "recalled": recalled["value"],
        "stepped_up": len(storage.saved) > before,
        "scopes": [tokens.scope for tokens in storage.saved],
    }


async def main():
    mode, how, url, issuer = sys.argv[1:]
    modern = mode == "modern"
    storage, auth = provider(how, url, issuer)
    sessions = []

    async def note_session(request):
        if session := request.headers.get("mcp-session-id"):
            sessions.append(session)

    async with create_mcp_http_client(auth=auth) as http_client:
        http_client.event_hooks["request"].append(note_session)
        if hasattr(mcp, "Client"):
            async with mcp.Client(streamable_http_client(url, http_client=http_client), mode=MODES[mode]) as client:
                result = await dance(client, storage, modern)
        else:
            async with streamable_http_client(url, http_client=http_client) as (read, write, *_):
                async with mcp.ClientSession(read, write) as client:
                    await client.initialize()
                    result = await dance(client, storage, modern)
    result |= {"session": bool(sessions), "same_session": len(set(sessions)) <= 1}
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main())

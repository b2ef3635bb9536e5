// A client in the page that logs in: the page reads what it is refused and why, opens a window for the person, and calls again.
import * as v2 from '@modelcontextprotocol/client';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as StreamableV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const INFO = { name: 'anynode-page', version: '1.0.0' };
const LINES = {
  v1: { Client: ClientV1, Transport: StreamableV1, code: (back) => back.get('code') },
  v2: { Client: v2.Client, Transport: v2.StreamableHTTPClientTransport, code: (back) => back },
};
const REFUSED = [401, 403];

/** In the window that the person logs in with: tells the page that opened it what the authorization server said. */
export function comeBack() {
  if (!window.opener || !location.search) return;
  window.opener.postMessage({ cameBack: location.search }, location.origin);
  window.close();
}

/** A client of that line, which calls what its first token is good for, and then what needs another. */
export async function login({ server, client: { line } }) {
  const seen = { refused: [], scopes: [] };
  const { Client, Transport, code } = LINES[line];
  const provider = person(seen);
  const url = new URL(`${server}/mcp`);
  const make = () => new Transport(url, { authProvider: provider, fetch: noting(url, seen) });
  // What is refused for want of a token is asked again once the person has come back.
  const asking = async (transport, ask) => {
    try {
      return await ask();
    } catch (error) {
      const back = provider.back();
      if (!back) throw error;
      await transport.finishAuth(code(back));
      return undefined;
    }
  };
  let transport = make();
  let client = new Client(INFO, { capabilities: {} });
  const refused = await asking(transport, () => client.connect(transport).then(() => true));
  if (!refused) {
    transport = make();
    client = new Client(INFO, { capabilities: {} });
    await client.connect(transport);
  }
  const call = async (name, args) => {
    const once = () => client.callTool({ name, arguments: args });
    const result = (await asking(transport, once)) ?? (await once());
    return result.structuredContent;
  };
  const begun = transport.sessionId;
  seen.echoed = (await call('echo', { text: 'from a page' })).text;
  await call('remember', { key: 'colour', value: 'teal' });
  seen.recalled = (await call('recall', { key: 'colour' })).value;
  seen.same_session = typeof begun === 'string' && transport.sessionId === begun;
  client.onerror = undefined;
  await transport.terminateSession();
  await client.close();
  return seen;
}

/** Fetches, and notes what the page can read of the server's refusals. */
function noting(server, seen) {
  return async (url, init) => {
    const answer = await fetch(url, init);
    if (String(url) === server.href && REFUSED.includes(answer.status)) {
      seen.refused.push({ status: answer.status, challenge: answer.headers.get('WWW-Authenticate') });
    }
    return answer;
  };
}

/** Keeps what the client wants kept, and logs in by a window of its own. */
function person(seen) {
  const kept = {};
  let cameBack;
  return {
    redirectUrl: `${location.origin}/`,
    clientMetadata: {
      client_name: 'anynode-page',
      redirect_uris: [`${location.origin}/`],
      grant_types: ['authorization_code'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
      application_type: 'web', // else the 2.x line takes a page of *.localhost for a native program
    },
    clientInformation: () => kept.client,
    saveClientInformation: (client) => { kept.client = client; },
    tokens: () => kept.tokens,
    saveTokens(tokens) {
      kept.tokens = tokens;
      seen.scopes.push(tokens.scope);
    },
    codeVerifier: () => kept.verifier,
    saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
    discoveryState: () => kept.discovery,
    saveDiscoveryState: (state) => { kept.discovery = state; },
    async redirectToAuthorization(url) {
      cameBack = new URLSearchParams(await inWindow(url));
    },
    back() {
      const back = cameBack;
      cameBack = undefined;
      return back;
    },
  };
}

/** What the window that shows this URL comes back with. */
function inWindow(url) {
  return new Promise((resolve, reject) => {
    addEventListener('message', function hear({ origin, data }) {
      if (origin !== location.origin || !data.cameBack) return;
      removeEventListener('message', hear);
      resolve(data.cameBack);
    });
    if (!window.open(url)) reject(new Error('the browser opens no window'));
  });
}

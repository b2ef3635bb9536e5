// How the official TypeScript clients get a token: one definition for both lines, and for each way to be known to the issuer.
import { consent } from './person.mjs';

/** Nobody listens there: the person stops before. */
export const REDIRECT = 'http://127.0.0.1:9/callback';
/** The authorization server has the document that stands at this URL. */
export const DOCUMENT = 'https://client.example.com/client.json';
/** A client that needs no person. */
export const MACHINE = { id: 'machine', secret: 'a-secret-of-the-machine' };
const LINES = {
  v1: async () => ({
    ...(await import('@modelcontextprotocol/sdk/client/index.js')),
    ...(await import('@modelcontextprotocol/sdk/client/streamableHttp.js')),
    ...(await import('@modelcontextprotocol/sdk/client/auth-extensions.js')),
  }),
  v2: () => import('@modelcontextprotocol/client'),
};
const NEGOTIATION = { legacy: 'legacy', modern: { pin: '2026-07-28' } };

/**
 * A connected client of that line, in that mode, that authorizes itself when it is asked to.
 *
 * `how` says how the issuer knows it: `dcr` (it registers), `cimd` (its id is a URL), `known` (it was registered before) or
 * `machine` (client credentials, without a person). `call` and `list` log in again when the server wants more.
 */
export async function connect(line, mode, how, url, issuer) {
  const sdk = await LINES[line]();
  const provider = how === 'machine' ? machine(sdk, issuer) : person(how, issuer);
  let connected;
  for (let turn = 0; !connected; turn += 1) {
    const options = line === 'v2' ? { versionNegotiation: { mode: NEGOTIATION[mode] } } : {};
    const client = new sdk.Client({ name: 'anynode-tests', version: '1.0.0' }, { capabilities: {}, ...options });
    const transport = new sdk.StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
    try {
      await client.connect(transport);
      connected = { client, transport };
    } catch (error) {
      if (turn > 0 || !(await finish(transport))) throw error;
    }
  }
  const { client, transport } = connected;
  const withLogin = async (ask) => {
    try {
      return await ask();
    } catch (error) {
      if (!(await finish(transport))) throw error;
      return await ask();
    }
  };
  return {
    client,
    transport,
    provider,
    list: () => withLogin(() => client.listTools()),
    call: (name, args) => withLogin(() => client.callTool({ name, arguments: args })),
  };

  /** Gives the client what the person came back with; says whether there was anything. */
  async function finish(transport) {
    const back = provider.back?.();
    if (!back) return false;
    await transport.finishAuth(line === 'v1' ? back.get('code') : back);
    return true;
  }
}

function machine(sdk, issuer) {
  const provider = new sdk.ClientCredentialsProvider({
    clientId: MACHINE.id,
    clientSecret: MACHINE.secret,
    expectedIssuer: issuer,
    scope: 'mcp:tools mcp:write',
  });
  const saved = [];
  const save = provider.saveTokens.bind(provider);
  provider.saveTokens = (tokens) => {
    saved.push(tokens);
    return save(tokens);
  };
  return Object.assign(provider, { saved });
}

/** Keeps what the client wants kept, and has a person consent at once. */
function person(how, issuer) {
  const kept = {};
  const saved = [];
  let cameBack;
  const metadata = {
    client_name: 'anynode-tests',
    redirect_uris: [REDIRECT],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  };
  return {
    redirectUrl: REDIRECT,
    clientMetadata: metadata,
    ...(how === 'cimd' ? { clientMetadataUrl: DOCUMENT } : {}),
    clientInformation: () => (how === 'known' ? { client_id: 'known', issuer } : kept.client),
    saveClientInformation: (client) => { kept.client = client; },
    tokens: () => kept.tokens,
    saveTokens(tokens) {
      kept.tokens = tokens;
      saved.push(tokens);
    },
    codeVerifier: () => kept.verifier,
    saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
    discoveryState: () => kept.discovery,
    saveDiscoveryState: (state) => { kept.discovery = state; },
    async redirectToAuthorization(url) {
      cameBack = (await consent(url, REDIRECT)).searchParams;
    },
    /** What the person came back with since last asked. */
    back() {
      const back = cameBack;
      cameBack = undefined;
      return back;
    },
    saved,
  };
}

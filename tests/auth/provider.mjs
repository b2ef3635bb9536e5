// node-oidc-provider as the tests need it: everybody who comes logs in as one user, and consents to what is asked.
import { generateKeyPair, exportJWK } from 'jose';
import Provider from 'oidc-provider';
import { createMemoryAdapter } from 'oidc-provider/lib/adapters/memory_adapter.js';

const REGISTRATION = '/reg';
const INTERACTION = '/interaction';
const LOOPBACK = ['127.0.0.1', 'localhost', '[::1]'];
const HOUR_SECONDS = 3600;
// The same in every provider of this process, so that clients, logins and cookies outlive a rotation of keys.
const STORED = createMemoryAdapter();
const COOKIE_KEYS = ['of one test'];

/** A key that signs tokens. */
export async function newKey(kid) {
  const { privateKey } = await generateKeyPair('RS256', { extractable: true });
  return { ...(await exportJWK(privateKey)), kid, use: 'sig', alg: 'RS256' };
}

/**
 * A provider with these keys, of which the first signs. Another one with other keys goes on where it was.
 *
 * `seen(event, about)` hears of what clients ask.
 */
export function newProvider(issuer, keys, options, seen) {
  const provider = new Provider(issuer, {
    adapter: STORED,
    jwks: { keys },
    cookies: { keys: COOKIE_KEYS },
    scopes: ['openid', 'offline_access', ...options.scopes],
    clients: options.clients,
    clientAuthMethods: ['none', 'client_secret_basic', 'client_secret_post'],
    // Tests are pages of origins that nobody knows before.
    clientBasedCORS: () => true,
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    issueRefreshToken: (_ctx, client) => options.refreshTokens && client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: options.rotateRefreshTokens,
    ttl: {
      AccessToken: options.tokenSeconds,
      ClientCredentials: options.tokenSeconds,
      RefreshToken: HOUR_SECONDS,
      Grant: HOUR_SECONDS,
      Session: HOUR_SECONDS,
      Interaction: HOUR_SECONDS,
      IdToken: HOUR_SECONDS,
    },
    features: {
      devInteractions: { enabled: false },
      registration: { enabled: true },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true },
      clientIdMetadataDocument: { enabled: true, ack: 'draft-02' },
      resourceIndicators: { enabled: true, defaultResource: () => undefined, useGrantedResource: () => true, getResourceServerInfo },
    },
    interactions: { url: (_ctx, interaction) => `${INTERACTION}/${interaction.uid}` },
    fetch: (url, init) => clientDocument(String(url)) ?? globalThis.fetch(url, init),
  });
  provider.use(record);
  provider.use(register);
  provider.use(interact);
  const events = ['authorization.error', 'grant.error', 'registration_create.error', 'interaction.error', 'server_error'];
  for (const event of events) {
    provider.on(event, (_ctx, error) => seen(event, { error: error.message, why: error.error_description, detail: error.error_detail }));
  }
  provider.on('grant.success', ({ oidc }) => {
    const { client, params, body } = oidc;
    seen('token', { client: client.clientId, grant: params.grant_type, resource: params.resource, verifier: body?.code_verifier !== undefined });
  });
  return provider;

  function getResourceServerInfo(_ctx, resource) {
    if (!options.resources.includes(resource)) throw new Error(`nobody knows the resource ${resource}`);
    return {
      scope: options.scopes.join(' '),
      audience: resource,
      accessTokenTTL: options.tokenSeconds,
      accessTokenFormat: options.format,
      ...(options.format === 'jwt' ? { jwt: { sign: { alg: 'RS256' } } } : {}),
    };
  }

  /** The document of a client whose id is a URL, in place of the internet. */
  function clientDocument(url) {
    const document = options.documents[url];
    if (!document) return undefined;
    seen('document', { url });
    const body = JSON.stringify({ client_id: url, ...document });
    return new Response(body, { headers: { 'Content-Type': 'application/json' } });
  }

  async function record(ctx, next) {
    if (ctx.path === '/auth') {
      const { client_id, code_challenge_method, resource, scope } = ctx.query;
      seen('authorize', { client: client_id, challenge: code_challenge_method, resource, scope });
    }
    await next();
  }

  /**
   * Many servers take any scope later, and let pages register; this one would refuse what a client did not name as it
   * registered, and has no headers there that pages need.
   */
  async function register(ctx, next) {
    if (ctx.path !== REGISTRATION) return next();
    ctx.set('Access-Control-Allow-Origin', '*');
    ctx.set('Access-Control-Allow-Headers', 'content-type, mcp-protocol-version');
    if (ctx.method === 'OPTIONS') ctx.status = 204;
    if (ctx.method === 'POST') {
      const pieces = [];
      for await (const piece of ctx.req) pieces.push(piece);
      const { scope, ...asked } = JSON.parse(Buffer.concat(pieces));
      seen('register', { ...asked, scope });
      const native = asked.redirect_uris?.every((uri) => LOOPBACK.includes(new URL(uri).hostname));
      ctx.req.body = { ...(native ? { application_type: 'native' } : {}), ...asked };
    }
    if (ctx.method !== 'OPTIONS') await next();
  }

  /** Whoever is asked to log in is the one user, and consents. */
  async function interact(ctx, next) {
    if (!ctx.path.startsWith(`${INTERACTION}/`)) return next();
    const { prompt, params, session, grantId } = await provider.interactionDetails(ctx.req, ctx.res);
    if (prompt.name === 'login') return finish(ctx, { login: { accountId: options.user } });
    const grant = (grantId && (await provider.Grant.find(grantId))) || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
    grant.addOIDCScope(params.scope ?? '');
    for (const resource of [params.resource].flat().filter(Boolean)) grant.addResourceScope(resource, params.scope ?? '');
    return finish(ctx, { consent: { grantId: await grant.save() } });
  }

  async function finish(ctx, result) {
    await provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: false });
    ctx.respond = false;
  }
}

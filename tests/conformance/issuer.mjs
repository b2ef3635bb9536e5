// An issuer of tokens, and one token of it: for nodes that ask for credentials, of which the suite knows nothing.
import { generateKeyPairSync, sign } from 'node:crypto';
import { createServer } from 'node:http';

const LIFE_SECONDS = 3600;

/** Starts an issuer. Its `url` is what nodes trust, its `token` is for `resource`. */
export async function issuer(resource, scope) {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = { ...publicKey.export({ format: 'jwk' }), kid: 'key-1', alg: 'ES256', use: 'sig' };
  let url;
  const documents = {
    '/.well-known/oauth-authorization-server': () => ({ issuer: url, jwks_uri: `${url}/jwks` }),
    '/jwks': () => ({ keys: [key] }),
  };
  const server = createServer((request, response) => {
    const document = documents[request.url];
    response.writeHead(document ? 200 : 404, { 'content-type': 'application/json' });
    response.end(JSON.stringify(document?.() ?? {}));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  server.unref();
  url = `http://127.0.0.1:${server.address().port}`;
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: url, aud: resource, sub: 'suite', client_id: 'suite', scope, iat: now, exp: now + LIFE_SECONDS };
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const message = `${part({ alg: 'ES256', kid: 'key-1', typ: 'at+jwt' })}.${part(claims)}`;
  const signature = sign('sha256', Buffer.from(message), { key: privateKey, dsaEncoding: 'ieee-p1363' });
  return { url, token: `${message}.${signature.toString('base64url')}` };
}

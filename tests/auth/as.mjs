// A real authorization server without the internet: `node as.mjs '{"resources": ["http://127.0.0.1:3000/mcp"]}'`
//
// It prints `listening on <its issuer URL>`. Beside what node-oidc-provider serves there is, for the test:
//   GET  /control/seen          what clients asked for so far
//   POST /control/rotate        signs by a new key and publishes no other; `?kid=` names it, `?keep` publishes the old ones too
import { createServer } from 'node:http';
import { CLIENTS, DOCUMENTS } from './known.mjs';
import { newKey, newProvider } from './provider.mjs';

const DEFAULTS = {
  port: 0,
  resources: [], // whom tokens are for (RFC 8707)
  scopes: ['mcp:tools', 'mcp:write'],
  format: 'jwt', // or opaque: introspection tells what it means
  tokenSeconds: 600,
  refreshTokens: true, // to clients that may have them
  rotateRefreshTokens: true, // each is good once
  user: 'alice',
  clients: [], // that nobody has to register, beside those of known.mjs
};

const options = { ...DEFAULTS, ...JSON.parse(process.argv[2] ?? '{}'), documents: DOCUMENTS };
options.clients = [...CLIENTS, ...options.clients];
const events = [];
const seen = (event, about) => {
  events.push({ event, ...about });
  console.log(event, JSON.stringify(about));
};

let answer;
const server = createServer((request, response) => answer(request, response));
await new Promise((resolve, reject) => {
  server.once('error', reject);
  server.listen(options.port, '127.0.0.1', resolve);
});
const issuer = `http://127.0.0.1:${server.address().port}`;
let keys = [await newKey('key-1')];
begin();
console.log(`listening on ${issuer}`);

/** Answers by a provider with the keys of now. */
function begin() {
  const provide = newProvider(issuer, keys, options, seen).callback();
  answer = (request, response) => {
    const url = new URL(request.url, issuer);
    const control = { '/control/seen': tell, '/control/rotate': rotate }[url.pathname];
    if (!control) return provide(request, response);
    return control(url.searchParams).then((told) => {
      response.writeHead(200, { 'Content-Type': 'application/json' });
      response.end(JSON.stringify(told));
    });
  };
}

async function tell() {
  return events;
}

async function rotate(how) {
  const key = await newKey(how.get('kid') ?? `key-${Date.now()}`);
  keys = how.has('keep') ? [key, ...keys] : [key];
  begin();
  seen('rotated', { kid: key.kid });
  return { kid: key.kid };
}

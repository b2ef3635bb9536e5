// oauth2-mock-server, which publishes no document of RFC 8414, so that clients and servers need OpenID's:
// `node mock.mjs '{"audience": "http://127.0.0.1:3000/mcp"}'`
//
// It prints `listening on <its issuer URL>`. `POST /token` with any client credentials gives a token for that audience;
// `POST /control/key` makes one more key; from then on its keys sign by turns.
import { createServer } from 'node:http';
import { OAuth2Issuer, OAuth2Service } from 'oauth2-mock-server';

const { audience, scope = 'mcp:tools', sub = 'alice' } = JSON.parse(process.argv[2] ?? '{}');
const issuer = new OAuth2Issuer();
await issuer.keys.generate('RS256');
const service = new OAuth2Service(issuer);
service.on('beforeTokenSigning', ({ payload }) => Object.assign(payload, { aud: audience, scope, sub }));

const server = createServer((request, response) => {
  if (request.url !== '/control/key') return service.requestHandler(request, response);
  return issuer.keys.generate('ES256').then(({ kid }) => response.end(kid));
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
issuer.url = `http://127.0.0.1:${server.address().port}`;
console.log(`listening on ${issuer.url}`);

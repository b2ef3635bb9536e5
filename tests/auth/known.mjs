// Clients that nobody has to register. The tests' clients, in tests/clients and tests/it, name them.

const REDIRECTS = [
  'http://127.0.0.1:9/callback', // nobody listens there
  'http://localhost/callback', // with any port: FastMCP's
  'http://localhost/oauth/callback', // mcp-remote's
  'http://127.0.0.1/oauth/callback', // the Inspector's
];

/** What a client of people is. */
export const PERSONAL = {
  client_name: 'anynode-tests',
  redirect_uris: REDIRECTS,
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  token_endpoint_auth_method: 'none',
  application_type: 'native',
};

const machine = (client_id, client_secret) => ({
  client_id,
  client_secret,
  redirect_uris: [],
  grant_types: ['client_credentials'],
  response_types: [],
  token_endpoint_auth_method: 'client_secret_basic',
});

export const CLIENTS = [
  { client_id: 'known', ...PERSONAL },
  machine('machine', 'a-secret-of-the-machine'),
  // The node that asks what opaque tokens mean.
  machine('node:1', 'a secret/of+some%length'),
];

/** What stands at URLs that are clients' ids. */
export const DOCUMENTS = { 'https://client.example.com/client.json': PERSONAL };

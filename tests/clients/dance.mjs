// An official TypeScript client and a server that wants a token, from the first 401 to a call that needs more than it has:
// `node dance.mjs v1|v2 legacy|modern dcr|cimd|known|machine URL ISSUER`
//
// What came of it is printed as JSON, on a line of its own.
import { connect } from './authorized.mjs';

const [line, mode, how, url, issuer] = process.argv.slice(2);
const { transport, provider, list, call, client } = await connect(line, mode, how, url, issuer);
const begun = transport.sessionId;
const { tools } = await list();
const echoed = await call('echo', { text: 'with a token' });
const seen = await call('whoami', {});
// Without a session, notes are kept in a notebook that is named by a handle.
const opened = mode === 'modern' ? (await call('open_notebook', {})).structuredContent : {};
const of = opened.notebook === undefined ? {} : { notebook: opened.notebook };
const before = provider.saved.length;
await call('remember', { ...of, key: 'colour', value: 'teal' });
const recalled = await call('recall', { ...of, key: 'colour' });
const result = {
  tools: tools.map((tool) => tool.name),
  echoed: echoed.structuredContent.text,
  who: seen.structuredContent.principal,
  recalled: recalled.structuredContent.value,
  session: begun !== undefined,
  same_session: transport.sessionId === begun,
  stepped_up: provider.saved.length > before,
  scopes: provider.saved.map((tokens) => tokens.scope ?? null),
};
client.onerror = undefined;
if (begun) await transport.terminateSession();
await client.close();
console.log(JSON.stringify(result));
process.exit();

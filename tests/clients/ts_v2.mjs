// The official TypeScript client, 2.x: `node ts_v2.mjs http://127.0.0.1:3000/mcp [legacy|auto|modern]`
import assert from 'node:assert/strict';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { assertGone, run, versionOf } from './tour.mjs';

const [url, mode = 'auto'] = process.argv.slice(2);
const negotiation = { legacy: 'legacy', auto: 'auto', modern: { pin: '2026-07-28' } }[mode];
const PACKAGE = '@modelcontextprotocol/client';
await run(PACKAGE, await versionOf(PACKAGE), mode, connect);
process.exit();

async function connect() {
  const client = new Client(
    { name: 'anynode-tests', version: '1.0.0' },
    { capabilities: {}, versionNegotiation: { mode: negotiation } },
  );
  client.onerror = (error) => {
    console.error('the client reports:', error);
    process.exitCode = 1;
  };
  const transport = new StreamableHTTPClientTransport(new URL(url));
  await client.connect(transport);
  // A server of both eras serves a client of both in the newer one.
  assert.equal(client.getProtocolEra(), mode === 'legacy' ? 'legacy' : 'modern');
  const { sessionId } = transport;
  assert.equal(typeof sessionId, mode === 'legacy' ? 'string' : 'undefined');
  const close = async () => {
    client.onerror = undefined; // it reports the streams that it closes itself
    if (mode === 'legacy') await transport.terminateSession();
    await client.close();
    if (mode === 'legacy') await assertGone(url, sessionId);
  };
  return { client, close, legacy: mode === 'legacy' };
}

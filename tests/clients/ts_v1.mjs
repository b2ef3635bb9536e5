// The official TypeScript SDK, 1.x: `node ts_v1.mjs http://127.0.0.1:3000/mcp [streamable|sse]`
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { assertGone, run, versionOf } from './tour.mjs';

const [url, mode = 'streamable'] = process.argv.slice(2);
const connect = { streamable, sse }[mode];
const PACKAGE = '@modelcontextprotocol/sdk';
await run(PACKAGE, await versionOf(PACKAGE), mode, connect);
process.exit();

async function streamable() {
  const client = newClient();
  const transport = new StreamableHTTPClientTransport(new URL(url));
  await client.connect(transport);
  const { sessionId } = transport;
  const close = async () => {
    client.onerror = undefined; // it reports the streams that it closes itself
    await transport.terminateSession();
    await client.close();
    await assertGone(url, sessionId);
  };
  return { client, close, legacy: true };
}

/** The transport of 2024-11-05. */
async function sse() {
  const client = newClient();
  await client.connect(new SSEClientTransport(new URL('sse', url)));
  const close = async () => {
    client.onerror = undefined;
    await client.close();
  };
  return { client, close, legacy: true };
}

function newClient() {
  const client = new Client({ name: 'anynode-tests', version: '1.0.0' }, { capabilities: {} });
  client.onerror = (error) => {
    console.error('the client reports:', error);
    process.exitCode = 1;
  };
  return client;
}

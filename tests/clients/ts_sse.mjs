// The official TypeScript SDK's client of 2024-11-05, as it is: `node ts_sse.mjs http://127.0.0.1:3000/sse DIR kept|new`
// It makes a call whenever the next of the files `0`, `1`, … appears in DIR. With `kept` each must find what the one before
// has written, at a URL with a key of its own; with `new` each finds a new session, which the client does not initialize.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';

const [url, dir, session] = process.argv.slice(2);
const ROUNDS = 2;
const client = new Client({ name: 'anynode-tests', version: '1.0.0' }, { capabilities: {} });
client.onerror = (error) => console.log('the client reports:', error.message); // its stream breaks: that is the test
const transport = new SSEClientTransport(new URL(url));
await client.connect(transport);
await count(1);
console.log('ready');
for (let round = 0; round < ROUNDS; round += 1) {
  const before = endpoint();
  while (!existsSync(join(dir, `${round}`))) await sleep(10);
  // What is posted to the former session is answered on its stream, which nobody opens again.
  while (session === 'new' && endpoint() === before) await sleep(10);
  await count(session === 'kept' ? round + 2 : 1);
  console.log(`round ${round}`);
}
await client.close();
process.exit();

// Where the server last told the client to post.
function endpoint() {
  return transport._endpoint?.href;
}

async function count(expected) {
  const result = await client.callTool({ name: 'increment', arguments: { key: 'calls' } });
  assert.equal(result.structuredContent?.value, expected, JSON.stringify(result));
}

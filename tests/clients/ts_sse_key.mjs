// The official TypeScript SDK's client of 2024-11-05, at a URL with a key of its own:
// `node ts_sse_key.mjs 'http://127.0.0.1:3000/sse?sessionId=<key>' DIR`
// It makes a call whenever the next of the files `0`, `1`, … appears in DIR, and never reconnects by itself.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';

const [url, dir] = process.argv.slice(2);
const ROUNDS = 2;
const client = new Client({ name: 'anynode-tests', version: '1.0.0' }, { capabilities: {} });
client.onerror = (error) => console.log('the client reports:', error.message); // its stream breaks: that is the test
await client.connect(new SSEClientTransport(new URL(url)));
await count(1);
console.log('ready');
for (let round = 0; round < ROUNDS; round += 1) {
  while (!existsSync(join(dir, `${round}`))) await sleep(10);
  await count(round + 2);
  console.log(`round ${round}`);
}
await client.close();
process.exit();

async function count(expected) {
  const result = await client.callTool({ name: 'increment', arguments: { key: 'calls' } });
  assert.equal(result.structuredContent?.value, expected, JSON.stringify(result));
}

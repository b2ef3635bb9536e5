// The official TypeScript clients cancel a call, and have calls that fail: `node cancel.mjs http://127.0.0.1:3000/mcp v1|v2`.
// After that nothing is asked again and again, and a change is told once.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { versionOf } from './tour.mjs';

const CALM_MS = 8000;
const GETS_MAX = 2;

const [url, line] = process.argv.slice(2);
const PACKAGE = { v1: '@modelcontextprotocol/sdk', v2: '@modelcontextprotocol/client' }[line];
let gets = 0;
let told = 0;
const { client, transport } = await { v1, v2 }[line]();
client.fallbackNotificationHandler = async (notification) => {
  if (notification.method === 'notifications/resources/updated') told += 1;
};
await client.connect(transport);

const call = (name, args, options) =>
  line === 'v1' ? client.callTool({ name, arguments: args }, undefined, options) : client.callTool({ name, arguments: args }, options);
const uri = 'note://session/colour';
await client.subscribeResource({ uri });
for (let round = 0; round < 3; round += 1) await call('echo', { text: 'every node is asked' });

const abort = new AbortController();
let progressed;
const begun = new Promise((resolve) => { progressed = resolve; });
const cancelled = call('countdown', { from: 100, interval_ms: 100 }, { signal: abort.signal, onprogress: () => progressed() });
await begun;
abort.abort('no longer wanted');
await assert.rejects(cancelled);
const before = gets;
await sleep(CALM_MS);
assert(gets - before <= GETS_MAX, `${gets - before} GETs in ${CALM_MS} ms after a cancellation`);

for (let value = 1; value <= 3; value += 1) {
  told = 0;
  await call('remember', { key: 'colour', value });
  for (let looks = 0; told === 0 && looks < 100; looks += 1) await sleep(50);
  await sleep(300);
  assert.equal(told, 1, `one change was told ${told} times`);
}
client.onerror = undefined; // it reports the streams that it closes itself
const session = transport.sessionId;
await transport.terminateSession();
const ended = gets;
await sleep(CALM_MS / 2);
assert(gets - ended <= GETS_MAX + 1, `${gets - ended} GETs after the session has ended`);
assert(session);
await client.close();
console.log(`ok ${PACKAGE} ${await versionOf(PACKAGE)} cancel 1 rounds`);
process.exit();

/** Counts what is asked for by GET. */
function counting(input, init) {
  if ((init?.method ?? 'GET') === 'GET') gets += 1;
  return fetch(input, init);
}

async function v1() {
  const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
  const { StreamableHTTPClientTransport } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
  const made = new Client({ name: 'anynode-tests', version: '1.0.0' }, { capabilities: {} });
  return { client: made, transport: new StreamableHTTPClientTransport(new URL(url), { fetch: counting }) };
}

async function v2() {
  const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client');
  const made = new Client(
    { name: 'anynode-tests', version: '1.0.0' },
    { capabilities: {}, versionNegotiation: { mode: 'legacy' } },
  );
  return { client: made, transport: new StreamableHTTPClientTransport(new URL(url), { fetch: counting }) };
}

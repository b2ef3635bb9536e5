// Official TypeScript clients that never rest: `node busy.mjs http://127.0.0.1:3000/mcp 7`
//
// As many of each: the 1.x line in a session, the 2.x line in a session, the 2.x line without one. Each keeps short calls
// and long ones in flight, and watches a note that it changes. For each line on standard input it prints what it saw
// since the last, as JSON. It ends when standard input does.
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import * as v2 from '@modelcontextprotocol/client';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as TransportV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ResourceUpdatedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

const STEPS = 10;
const INTERVAL_MS = 200; // a long call takes 2 s: shorter than the drain, longer than it takes to answer at once
const TOLD_WITHIN_MS = 15_000; // the stream may be closed and opened again meanwhile
const PAUSE_MS = 50;
const UPDATED = 'notifications/resources/updated';
const INFO = { name: 'anynode-busy', version: '1.0.0' };
// A client's own default is two attempts; here each may have to outlast a node that is killed.
const RECONNECTION = { initialReconnectionDelay: 100, maxReconnectionDelay: 2000, reconnectionDelayGrowFactor: 1.5, maxRetries: 20 };

const [url, each] = process.argv.slice(2);
const zero = () => ({ calls: 0, long: 0, changes: 0, repeated: [], failed: [], lost: [] });
let seen = zero();
let stopping = false;

const KINDS = { 'typescript 1.x': one, 'typescript 2.x, legacy': two('legacy'), 'typescript 2.x, modern': two('modern') };
const connecting = Object.entries(KINDS).flatMap(([kind, connect]) =>
  Array.from({ length: Number(each) }, (_, number) => begin(`${kind}, ${number}`, connect)));
const clients = await Promise.all(connecting);
const work = clients.flatMap((client) => [short(client), long(client), watch(client)]);
console.log(JSON.stringify({ clients: clients.length }));

for await (const _ of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(seen));
  seen = zero();
}
stopping = true;
await Promise.all(work);
await Promise.all(clients.map(({ client }) => client.close()));
process.exit();

async function begin(name, connect) {
  const told = { value: 0, look: () => {} };
  const client = await connect(told);
  const { notebook } = (await client.callTool({ name: 'open_notebook', arguments: {} })).structuredContent;
  const self = { name, client, notebook, told, uri: `note://${notebook}/beat` };
  told.look = () => look(self);
  await call(self, 'remember', { key: 'beat', value: 0, notebook });
  if (client.getProtocolEra?.() === 'modern') await listen(self);
  else await client.subscribeResource({ uri: self.uri });
  return self;
}

async function one(told) {
  const client = new ClientV1(INFO, { capabilities: {} });
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, () => told.look());
  await client.connect(new TransportV1(new URL(url), { reconnectionOptions: RECONNECTION }));
  return client;
}

function two(era) {
  return async (told) => {
    const mode = { legacy: 'legacy', modern: { pin: '2026-07-28' } }[era];
    const client = new v2.Client(INFO, { capabilities: {}, versionNegotiation: { mode } });
    client.setNotificationHandler(UPDATED, () => told.look());
    await client.connect(new v2.StreamableHTTPClientTransport(new URL(url), { reconnectionOptions: RECONNECTION }));
    return client;
  };
}

/** A listener of 2026-07-28 cannot be taken up: its client opens another, and looks at what it listens to. */
async function listen(self) {
  const subscription = await self.client.listen({ resourceSubscriptions: [self.uri] });
  await look(self); // what changed meanwhile is not told
  subscription.closed.then(async () => {
    while (!stopping) {
      try {
        return await listen(self);
      } catch {
        await sleep(PAUSE_MS);
      }
    }
  });
}

/** What a client does when it is told of a change. */
async function look(self) {
  const found = await call(self, 'recall', { key: 'beat', notebook: self.notebook });
  if (found) self.told.value = Math.max(self.told.value, found.structuredContent.value);
}

/** Short calls, one of which must take effect just once. */
async function short(self) {
  let sum = 0;
  for (let turn = 0; !stopping; turn += 1) {
    const text = `turn ${turn}`;
    const echo = await call(self, 'echo', { text });
    if (echo && echo.structuredContent.text !== text) seen.failed.push(`${self.name}: a wrong echo of ${text}`);
    const counted = await call(self, 'increment', { key: 'sum', notebook: self.notebook });
    if (counted) {
      const { value } = counted.structuredContent;
      // One that was repeated, because nobody knows what became of the first, may count twice.
      if (value < sum + 1 || value > sum + 1 + counted.repeats) seen.failed.push(`${self.name}: ${sum} plus one gave ${value}`);
      sum = value;
    }
    await sleep(PAUSE_MS);
  }
}

/** Calls that take 2 s, and tell of each step. */
async function long(self) {
  while (!stopping) {
    let steps = [];
    const onprogress = ({ progress }) => steps.push(progress);
    const result = await call(self, 'countdown', { from: STEPS, interval_ms: INTERVAL_MS }, { onprogress }, () => { steps = []; });
    seen.long += 1;
    if (result && steps.join() !== Array.from({ length: STEPS }, (_, step) => step + 1).join()) {
      seen.lost.push(`${self.name}: steps ${steps}`);
    }
  }
}

/** Changes a note, and waits until its stream has told of it. */
async function watch(self) {
  for (let value = 1; !stopping; value += 1) {
    if (!(await call(self, 'remember', { key: 'beat', value, notebook: self.notebook }))) continue;
    const deadline = Date.now() + TOLD_WITHIN_MS;
    while (self.told.value < value && Date.now() < deadline && !stopping) await sleep(10);
    if (self.told.value < value && !stopping) seen.lost.push(`${self.name}: change ${value} was not told`);
    seen.changes += 1;
    await sleep(PAUSE_MS);
  }
}

/** One call. One that fails is noted and made once more; one that fails again has failed. */
async function call(self, name, args, options, again) {
  seen.calls += 1;
  for (let repeats = 0; ; repeats += 1) {
    try {
      const result = self.client.getProtocolEra
        ? await self.client.callTool({ name, arguments: args }, options)
        : await self.client.callTool({ name, arguments: args }, undefined, options);
      if (result.isError) throw new Error(JSON.stringify(result.content));
      return Object.assign(result, { repeats });
    } catch (error) {
      const text = `${self.name}: ${name}: ${String(error?.message ?? error).slice(0, 200)}`;
      if (repeats > 0) {
        seen.failed.push(text);
        return undefined;
      }
      seen.repeated.push(text);
      again?.();
    }
  }
}

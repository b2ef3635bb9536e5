// Official TypeScript clients that never rest: `node busy.mjs http://127.0.0.1:3000/mcp 7`
//
// As many of each: the 1.x line in a session, the 2.x line in a session, the 2.x line without one. Each keeps short calls
// and long ones in flight, and watches a note that it changes. For each line on standard input it prints what it saw
// since the last, as JSON. When standard input ends it finishes what is in flight, prints once more, and ends.
//
// When a node is killed, a client has two things to do that the SDKs leave to those who use them, and no more than these two:
// - send a POST again whose connection broke before any byte of the answer (`resent`);
// - make a call of 2026-07-28 again whose stream broke, because such a stream cannot be taken up: "clients MUST re-issue it as
//   a new request" (`reissued`). In sessions the SDKs take streams up by themselves, with Last-Event-ID.
// Anything else that does not go well is a failed call.
import { AsyncLocalStorage } from 'node:async_hooks';
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
const CALL_WITHIN_MS = 20_000; // one that hangs fails in the step that it hangs in
const CUT_AFTER_MS = 1000; // what came before the end of a stream is looked at by then
const UPDATED = 'notifications/resources/updated';
const INFO = { name: 'anynode-busy', version: '1.0.0' };
// A client's own default is two attempts; here each may have to outlast a node that is killed.
const RECONNECTION = { initialReconnectionDelay: 100, maxReconnectionDelay: 2000, reconnectionDelayGrowFactor: 1.5, maxRetries: 20 };

const [url, each] = process.argv.slice(2);
const zero = () => ({ calls: 0, long: 0, changes: 0, resent: [], reissued: [], failed: [], lost: [] });
let seen = zero();
let stopping = false;
/** The call that a request is made for. */
const current = new AsyncLocalStorage();

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
console.log(JSON.stringify(seen));
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
  await client.connect(new TransportV1(new URL(url), { fetch: patient, reconnectionOptions: RECONNECTION }));
  return client;
}

function two(era) {
  return async (told) => {
    const mode = { legacy: 'legacy', modern: { pin: '2026-07-28' } }[era];
    const client = new v2.Client(INFO, { capabilities: {}, versionNegotiation: { mode } });
    client.setNotificationHandler(UPDATED, () => told.look());
    await client.connect(new v2.StreamableHTTPClientTransport(new URL(url), { fetch: patient, reconnectionOptions: RECONNECTION }));
    return client;
  };
}

/** `fetch` that sends a POST again which nobody began to answer. */
async function patient(input, init) {
  for (let again = false; ; again = true) {
    const [answer, broken] = await fetch(input, init).then((got) => [got], (error) => [undefined, error]);
    // 502 is the balancer's own word for it: nodes never say that.
    const unanswered = init?.method === 'POST' && !init.signal?.aborted && (broken || answer.status === 502);
    if (!unanswered || again) {
      if (broken) throw broken;
      return watched(answer);
    }
    const call = current.getStore();
    seen.resent.push(`${call?.what ?? 'a message'}: ${broken?.cause?.message ?? broken?.message ?? answer.status}`);
    if (call) call.resent += 1;
    await answer?.body?.cancel();
  }
}

/** The same answer, whose call is told when it ends. */
function watched(answer) {
  const call = current.getStore();
  if (!call || !answer.body || !answer.headers.get('content-type')?.startsWith('text/event-stream')) return answer;
  const reader = answer.body.getReader();
  const body = new ReadableStream({
    async pull(controller) {
      try {
        const { value, done } = await reader.read();
        if (!done) return controller.enqueue(value);
        controller.close();
      } catch (error) {
        controller.error(error);
      }
      call.streamEnded();
    },
    cancel: (reason) => reader.cancel(reason),
  });
  return new Response(body, { status: answer.status, headers: answer.headers });
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
      // One that was sent again, because nobody knows what became of the first, may count twice.
      if (value < sum + 1 || value > sum + 1 + counted.resent) seen.failed.push(`${self.name}: ${sum} plus one gave ${value}`);
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

/** One call, made again only when its stream broke and cannot be taken up. */
async function call(self, name, args, options, again) {
  seen.calls += 1;
  const modern = self.client.getProtocolEra?.() === 'modern';
  const call = { what: `${self.name}: ${name}`, resent: 0, streamEnded: () => {} };
  try {
    for (;;) {
      const abort = new AbortController();
      const cut = new Promise((resolve) => {
        if (modern) call.streamEnded = () => setTimeout(resolve, CUT_AFTER_MS, 'cut');
      });
      const bounds = { ...options, signal: abort.signal, timeout: CALL_WITHIN_MS };
      const asked = current.run(call, () => self.client.getProtocolEra
        ? self.client.callTool({ name, arguments: args }, bounds)
        : self.client.callTool({ name, arguments: args }, undefined, bounds));
      const result = await Promise.race([asked, cut]);
      if (result === 'cut') {
        seen.reissued.push(call.what);
        asked.catch(() => {}); // it fails when it is given up
        abort.abort();
        again?.();
        continue;
      }
      if (result.isError) throw new Error(JSON.stringify(result.content));
      return Object.assign(result, { resent: call.resent });
    }
  } catch (error) {
    seen.failed.push(`${call.what}: ${String(error?.message ?? error).slice(0, 200)}`);
    return undefined;
  }
}

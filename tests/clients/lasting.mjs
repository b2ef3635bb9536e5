// Official TypeScript clients under load, while their tokens end after seconds and are renewed:
// `node lasting.mjs v1|v2 URL ISSUER SECONDS`
//
// Each calls, is told of changes on its standing stream, and counts the steps of a call that outlives its token. What came of it
// is printed as JSON, on a line of its own.
import { setTimeout as sleep } from 'node:timers/promises';
import { ResourceUpdatedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';
import { connect } from './authorized.mjs';

const [line, url, issuer, seconds] = process.argv.slice(2);
const CLIENTS = 3;
const QUICK = 5; // before something else is done
const STEPS = 20;
const STEP_MS = 200; // 4 s in all: longer than a token is good
const TOLD_WITHIN_MS = 20_000;
const UPDATED = 'notifications/resources/updated';
const until = Date.now() + Number(seconds) * 1000;
const total = { calls: 0, told: 0, counted: 0, tokens: 0, failed: [] };

await Promise.all(Array.from({ length: CLIENTS }, one));
console.log(JSON.stringify(total));
process.exit();

async function one() {
  const { client, transport, provider, call } = await connect(line, 'legacy', 'dcr', url, issuer);
  const begun = transport.sessionId;
  const changes = new Set();
  let changed = () => {};
  client.setNotificationHandler(line === 'v1' ? ResourceUpdatedNotificationSchema : UPDATED, ({ params }) => {
    changes.add(params.uri);
    changed();
  });
  // The 1.x line gives up when two of its requests find the token ended at once: there one thing is done after the other.
  const quicks = async () => {
    for (let count = 0; count < QUICK; count += 1) await quick(call);
  };
  const loops = [quicks, () => watch(client, call, changes, (hear) => { changed = hear; }), () => long(client)];
  const repeat = async (tasks) => {
    while (Date.now() < until) {
      for (const task of tasks) await task().catch((error) => total.failed.push(String(error)));
      await sleep(20);
    }
  };
  await (line === 'v1' ? repeat(loops) : Promise.all(loops.map((task) => repeat([task]))));
  if (transport.sessionId !== begun) total.failed.push('the session is another');
  total.tokens += provider.saved.length;
  await client.close(); // the 1.x line could not end its session with a token that has ended
}

async function quick(call) {
  const text = String(Math.random());
  const result = await call('echo', { text });
  if (result.structuredContent?.text !== text) throw new Error(`echo gave ${JSON.stringify(result)}`);
  total.calls += 1;
}

/** Changes a note that it watches, and waits until it is told. */
async function watch(client, call, changes, hear) {
  const key = `k${Math.random()}`.replace('.', '');
  const uri = `note://session/${key}`;
  await client.subscribeResource({ uri });
  const told = new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`nothing was told of ${uri}`)), TOLD_WITHIN_MS).unref();
    hear(() => changes.has(uri) && resolve());
  });
  told.catch(() => {});
  await call('remember', { key, value: 1 });
  await told;
  await client.unsubscribeResource({ uri });
  total.told += 1;
}

/** A call whose steps are told one by one. */
async function long(client) {
  const steps = [];
  const asked = { name: 'countdown', arguments: { from: STEPS, interval_ms: STEP_MS } };
  const options = { onprogress: ({ progress }) => steps.push(progress) };
  const result = await (line === 'v1' ? client.callTool(asked, undefined, options) : client.callTool(asked, options));
  if (result.structuredContent?.counted !== STEPS) throw new Error(`countdown gave ${JSON.stringify(result)}`);
  // Each once and in order; the 1.x line is not told of one that comes with the result.
  const whole = steps.every((step, index) => step === index + 1);
  if (!whole || steps.length < STEPS - (line === 'v1' ? 1 : 0)) throw new Error(`steps ${steps}`);
  total.counted += 1;
}

// The browser's own `EventSource` at the transport of 2024-11-05, with messages posted by `fetch`.
const STEPS = 30;
const STEP_MS = 100;
const CUT_AT = 5;
const VERSION = '2024-11-05';

/** A session at a URL with a key; the connection is cut in the middle of a call. */
export async function events({ cuttable, key }) {
  const seen = { opened: 0, errors: 0, endpoints: [], posted: [], steps: [], messages: [] };
  const source = new EventSource(`${cuttable}/sse?sessionId=${key}`);
  source.onopen = () => { seen.opened += 1; };
  source.onerror = () => { seen.errors += 1; };
  const waiting = new Map();
  let next = 1;
  const post = async (message) => {
    const answer = await fetch(seen.endpoints.at(-1), {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', ...message }),
    });
    seen.posted.push(answer.status);
  };
  const ask = (method, params) => {
    const id = next++;
    const answered = new Promise((resolve) => { waiting.set(id, resolve); });
    return post({ id, method, params }).then(() => answered);
  };
  const endpoint = new Promise((resolve) => {
    source.addEventListener('endpoint', ({ data }) => {
      seen.endpoints.push(new URL(data, source.url).href);
      resolve();
    });
  });
  source.onmessage = ({ data, lastEventId }) => {
    const message = JSON.parse(data);
    seen.messages.push(lastEventId);
    if (message.method === 'notifications/progress') {
      seen.steps.push(message.params.progress);
      if (message.params.progress === CUT_AT) cut();
    }
    waiting.get(message.id)?.(message);
  };
  await endpoint;
  const clientInfo = { name: 'anynode-page', version: '1.0.0' };
  const opened = await ask('initialize', { protocolVersion: VERSION, capabilities: {}, clientInfo });
  seen.version = opened.result.protocolVersion;
  await post({ method: 'notifications/initialized' });
  const call = { name: 'countdown', arguments: { from: STEPS, interval_ms: STEP_MS }, _meta: { progressToken: 'steps' } };
  seen.result = (await ask('tools/call', call)).result.structuredContent;
  seen.afterwards = (await ask('tools/call', { name: 'echo', arguments: { text: 'the same session' } })).result.structuredContent;
  source.close();
  seen.distinct = new Set(seen.messages).size === seen.messages.length;
  return seen;
}

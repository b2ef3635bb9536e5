// What a page can read of answers, with nothing but `fetch`.
const HEADERS = ['content-type', 'mcp-session-id', 'retry-after', 'www-authenticate'];
const ACCEPT = 'application/json, text/event-stream';
const VERSION = '2025-11-25';
const INITIALIZE = {
  method: 'initialize',
  params: { protocolVersion: VERSION, capabilities: {}, clientInfo: { name: 'anynode-page', version: '1.0.0' } },
};
const LIST = { method: 'tools/list' };

/**
 * Sends each of `asks` and says what could be read: `initialize`, `list`, `end`, or `hold`, a call that goes on.
 *
 * After `initialize` all name its session.
 */
export async function answers({ url, headers, asks }) {
  const page = { url, headers: { ...headers } };
  const read = [];
  for (const ask of asks) read.push(await { initialize, list, end, hold }[ask](page));
  return read;
}

/** What the browser gives the page of an answer: its status, or an error that tells nothing. */
export async function reach({ url }) {
  const sse = url.replace('/mcp', '/sse');
  const read = (request) => request.then(({ status }) => status, ({ name }) => name);
  return {
    posted: await read(post({ url, headers: {} }, INITIALIZE)),
    simple: await read(fetch(url, { method: 'POST', body: '{}' })), // as a form would send it, without a preflight
    got: await read(fetch(sse)),
    stream: await opened(new EventSource(sse)),
  };
}

/** What becomes of a stream. */
async function opened(source) {
  const became = await new Promise((resolve) => {
    source.onopen = () => resolve('opened');
    source.onerror = () => resolve(source.readyState === EventSource.CLOSED ? 'closed' : 'failed');
  });
  source.close();
  return became;
}

async function initialize(page) {
  const answer = await read(await post(page, INITIALIZE));
  const session = answer.headers['mcp-session-id'];
  if (session) page.headers = { ...page.headers, 'Mcp-Session-Id': session, 'MCP-Protocol-Version': VERSION };
  return answer;
}

async function list(page) {
  return await read(await post(page, LIST));
}

async function end(page) {
  return await read(await fetch(page.url, { method: 'DELETE', headers: page.headers }));
}

/** A call that goes on while the page asks for more: only its first event is read. */
async function hold(page) {
  const call = { name: 'countdown', arguments: { from: 100, interval_ms: 1000 } };
  const response = await post(page, { method: 'tools/call', params: call });
  const first = await response.body.getReader().read();
  return { status: response.status, events: first.value.length > 0 };
}

function post(page, message) {
  return fetch(page.url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Accept: ACCEPT, ...page.headers },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, ...message }),
  });
}

/** The status, the headers that it may read, and of a JSON-RPC error the words. */
async function read(response) {
  const headers = Object.fromEntries(HEADERS.map((name) => [name, response.headers.get(name)]));
  const text = await response.text();
  return { status: response.status, headers, message: text ? JSON.parse(text).error?.message ?? null : null };
}

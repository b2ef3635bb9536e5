// The official TypeScript SDK, of both lines, and fetch, whose requests are refused before their bodies are read:
// `node refused.mjs http://127.0.0.1:3000/mcp CASES`. See refused.py for CASES.
import assert from 'node:assert/strict';
import * as v1 from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as V1Transport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import * as v2 from '@modelcontextprotocol/client';

const [url, cases] = [process.argv[2], JSON.parse(process.argv[3])];
const PLAIN = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
const OF_THE_SDK = ['content-type', 'accept']; // which it sets itself

for (const refusal of cases) {
  await refusedFetch(refusal);
  // What it cannot be made to send is left to the other.
  if (refusal.more || OF_THE_SDK.some((name) => name in refusal.headers)) continue;
  await refusedSdk('1.x', v1.Client, V1Transport, refusal);
  await refusedSdk('2.x', v2.Client, v2.StreamableHTTPClientTransport, refusal);
}
console.log(`ok sdk ${cases.length} refusals`);
process.exit();

async function refusedFetch({ status, bytes, headers, more = [] }) {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping', params: { x: 'x'.repeat(bytes) } });
  const all = new Headers({ ...PLAIN, ...headers });
  if (more.length > 0) return; // it joins headers of one name
  const answer = await fetch(url, { method: 'POST', headers: all, body });
  assert.equal(answer.status, status, 'fetch');
  isError(await answer.text());
}

/** Its `initialize` is as large as the client's name. */
async function refusedSdk(line, Client, Transport, { status, bytes, headers }) {
  const answers = [];
  const see = async (...args) => {
    const answer = await fetch(...args);
    answers.push({ status: answer.status, body: await answer.clone().text() });
    return answer;
  };
  const client = new Client({ name: 'x'.repeat(bytes), version: '1' }, { capabilities: {} });
  const transport = new Transport(new URL(url), { requestInit: { headers }, fetch: see });
  await assert.rejects(client.connect(transport), line);
  assert.equal(answers[0]?.status, status, `${line}: ${JSON.stringify(answers)}`);
  isError(answers[0].body);
  await client.close();
}

function isError(body) {
  const { error } = JSON.parse(body);
  assert(error.message && error.code, body);
}

// The official clients as a page makes them: one function for both lines.
import * as v2 from '@modelcontextprotocol/client';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport as SseV1 } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport as StreamableV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ResourceUpdatedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';

const INFO = { name: 'anynode-page', version: '1.0.0' };
const CAPABILITIES = { elicitation: {}, sampling: {} };
const ELICIT = 'elicitation/create';
const SAMPLE = 'sampling/createMessage';
const UPDATED = 'notifications/resources/updated';
const SCHEMAS = { [ELICIT]: ElicitRequestSchema, [SAMPLE]: CreateMessageRequestSchema, [UPDATED]: ResourceUpdatedNotificationSchema };
const NEGOTIATION = { legacy: 'legacy', modern: { pin: '2026-07-28' } };

/**
 * Connects the client of that line, in that mode: `v1` is `streamable` or `sse`, `v2` is `legacy` or `modern`.
 *
 * `page` may have `elicit(params)` and `sample(params)`, which answer the server's questions, `updated(params)`,
 * `broken(error)`, and `progress(value)`, which is told of progress as it comes from the transport: the 1.x line passes a
 * notification to `onprogress` a moment later, and not at all when the result came in the same piece of a stream.
 * Returns the client as it is, with `call(name, args, options)`, and the transport.
 */
export async function connect(server, { line, mode }, page = {}) {
  const { client, transport, key } = line === 'v1' ? one(server, mode) : two(server, mode);
  if (page.elicit) client.setRequestHandler(key(ELICIT), ({ params }) => page.elicit(params));
  if (page.sample) client.setRequestHandler(key(SAMPLE), ({ params }) => page.sample(params));
  if (page.updated) client.setNotificationHandler(key(UPDATED), ({ params }) => page.updated(params));
  client.onerror = page.broken;
  // Both lines call what they find here, and then their own.
  transport.onmessage = ({ method, params }) => {
    if (method === 'notifications/progress') page.progress?.(params.progress);
  };
  await client.connect(transport);
  const call = async (name, args, options) => {
    const asked = { name, arguments: args };
    const result = await (line === 'v1' ? client.callTool(asked, undefined, options) : client.callTool(asked, options));
    if (result.isError) throw new Error(`${name} failed: ${JSON.stringify(result.content)}`);
    return result;
  };
  return { client, transport, call };
}

function one(server, mode) {
  const client = new ClientV1(INFO, { capabilities: CAPABILITIES });
  const transport = mode === 'sse' ? new SseV1(new URL(server.sse)) : new StreamableV1(new URL(server.mcp));
  return { client, transport, key: (method) => SCHEMAS[method] };
}

function two(server, mode) {
  const client = new v2.Client(INFO, { capabilities: CAPABILITIES, versionNegotiation: { mode: NEGOTIATION[mode] } });
  const transport = new v2.StreamableHTTPClientTransport(new URL(server.mcp));
  return { client, transport, key: (method) => method };
}

/** Where a server's transports are. With a key, the client of 2024-11-05 finds its session again. */
export function paths(url, key) {
  return { mcp: `${url}/mcp`, sse: key ? `${url}/sse?sessionId=${key}` : `${url}/sse` };
}

// The official TypeScript server, on Node's own HTTP server. PEER_MODE is `json` for one JSON body a reply, which is its
// faster form, or `sse` for a stream, without which it tells no progress.

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { setTimeout as pause } from 'node:timers/promises';

// The version that the tests install.
const require = createRequire(new URL('../../tests/clients/package.json', import.meta.url));
const { McpServer } = require('@modelcontextprotocol/sdk/server/mcp.js');
const { StreamableHTTPServerTransport } = require('@modelcontextprotocol/sdk/server/streamableHttp.js');
const { z } = require('zod');

function mcpServer() {
    const server = new McpServer({ name: 'typescript', version: '0' });
    server.registerTool(
        'echo',
        { description: 'Returns the text it is given, unchanged.', inputSchema: { text: z.string() } },
        ({ text }) => ({ content: [{ type: 'text', text }] }),
    );
    server.registerTool(
        'countdown',
        {
            description: 'Counts down and reports each step.',
            inputSchema: { from: z.number().int(), interval_ms: z.number().int() },
        },
        async ({ from, interval_ms }, { _meta, sendNotification }) => {
            for (let step = 1; step <= from; step += 1) {
                await (interval_ms ? pause(interval_ms) : new Promise(setImmediate));
                const params = { progressToken: _meta.progressToken, progress: step, total: from, message: 'to go' };
                await sendNotification({ method: 'notifications/progress', params });
            }
            return { content: [{ type: 'text', text: String(from) }] };
        },
    );
    return server;
}

const transports = new Map();

async function newTransport() {
    const transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        enableJsonResponse: process.env.PEER_MODE === 'json',
        onsessioninitialized: (id) => transports.set(id, transport),
        onsessionclosed: (id) => transports.delete(id),
    });
    await mcpServer().connect(transport);
    return transport;
}

createServer(async (request, response) => {
    response.socket.setNoDelay(true);
    const id = request.headers['mcp-session-id'];
    const transport = id === undefined ? await newTransport() : transports.get(id);
    if (transport === undefined) {
        response.writeHead(404).end();
    } else {
        await transport.handleRequest(request, response);
    }
}).listen(Number(process.env.PORT), '127.0.0.1');

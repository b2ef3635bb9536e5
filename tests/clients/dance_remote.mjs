// mcp-remote, which lets clients of stdio reach a server that wants a token: `node dance_remote.mjs dcr|cimd|known|machine URL`
//
// What came of it is printed as JSON, on a line of its own. BROWSER names the browser that it opens.
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { DOCUMENT, MACHINE } from './authorized.mjs';

const [how, url] = process.argv.slice(2);
const PROXY = fileURLToPath(new URL('node_modules/mcp-remote/dist/proxy.js', import.meta.url));
const WAYS = {
  dcr: [],
  cimd: ['--client-metadata-url', DOCUMENT],
  known: ['--static-oauth-client-info', JSON.stringify({ client_id: 'known' })],
  machine: [
    '--client-credentials',
    '--static-oauth-client-info',
    JSON.stringify({ client_id: MACHINE.id, client_secret: MACHINE.secret }),
    '--static-oauth-client-metadata',
    JSON.stringify({ scope: 'mcp:tools mcp:write' }),
  ],
};

const transport = new StdioClientTransport({
  command: process.execPath,
  args: [PROXY, url, '--allow-http', '--transport', 'http-only', ...WAYS[how]],
  env: process.env,
});
const client = new Client({ name: 'anynode-tests', version: '1.0.0' }, { capabilities: {} });
await client.connect(transport);
const { tools } = await client.listTools();
const echoed = await client.callTool({ name: 'echo', arguments: { text: 'with a token' } });
const seen = await client.callTool({ name: 'whoami', arguments: {} });
const result = {
  tools: tools.map((tool) => tool.name),
  echoed: echoed.structuredContent.text,
  who: seen.structuredContent.principal,
};
const note = { key: 'colour', value: 'teal' };
try {
  await client.callTool({ name: 'remember', arguments: note });
} catch (error) {
  result.refused = error.message; // it may log in meanwhile, and leave it to its client to call again
  await client.callTool({ name: 'remember', arguments: note });
}
result.recalled = (await client.callTool({ name: 'recall', arguments: { key: note.key } })).structuredContent.value;
await client.close();
console.log(JSON.stringify(result));
process.exit();

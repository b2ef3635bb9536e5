// The MCP Inspector 1.x: its page connects through its proxy, or directly.
import { fileURLToPath } from 'node:url';
import { startProgram } from './program.mjs';

const TOKEN = 'a-token-of-this-test';
// Where the page asks the proxy to connect. Its settings it reads there always.
const CONNECTIONS = ['/mcp', '/sse'];
const TEXT = 'from the Inspector';

/** Connects as its user does, lists the tools and calls one. */
export async function inspector1({ server, transport, connection, ports: [port, proxyPort], screenshot }, chromium, started) {
  const env = {
    CLIENT_PORT: `${port}`,
    SERVER_PORT: `${proxyPort}`,
    MCP_PROXY_AUTH_TOKEN: TOKEN,
    MCP_AUTO_OPEN_ENABLED: 'false',
  };
  started.push(await startProgram(part('inspector-server/build/index.js'), [], env, 'Proxy server listening'));
  started.push(await startProgram(part('inspector-client/bin/client.js'), [], env, 'is up and running'));

  const query = new URLSearchParams({ MCP_PROXY_PORT: proxyPort, MCP_PROXY_AUTH_TOKEN: TOKEN, transport, serverUrl: server });
  const tab = await chromium.open(`http://localhost:${port}/?${query}`);
  const asked = [];
  tab.on('request', (request) => asked.push(new URL(request.url())));
  await tab.getByRole('combobox', { name: 'Connection Type' }).click();
  await tab.getByRole('option', { name: connection }).click();
  await tab.getByRole('button', { name: 'Connect', exact: true }).click();
  await tab.getByRole('button', { name: 'Disconnect' }).waitFor();
  await tab.getByRole('tab', { name: 'Tools' }).click();
  await tab.getByRole('button', { name: 'List Tools' }).click();
  const panel = tab.getByRole('tabpanel', { name: 'Tools' });
  await panel.getByText('Echo', { exact: true }).click();
  await panel.getByRole('textbox', { name: 'text' }).fill(TEXT);
  await panel.getByRole('button', { name: 'Run Tool' }).click();
  await panel.getByRole('heading', { name: 'Tool Result: Success' }).waitFor();
  await panel.getByRole('heading', { name: 'Unstructured Content:' }).scrollIntoViewIfNeeded();
  const seen = {
    title: await tab.getByRole('heading', { name: /^MCP Inspector/ }).innerText(),
    shown: await panel.innerText(),
    direct: asked.some((url) => url.port === new URL(server).port),
    proxied: asked.some((url) => url.port === `${proxyPort}` && CONNECTIONS.includes(url.pathname)),
  };
  await tab.screenshot({ path: screenshot });
  return seen;
}

function part(path) {
  return fileURLToPath(new URL(`node_modules/@modelcontextprotocol/${path}`, import.meta.url));
}

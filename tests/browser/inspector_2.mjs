// The MCP Inspector 2.x: its page asks its backend to connect.
import { startProgram } from './program.mjs';

const TOKEN = 'a-token-of-this-test';
const TEXT = 'from the Inspector';

/** Connects as its user does, lists the tools and calls one. */
export async function inspector2({ server, transport, era, program, ports: [port, sandboxPort], screenshot }, chromium, started) {
  const env = {
    CLIENT_PORT: `${port}`,
    MCP_SANDBOX_PORT: `${sandboxPort}`,
    MCP_INSPECTOR_API_TOKEN: TOKEN,
    MCP_INSPECTOR_SECRET_STORE: 'memory',
    MCP_AUTO_OPEN_ENABLED: 'false',
  };
  const args = ['--web', '--transport', transport, '--server-url', server, '--protocol-era', era];
  started.push(await startProgram(program, args, env, 'is up and running'));

  const tab = await chromium.open(`http://127.0.0.1:${port}/?MCP_INSPECTOR_API_TOKEN=${TOKEN}`);
  const asked = [];
  tab.on('request', (request) => asked.push(new URL(request.url())));
  // What is drawn lies over the switches, so they are used from the keyboard.
  await tab.getByRole('switch', { name: /^Connect or disconnect/ }).press('Space');
  await tab.getByText('Connected', { exact: true }).waitFor();
  const revision = await tab.getByText(/^MCP \d{4}-\d\d-\d\d$/).innerText();
  await tab.getByRole('radio', { name: 'Tools', exact: true }).press('Space');
  const listed = await tab.getByRole('heading', { name: /^Tools \(\d+\)$/ }).innerText();
  await tab.getByRole('button', { name: 'Echo echo' }).click();
  await tab.getByRole('textbox', { name: 'text', exact: true }).fill(TEXT);
  await tab.getByRole('button', { name: 'Execute Tool' }).click();
  await tab.getByRole('heading', { name: 'Results' }).waitFor();
  await tab.getByText(TEXT, { exact: true }).first().waitFor();
  const seen = {
    footer: await tab.getByRole('contentinfo').innerText(),
    revision,
    listed,
    shown: await tab.getByRole('main').innerText(),
    direct: asked.some((url) => url.port === new URL(server).port),
  };
  await tab.screenshot({ path: screenshot });
  return seen;
}

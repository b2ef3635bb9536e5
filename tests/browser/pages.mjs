// Serves our pages, whose script is bundled with the official clients, on one port under every name.
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const PAGE = `<!doctype html>
<meta charset="utf-8">
<title>anynode</title>
<link rel="icon" href="data:,">
<script type="module" src="/page.js"></script>`;

/** Bundles the script and serves it on this port of 127.0.0.1. */
export async function servePages(port) {
  const script = await bundle();
  const server = createServer((request, response) => {
    const [type, body] = {
      '/': ['text/html; charset=utf-8', PAGE],
      '/page.js': ['text/javascript; charset=utf-8', script],
    }[new URL(request.url, 'http://localhost').pathname] ?? [];
    response.writeHead(body === undefined ? 404 : 200, { 'Content-Type': type ?? 'text/plain' });
    response.end(body ?? 'Not found\n');
  });
  await new Promise((resolve, reject) => {
    server.on('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  const end = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return { end };
}

async function bundle() {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('page/main.mjs', import.meta.url))],
    bundle: true,
    format: 'esm',
    platform: 'browser',
    write: false,
    logLevel: 'warning',
  });
  return outputFiles[0].text;
}

// What every TypeScript client does with a server: one definition, for both lines of the SDK.
import assert from 'node:assert/strict';

const SESSIONS = 4;
const ROUNDS = 5; // in each session
const PARALLEL = 6;
const TEMPLATE = 'note://{notebook}/{key}';

/**
 * Runs all sessions of one mode and prints `ok <name> <version> <mode> <n> rounds`.
 *
 * `connect` gives `{client, close, legacy}`: a connected client, a function that ends it in good order,
 * and whether it has a session.
 */
export async function run(name, version, mode, connect) {
  for (let session = 0; session < SESSIONS; session += 1) {
    const { client, close, legacy } = await connect();
    await tour(client, legacy);
    await close();
  }
  console.log(`ok ${name} ${version} ${mode} ${SESSIONS * ROUNDS} rounds`);
}

async function tour(client, legacy) {
  const { tools } = await client.listTools();
  const names = tools.map((tool) => tool.name);
  for (const wanted of ['echo', 'open_notebook', 'recall', 'remember']) {
    assert(names.includes(wanted), `no tool ${wanted} in ${names}`);
  }

  // Without a session, notes are kept in a notebook that is named by a handle.
  const notebook = legacy ? undefined : (await call(client, 'open_notebook', {})).structuredContent.notebook;
  if (!legacy) assert.match(notebook, /^\S{16,}$/);
  for (let round = 0; round < ROUNDS; round += 1) {
    await oneRound(client, notebook, round);
  }
}

async function oneRound(client, notebook, round) {
  const key = `round-${round}`;
  const value = { round, words: ['one', 'two'] };
  const of = notebook === undefined ? {} : { notebook };

  const texts = Array.from({ length: PARALLEL }, (_, index) => `${key} ${index} äöü`);
  const echoes = await Promise.all(texts.map((text) => call(client, 'echo', { text })));
  assert.deepEqual(echoes.map((echo) => echo.content[0].text), texts);

  await call(client, 'remember', { key, value, ...of });
  const recalled = await call(client, 'recall', { key, ...of });
  assert.equal(recalled.structuredContent.found, true);
  assert.deepEqual(recalled.structuredContent.value, value);

  const uri = `note://${notebook ?? 'session'}/${key}`;
  const { contents } = await client.readResource({ uri });
  assert.deepEqual(JSON.parse(contents[0].text), value);
  const { resources } = await client.listResources();
  if (notebook === undefined) {
    assert(resources.some((resource) => resource.uri === uri), `${uri} is not listed`);
  }
  const { resourceTemplates } = await client.listResourceTemplates();
  assert(resourceTemplates.some((template) => template.uriTemplate === TEMPLATE));

  const { prompts } = await client.listPrompts();
  assert(prompts.some((prompt) => prompt.name === 'handoff'));
  const prompt = await client.getPrompt({ name: 'handoff', arguments: { to: 'Bo', ...of } });
  const text = prompt.messages[0].content.text;
  assert(text.includes('Bo') && text.includes(key), text);

  const { completion } = await client.complete({
    ref: { type: 'ref/resource', uri: TEMPLATE },
    argument: { name: 'key', value: key },
    context: { arguments: { notebook: notebook ?? 'session' } },
  });
  assert.deepEqual(completion.values, [key]);
}

async function call(client, name, args) {
  const result = await client.callTool({ name, arguments: args });
  assert(!result.isError, `${name} failed: ${JSON.stringify(result.content)}`);
  return result;
}

/** Asserts that a session that was ended is gone, on every node. */
export async function assertGone(url, sessionId) {
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const answer = await fetch(url, {
      method: 'POST',
      headers: {
        'Content-Type': 'application/json',
        Accept: 'application/json, text/event-stream',
        'Mcp-Session-Id': sessionId,
      },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list' }),
    });
    assert.equal(answer.status, 404, 'a session that was ended must be gone');
    await answer.text();
  }
}

/** The version of an installed package. */
export async function versionOf(name) {
  const { readFile } = await import('node:fs/promises');
  const file = new URL(`node_modules/${name}/package.json`, import.meta.url);
  return JSON.parse(await readFile(file, 'utf8')).version;
}

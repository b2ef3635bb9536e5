// A client in the page: it finds the server, lists and calls its tools, is told of progress and changes, and answers questions.
import { connect, paths } from './clients.mjs';

const STEPS = 3;
const STEP_MS = 20;
const ANSWER = 'blue';
const SUMMARY = 'The note says teal.';

/** One client at one server. */
export async function tour({ server, client: wanted }) {
  const seen = { origin: location.origin, questions: [], prompts: 0, steps: [], progress: false };
  let changed;
  const told = new Promise((resolve) => { changed = resolve; });
  const connected = await connect(paths(server), wanted, {
    elicit(params) {
      seen.questions.push(params.message);
      return { action: 'accept', content: { answer: ANSWER } };
    },
    sample() {
      seen.prompts += 1;
      return { role: 'assistant', model: 'none', content: { type: 'text', text: SUMMARY } };
    },
    progress: (step) => seen.steps.push(step),
    updated: ({ uri }) => changed(uri),
  });
  const { client, transport, call } = connected;
  seen.era = client.getProtocolEra?.() ?? 'legacy';
  seen.server = client.getServerVersion()?.name;
  seen.session = typeof transport.sessionId === 'string';
  seen.tools = (await client.listTools()).tools.map((tool) => tool.name);
  seen.echoed = (await call('echo', { text: 'from a page' })).structuredContent.text;

  const onprogress = () => { seen.progress = true; };
  const counted = await call('countdown', { from: STEPS, interval_ms: STEP_MS }, { onprogress });
  seen.counted = counted.structuredContent.counted;

  seen.answer = (await call('ask', { question: 'Which colour?' })).structuredContent;
  const notebook = (await call('open_notebook', {})).structuredContent.notebook;
  seen.told = await change(connected, notebook, seen.era, told);
  seen.summary = (await call('summarize', { notebook })).content[0].text;
  await end(connected);
  return seen;
}

/** Watches a note and changes it; says whether it was told of just that note. */
async function change({ client, call }, notebook, era, told) {
  const uri = `note://${notebook}/colour`;
  if (era === 'modern') await client.listen({ resourceSubscriptions: [uri] });
  else await client.subscribeResource({ uri });
  await call('remember', { key: 'colour', value: 'teal', notebook });
  return (await told) === uri;
}

/** Ends the session, if it has one that can be ended. */
export async function end({ client, transport }) {
  client.onerror = undefined; // it reports the streams that it closes itself
  if (transport.sessionId) await transport.terminateSession();
  await client.close();
}

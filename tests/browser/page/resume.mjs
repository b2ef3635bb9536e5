// A long call whose connection is cut. `cut` is the driver's: it resets every connection between the page and the server.
import { connect, paths } from './clients.mjs';
import { end } from './tour.mjs';

const STEPS = 30;
const STEP_MS = 100; // 3 s in all: longer than the clients wait before they come back
const CALL = ['countdown', { from: STEPS, interval_ms: STEP_MS }];

/** In a session the client comes back for the call by itself. */
export async function resume({ cuttable, client: wanted, key }) {
  const { seen, connected } = await begin(paths(cuttable, key), wanted, [5, 12]);
  await finish(connected, seen);
  return seen;
}

/**
 * Without a session it cannot ("clients MUST re-issue it as a new request"). The client would wait for the rest of its time;
 * the page hears that the stream broke, gives the call up, and makes it again.
 */
export async function again({ cuttable, client: wanted }) {
  const broke = new AbortController();
  const { seen, connected } = await begin(paths(cuttable), wanted, [5], (error) => broke.abort(error));
  seen.failed = await counted(connected, { signal: broke.signal }).then(() => false, () => broke.signal.aborted);
  seen.steps = [];
  await finish(connected, seen);
  return seen;
}

/**
 * A client, and what it sees. Of the steps with these numbers each is followed by a cut, the first time that it is told.
 * `broken` hears of it from the client.
 */
async function begin(server, wanted, cutAfter, broken) {
  const seen = { steps: [], cut: [] };
  const connected = await connect(server, wanted, {
    broken,
    progress(step) {
      seen.steps.push(step);
      if (step === cutAfter[0]) {
        cutAfter.shift();
        cut().then((connections) => seen.cut.push(connections > 0));
      }
    },
  });
  return { seen, connected };
}

async function finish(connected, seen) {
  seen.counted = await counted(connected);
  seen.echoed = (await connected.call('echo', { text: 'after the cut' })).structuredContent.text;
  await end(connected);
}

/** The call; with `onprogress` the client asks for progress. */
async function counted({ call }, options) {
  return (await call(...CALL, { ...options, onprogress() {} })).structuredContent.counted;
}

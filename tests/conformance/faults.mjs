// Why a scenario failed while nodes were killed: its client lost a request to a kill and left it at that, or something else.

/** How far the clocks of kills and of the balancer's log may be apart. One machine has one clock, and several processes. */
const APART_MS = 100;

/**
 * Marks each scenario that failed with `cut`: the requests that a kill cut off, and that its client left at that. A client that
 * follows the specification resumes a stream that broke ("Resumability and Redelivery"), and sends a request of 2026-07-28
 * again; and nobody can help one that got no answer and does not ask again. What a client does take up must work: so a
 * scenario whose client did, or that lost nothing to a kill, has no excuse, and its `cut` is empty.
 */
export function explain(scenarios, requests, kills) {
  for (const scenario of scenarios) {
    if (scenario.passed) continue;
    // Not those that an earlier scenario left open.
    const during = requests.filter(({ from }) => from >= scenario.from - APART_MS && from <= scenario.to);
    const cut = during.filter((request) => request.method === 'POST' && wasCut(request, kills));
    const takenUp = during.some(({ resumes, from }) => isOfACall(resumes) && cut.some(({ to }) => from >= to));
    scenario.cut = takenUp ? [] : cut;
  }
}

/** Whether the node broke the connection off, before its answer or within, while it was killed. */
function wasCut({ from, to, node, state }, kills) {
  const brokeOff = state[0] === 'S' && 'HDL'.includes(state[1]);
  return brokeOff && kills.some((kill) => kill.node === node && kill.at >= from - APART_MS && kill.at <= to + APART_MS);
}

/** Whether an event's id is of the stream of a call, which a POST began, and not of the session's standalone stream. */
const isOfACall = (eventId) => eventId !== null && !eventId.startsWith('get-');

/** Whether a scenario failed and no kill explains it. */
export const inexcusable = ({ passed, cut }) => !passed && !(cut?.length > 0);

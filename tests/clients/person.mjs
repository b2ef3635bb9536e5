// A person who consents to everything: follows an authorization server's redirects, with its cookies.
import { fileURLToPath } from 'node:url';

const HOPS_MAX = 20;

/** Follows `url` to the first place that starts with `end`, or else to the first that redirects no further; returns it. */
export async function consent(url, end) {
  const cookies = new Map();
  let at = String(url);
  for (let hop = 0; hop < HOPS_MAX; hop += 1) {
    if (end && at.startsWith(end)) return new URL(at);
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const answer = await fetch(at, { redirect: 'manual', headers: cookie ? { cookie } : {} });
    for (const line of answer.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      cookies.set(name, value);
    }
    const next = answer.headers.get('location');
    if (!next) {
      const text = await answer.text();
      if (end || !answer.ok) throw new Error(`${at} answered ${answer.status}: ${text.slice(0, 500)}`);
      return new URL(at);
    }
    await answer.arrayBuffer();
    at = new URL(next, at).href;
  }
  throw new Error(`${url}: more than ${HOPS_MAX} redirects`);
}

// As a browser: person.sh starts it for programs that want to open one.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const last = await consent(process.argv[2]);
  console.error(`the person ends at ${last.origin}${last.pathname}`);
}

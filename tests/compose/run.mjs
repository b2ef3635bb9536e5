// Scales docker-compose.autoscale.yml under twenty official clients: `node run.mjs`, or `make compose-test`.
//
// While nodes come and go, no call fails, no event is lost, and clients need not do anything again. When a container is killed,
// no call fails and no event is lost either, by clients that do what the specification leaves to them and no more: send a
// POST again whose connection broke before any byte of the answer (`resent`), and make a call of 2026-07-28 again whose stream
// broke (`reissued`). tests/clients/busy.mjs says why, and does it; all else that goes wrong counts as failed.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CLIENTS = `${ROOT}tests/clients/`;
const PROJECT = `anynode-test-${process.pid}`;
const PORT = process.env.COMPOSE_TEST_PORT ?? (await freePort());
const URL_ = `http://127.0.0.1:${PORT}/mcp`;
const PROMETHEUS = `127.0.0.1:${process.env.COMPOSE_TEST_PROMETHEUS_PORT ?? (await freePort())}`;
const DOCKER = process.env.DOCKER ?? 'docker';
const COMPOSE = (process.env.COMPOSE ?? 'docker-compose').split(' ');
const METRICS = ['--profile', 'metrics'];
const STEPS = [3, 5, 2]; // from one
const BUSY_MS = 10_000; // at each size
const PATIENCE_MS = 120_000;
const CALLS_MIN = 200; // at each size, or it shows little
const IN_FLIGHT_MAX = 3; // of one client: a short call, a long one, a change

const env = { ...process.env, ANYNODE_PUBLISH: `127.0.0.1:${PORT}`, PROMETHEUS_PUBLISH: PROMETHEUS, COMPOSE_PROJECT_NAME: PROJECT };
const run = (program, ...args) => execFileSync(program, args, { cwd: ROOT, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
const compose = (...args) => run(COMPOSE[0], ...COMPOSE.slice(1), '-f', 'docker-compose.autoscale.yml', ...args);
const containers = () => compose('ps', '-q', 'mcp-server').split('\n').filter(Boolean);

/** A port that nobody listens on: what a run that was killed has left must not stop this one. */
async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return port;
}

async function until(what, condition) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await condition())) {
    assert(Date.now() < deadline, `not within ${PATIENCE_MS / 1000} s: ${what}`);
    await sleep(200);
  }
}

/** How many nodes the balancer has found ready, as it says itself. */
function ready() {
  const [balancer] = compose('ps', '-q', 'balancer').split('\n');
  const nets = JSON.parse(run(DOCKER, 'inspect', '-f', '{{json .NetworkSettings.Networks}}', balancer));
  const [{ IPAddress }] = Object.values(nets);
  return fetch(`http://${IPAddress}:8405/stats;csv`)
    .then((answer) => answer.text())
    .then((table) => table.split('\n').filter((line) => /^nodes,node-.*,UP,/.test(line)).length)
    .catch(() => 0);
}

const up = (count, ...profile) => compose(...profile, 'up', '-d', '--no-recreate', '--scale', `mcp-server=${count}`);

async function scale(count) {
  up(count);
  await until(`${count} nodes are ready`, async () => containers().length === count && (await ready()) === count);
}

/** The profile `metrics`: Prometheus finds each node and the balancer by itself, and has what they count. */
async function watched(count) {
  up(count, ...METRICS);
  const ask = async (query) => {
    const answer = await fetch(`http://${PROMETHEUS}/api/v1/query?query=${encodeURIComponent(query)}`).then((found) => found.json());
    return answer.data.result.map(({ metric, value }) => `${metric.job}: ${value[1]}`).sort();
  };
  const expected = ['balancer: 1', ...Array.from({ length: count }, () => 'mcp-server: 1')];
  await until('Prometheus watches all', async () => {
    const found = await ask('up').catch(() => []);
    return found.join() === expected.join();
  });
  assert.equal((await ask('anynode_build_info')).length, count);
  console.log(`Prometheus watches ${count} nodes and the balancer`);
}

/** Official clients in a process of their own. */
async function busy(program, ...args) {
  const child = spawn(program, args, { cwd: CLIENTS, stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    assert(!done, `${program} ${args[0]} has ended`);
    return JSON.parse(value);
  };
  const { clients } = await next();
  const seen = () => {
    child.stdin.write('\n');
    return next();
  };
  /** What it saw since, once all that was in flight has ended. */
  const finish = async () => {
    child.stdin.end();
    const last = await next();
    const code = child.exitCode ?? (await once(child, 'exit'))[0];
    assert.equal(code, 0, `${program} ${args[0]}`);
    return last;
  };
  return { clients, seen, finish, child };
}

/** What all clients saw, which is nothing that went wrong; and what they had to do again. */
function sum(what, parts) {
  const all = { calls: 0, long: 0, changes: 0, resent: [], reissued: [], failed: [], lost: [] };
  for (const part of parts) {
    for (const key of Object.keys(all)) all[key] = typeof all[key] === 'number' ? all[key] + part[key] : [...all[key], ...part[key]];
  }
  console.log(`${what}: ${all.calls} calls, ${all.long} long ones, ${all.changes} changes told; ${all.resent.length} sent again, `
    + `${all.reissued.length} made again, ${all.failed.length} failed, ${all.lost.length} events lost`);
  for (const line of [...all.resent, ...all.reissued, ...all.failed, ...all.lost]) console.log(`  ${line}`);
  assert.deepEqual([all.failed, all.lost], [[], []], what);
  return all;
}

/** The same of what they see from now on, for a while. */
async function seen(what, crowd) {
  await sleep(BUSY_MS);
  const all = sum(what, await Promise.all(crowd.map((each) => each.seen())));
  assert(all.calls >= CALLS_MIN, `${what}: too little was called to show anything`);
  return all;
}

/** The same, and nothing was done again. */
async function untroubled(what, crowd) {
  const { resent, reissued } = await seen(what, crowd);
  assert.deepEqual([resent, reissued], [[], []], what);
}

async function main(crowd) {
  up(1);
  await until('the first node answers', async () => (await ready()) === 1);
  crowd.push(...await Promise.all([
    busy(`${CLIENTS}node_modules/.bin/node`, 'busy.mjs', URL_, '4'),
    busy(`${CLIENTS}.venv/v1/bin/python`, 'busy.py', URL_, '4', 'legacy'),
    busy(`${CLIENTS}.venv/v2/bin/python`, 'busy.py', URL_, '4', 'modern'),
  ]));
  const clients = crowd.reduce((all, each) => all + each.clients, 0);
  console.log(`${clients} clients are at work on ${URL_}`);
  await untroubled('one node', crowd);
  for (const count of STEPS) {
    await scale(count);
    await untroubled(`to ${count}`, crowd);
  }
  const [victim] = containers();
  run(DOCKER, 'kill', victim);
  const { resent, reissued } = await seen('one killed', crowd);
  assert(resent.length + reissued.length <= IN_FLIGHT_MAX * clients, 'more was lost than was in flight');
  await scale(2);
  await untroubled('back to 2', crowd);
  await watched(2);
  // What hangs has not failed yet.
  sum('at the end', await Promise.all(crowd.map((each) => each.finish())));
}

const crowd = [];
try {
  await main(crowd);
  console.log('compose-test: all well');
} catch (error) {
  console.error(error);
  for (const line of compose('logs', '--no-color', '--tail', '40').split('\n')) console.error(line);
  process.exitCode = 1;
} finally {
  for (const { child } of crowd) child.kill(); // no harm if it has ended
  compose(...METRICS, 'down', '-v', '-t', '1');
}
process.exit();

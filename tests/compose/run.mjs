// Scales docker-compose.autoscale.yml under twenty official clients: `node run.mjs`, or `make compose-test`.
//
// No call may fail and no event may be lost while nodes come and go. When a container is killed, a call that it had not
// begun to answer is lost with its connection: clients repeat it, and no more than that.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CLIENTS = `${ROOT}tests/clients/`;
const PROJECT = `anynode-test-${process.pid}`;
const PORT = process.env.COMPOSE_TEST_PORT ?? '13000';
const URL_ = `http://127.0.0.1:${PORT}/mcp`;
const DOCKER = process.env.DOCKER ?? 'docker';
const COMPOSE = (process.env.COMPOSE ?? 'docker-compose').split(' ');
const STEPS = [3, 5, 2]; // from one
const BUSY_MS = 10_000; // at each size
const PATIENCE_MS = 120_000;
const CALLS_MIN = 200; // at each size, or it shows little
const REPEATED_MAX = 20; // one for each client

const env = { ...process.env, ANYNODE_PUBLISH: `127.0.0.1:${PORT}`, COMPOSE_PROJECT_NAME: PROJECT };
const run = (program, ...args) => execFileSync(program, args, { cwd: ROOT, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
const compose = (...args) => run(COMPOSE[0], ...COMPOSE.slice(1), '-f', 'docker-compose.autoscale.yml', ...args);
const containers = () => compose('ps', '-q', 'mcp-server').split('\n').filter(Boolean);

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

async function scale(count) {
  compose('up', '-d', '--no-recreate', '--scale', `mcp-server=${count}`);
  await until(`${count} nodes are ready`, async () => containers().length === count && (await ready()) === count);
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
  return { clients, seen, child };
}

/** What all clients saw since they were last asked. */
async function seen(what, crowd) {
  const parts = await Promise.all(crowd.map((each) => each.seen()));
  const all = { calls: 0, long: 0, changes: 0, repeated: [], failed: [], lost: [] };
  for (const part of parts) for (const key of Object.keys(all)) all[key] = typeof all[key] === 'number' ? all[key] + part[key] : [...all[key], ...part[key]];
  console.log(`${what}: ${all.calls} calls, ${all.long} long ones, ${all.changes} changes told; `
    + `${all.repeated.length} repeated, ${all.failed.length} failed, ${all.lost.length} events lost`);
  for (const line of [...all.repeated, ...all.failed, ...all.lost]) console.log(`  ${line}`);
  assert(all.calls >= CALLS_MIN, `${what}: too little was called to show anything`);
  assert.deepEqual([all.failed, all.lost], [[], []], what);
  return all;
}

async function main(crowd) {
  compose('up', '-d', '--scale', 'mcp-server=1');
  await until('the first node answers', async () => (await ready()) === 1);
  crowd.push(...await Promise.all([
    busy(`${CLIENTS}node_modules/.bin/node`, 'busy.mjs', URL_, '4'),
    busy(`${CLIENTS}.venv/v1/bin/python`, 'busy.py', URL_, '4', 'legacy'),
    busy(`${CLIENTS}.venv/v2/bin/python`, 'busy.py', URL_, '4', 'modern'),
  ]));
  console.log(`${crowd.reduce((sum, each) => sum + each.clients, 0)} clients are at work on ${URL_}`);
  await sleep(BUSY_MS);
  let { repeated } = await seen('one node', crowd);
  assert.deepEqual(repeated, [], 'one node');
  for (const count of STEPS) {
    await scale(count);
    await sleep(BUSY_MS);
    ({ repeated } = await seen(`to ${count}`, crowd));
    assert.deepEqual(repeated, [], `a call failed while scaling to ${count}`);
  }
  const [victim] = containers();
  run(DOCKER, 'kill', victim);
  await sleep(BUSY_MS);
  ({ repeated } = await seen('one killed', crowd));
  assert(repeated.length <= REPEATED_MAX, 'more was lost than was in flight');
  await scale(2);
  await sleep(BUSY_MS);
  ({ repeated } = await seen('back to 2', crowd));
  assert.deepEqual(repeated, [], 'back to 2');
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
  for (const { child } of crowd) child.kill();
  compose('down', '-v', '-t', '1');
}
process.exit();

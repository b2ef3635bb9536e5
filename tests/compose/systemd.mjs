// Runs the unit of deploy/systemd under a real systemd: `node systemd.mjs IMAGE`, of the image that systemd.Dockerfile makes.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';

const [image] = process.argv.slice(2);
const DOCKER = process.env.DOCKER ?? 'docker';
const PATIENCE_MS = 60_000;
const DRAIN_MS = 3000; // drain.delay by default
const WRONG_SETTINGS = '78';

const docker = (...args) => execFileSync(DOCKER, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
// systemd needs what Docker takes from others. It is the unit that is to be shut in here.
const machine = docker('run', '-d', '--cap-add', 'SYS_ADMIN', '--cap-add', 'SYS_PTRACE', '--security-opt', 'seccomp=unconfined',
  '--cgroupns', 'host', '-v', '/sys/fs/cgroup:/sys/fs/cgroup:rw', '--tmpfs', '/run', '--tmpfs', '/tmp', image);
const at = (...command) => docker('exec', machine, ...command);
const tried = (...command) => spawnSync(DOCKER, ['exec', machine, ...command], { encoding: 'utf8' });
const property = (name) => at('systemctl', 'show', '--value', '-p', name, 'mcp-server');

async function until(what, condition) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!condition()) {
    assert(Date.now() < deadline, `not within ${PATIENCE_MS / 1000} s: ${what}`);
    await sleep(100);
  }
}

/** All but PrivateUsers can be had on any kernel. */
function withoutUserNamespaces() {
  console.log('systemd: PrivateUsers NOT TESTED: this kernel has no user namespaces');
  for (const unit of ['mcp-server', 'redis-server']) {
    const dir = `/etc/systemd/system/${unit}.service.d`;
    at('sh', '-c', `mkdir -p ${dir} && printf '[Service]\\nPrivateUsers=no\\n' >${dir}/kernel.conf`);
  }
  at('systemctl', 'daemon-reload');
  at('systemctl', 'reset-failed');
}

async function main() {
  await until('systemd is up', () => ['running', 'degraded'].includes(tried('systemctl', 'is-system-running').stdout.trim()));
  if (tried('systemd-run', '--wait', '-p', 'PrivateUsers=yes', 'true').status !== 0) withoutUserNamespaces();
  at('systemctl', 'start', 'redis-server');
  await until('Redis is up', () => tried('systemctl', 'is-active', 'redis-server').stdout.trim() === 'active');

  at('systemctl', 'start', 'mcp-server');
  // No waiting: `start` returns when the node serves.
  at('mcp-server', 'health', '--url', 'http://127.0.0.1:3000/readyz');
  assert.equal(property('ActiveState'), 'active');
  console.log('systemd: started, and ready at once');

  const status = at('cat', `/proc/${property('MainPID')}/status`);
  const line = (name) => status.match(new RegExp(`^${name}:\\s*(\\S+)`, 'm'))[1];
  assert.notEqual(line('Uid'), '0', 'a user of its own');
  assert.equal(BigInt(`0x${line('CapBnd')}`), 0n, 'no capability, ever');
  assert.equal(line('NoNewPrivs'), '1');
  assert.equal(line('Seccomp'), '2', 'system calls are filtered');
  const inside = (...command) => tried('nsenter', '-t', property('MainPID'), '-m', ...command);
  assert.match(inside('touch', '/etc/written').stderr, /Read-only file system/);
  console.log('systemd: shut in');

  let begun = Date.now();
  at('systemctl', 'stop', 'mcp-server');
  assert(Date.now() - begun >= DRAIN_MS, 'it drains');
  assert.deepEqual([property('Result'), property('ExecMainStatus')], ['success', '0']);
  console.log('systemd: drained');

  // The port of the socket unit is open before a node serves.
  at('systemctl', 'start', 'mcp-server.socket');
  assert.equal(property('ActiveState'), 'inactive');
  at('mcp-server', 'health', '--url', 'http://127.0.0.1:3000/livez'); // starts it
  assert.equal(property('ActiveState'), 'active');
  const served = property('MainPID');
  at('sh', '-c', 'systemctl restart mcp-server & again=$!; while kill -0 $again 2>/dev/null; do '
    + 'mcp-server health --url http://127.0.0.1:3000/livez || exit; echo; done >/tmp/asked && wait $again');
  const asked = at('sh', '-c', 'wc -l </tmp/asked');
  assert(Number(asked) > 20, `asked ${asked} times only`);
  assert.notEqual(property('MainPID'), served);
  console.log(`systemd: restarted under ${asked} requests, none refused`);

  // Killed: it is started again.
  const killed = property('MainPID');
  at('systemctl', 'kill', '-s', 'KILL', 'mcp-server');
  await until('it is started again', () => property('ActiveState') === 'active' && property('MainPID') !== killed);
  at('mcp-server', 'health', '--url', 'http://127.0.0.1:3000/readyz');
  console.log('systemd: started again after SIGKILL');

  // Settings that are wrong are not tried again and again.
  at('systemctl', 'stop', 'mcp-server.socket', 'mcp-server');
  at('sh', '-c', 'echo MCP_DRAIN__DELAY=soon >>/etc/mcp-server/env');
  assert.notEqual(tried('systemctl', 'start', 'mcp-server').status, 0, 'wrong settings are accepted');
  await sleep(3000); // RestartSec and more
  assert.deepEqual([property('ActiveState'), property('ExecMainStatus'), property('NRestarts')], ['failed', WRONG_SETTINGS, '0']);
  console.log('systemd: wrong settings fail once');
}

try {
  await main();
} catch (error) {
  console.error(error);
  console.error(tried('journalctl', '--no-pager', '-n', '40').stdout);
  process.exitCode = 1;
} finally {
  docker('rm', '-f', machine);
}

// Looks at the image itself: `node image.mjs anynode/mcp-server:latest gcr.io/distroless/static-debian12:nonroot`, with the
// base that it was built on.
//
// It runs one container of it, with nothing but what the image says: healthy by its own HEALTHCHECK, and stopped by its own
// STOPSIGNAL with time to drain.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';

const [image, base] = process.argv.slice(2);
const DOCKER = process.env.DOCKER ?? 'docker';
const OWN_MIB_MAX = 25;
const DRAIN_MS = 3000; // drain.delay by default
const PATIENCE_MS = 60_000;

const docker = (...args) => execFileSync(DOCKER, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
const inspected = (name) => JSON.parse(docker('inspect', name))[0];

const { Config, Size } = inspected(image);
const ownKib = Math.ceil((Size - inspected(base).Size) / 1024);
console.log(`image: ${ownKib} KiB of its own, ${Math.ceil(Size / 1024)} KiB in all`);
assert(ownKib < OWN_MIB_MAX * 1024, `more than ${OWN_MIB_MAX} MiB of its own`);

assert.equal(Config.User, '65532:65532', 'not root, by number');
assert.equal(Config.StopSignal, 'SIGTERM');
assert.deepEqual(Config.Healthcheck.Test, ['CMD', '/mcp-server', 'health']);
assert.deepEqual(Config.Entrypoint, ['/mcp-server']);
for (const label of ['title', 'description', 'licenses', 'version', 'revision']) {
  assert(Config.Labels[`org.opencontainers.image.${label}`], `no label ${label}`);
}

for (const shell of ['/bin/sh', 'sh', '/bin/bash', '/bin/busybox']) {
  const { status, stderr } = spawnSync(DOCKER, ['run', '--rm', '--entrypoint', shell, image, '-c', 'true'], { encoding: 'utf8' });
  assert.equal(status, 127, `${shell} is there: ${stderr}`);
}

const container = docker('run', '-d', '--read-only', '--cap-drop', 'ALL', '--security-opt', 'no-new-privileges', image);
try {
  const state = () => inspected(container).State;
  const deadline = Date.now() + PATIENCE_MS;
  while (state().Health.Status !== 'healthy') {
    assert(state().Running && Date.now() < deadline, `not healthy: ${JSON.stringify(state().Health)}`);
    await sleep(200);
  }
  const user = docker('top', container, '-eo', 'pid,uid,comm').split('\n')[1].trim().split(/\s+/).slice(1);
  assert.deepEqual(user, ['65532', 'mcp-server'], 'one process, and whose');
  const begun = Date.now();
  docker('stop', '-t', '35', container);
  assert.equal(state().ExitCode, 0, docker('logs', container));
  const took = Date.now() - begun;
  assert(took < DRAIN_MS, `it stopped in ${took} ms: alone, it has no balancer to wait for`);
  console.log(`image: healthy by itself, and stopped in ${took} ms`);
} finally {
  docker('rm', '-f', container);
}

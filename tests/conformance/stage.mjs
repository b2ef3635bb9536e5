// Where the server runs: real nodes, a real Redis, a real HAProxy, on free ports, all of which end with the stage.
import { spawn } from 'node:child_process';
import { mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { issuer } from './issuer.mjs';

/** How often a node is killed, when nodes are. */
export const KILL_EVERY_MS = 3000;
const NODES = 3;
const READY_WITHIN_MS = 20_000;
/** How long HAProxy may take to log the last of them. */
const LOGGED_WITHIN_MS = 500;
const LOOK_EVERY_MS = 50;
/** Below Linux' range for outgoing connections, so that none of those takes a port meanwhile. */
const PORTS = [10_000, 32_000];

/** Processes that end together. What each prints goes to a file of its own in `dir`. */
class Stage {
  #children = new Set();

  constructor(server, dir) {
    mkdirSync(dir, { recursive: true });
    Object.assign(this, { server, dir });
  }

  /** Ends everything that was started. */
  stop() {
    for (const child of this.#children) child.kill('SIGKILL');
    this.#children.clear();
  }

  /** Starts a program. */
  spawn(name, program, args, env = {}) {
    const log = openSync(join(this.dir, `${name}.log`), 'a');
    // HAProxy is among the system's programs, where a user's own PATH may not look.
    const PATH = `${process.env.PATH}:/usr/sbin:/usr/local/sbin`;
    const child = spawn(program, args, { stdio: ['ignore', log, log], env: { ...process.env, PATH, ...env } });
    child.on('error', (error) => {
      console.error(`conformance: ${program} cannot be run (${error.message}): run \`make setup\``);
      process.exit(1);
    });
    this.#children.add(child);
    child.on('exit', () => this.#children.delete(child));
    return child;
  }

  /** Starts a node, and waits until it is ready. */
  async node(name, env) {
    const child = this.spawn(name, this.server, [], { HOST: '127.0.0.1', NODE_ID: name, ...env });
    await until(`${name} is ready`, async () => {
      if (child.exitCode !== null) throw new Error(`${name} ended: see ${this.dir}`);
      return (await fetch(`http://127.0.0.1:${env.PORT}/readyz`)).ok;
    });
    return child;
  }
}

/** One node, with sessions in memory. */
export class OneNode extends Stage {
  static label = 'one node';

  async start() {
    const PORT = await freePort();
    this.url = `http://127.0.0.1:${PORT}/mcp`;
    await this.node('node', { PORT, REDIS_URL: '' });
  }
}

/** Three nodes on Redis behind HAProxy, which gives each request to the next. */
export class ThreeNodes extends Stage {
  static label = 'three nodes';
  /** What HAProxy does with connections between requests. */
  connections = 'http-server-close';

  async start() {
    const [redis, balancer, ...ports] = await Promise.all(Array.from({ length: NODES + 2 }, freePort));
    this.spawn('redis', 'redis-server', ['--port', redis, '--bind', '127.0.0.1', '--save', '', '--dir', this.dir]);
    this.url = `http://127.0.0.1:${balancer}/mcp`;
    this.env = { REDIS_URL: `redis://127.0.0.1:${redis}`, MCP_STORE__WAIT: '10s', ...(await this.settings()) };
    this.nodes = await Promise.all(
      ports.map(async (PORT, n) => ({ PORT, name: `node-${n}`, child: await this.join(`node-${n}`, PORT) })),
    );
    const settings = join(this.dir, 'haproxy.cfg');
    writeFileSync(settings, haproxy(balancer, ports, this.connections, this.credentials));
    this.spawn('haproxy', 'haproxy', ['-db', '-f', settings]);
    await until('HAProxy sees all nodes', async () => {
      const answers = await Promise.all(ports.map(() => fetch(`http://127.0.0.1:${balancer}/health`)));
      const nodes = await Promise.all(answers.map(async (answer) => (await answer.json()).nodeId));
      return new Set(nodes).size === NODES;
    });
  }

  /** What the nodes are told besides. */
  async settings() {
    return {};
  }

  join(name, PORT) {
    return this.node(name, { PORT, ...this.env });
  }
}

/** Three nodes that ask for a token with a scope, which HAProxy adds to each request: the protocol must be the same. */
export class ThreeGuardedNodes extends ThreeNodes {
  static label = 'three nodes, with authorization';

  async settings() {
    const { url, token } = await issuer(this.url, 'suite:run');
    this.credentials = `http-request set-header Authorization "Bearer ${token}"`;
    return { MCP_AUTH__RESOURCE: this.url, MCP_AUTH__ISSUERS: url, MCP_AUTH__SCOPES: 'suite:run' };
  }
}

/** Three nodes that die one after the other. */
export class ThreeMortalNodes extends ThreeNodes {
  // When a node dies under a request that was not the first on its client's connection, HAProxy closes that connection and
  // says nothing, not even in its log. With one request on each, what was cut off is answered by 502, and logged.
  connections = 'httpclose';

  /** Kills one node after the other with SIGKILL, and starts each again, until told to stop: then, which were killed when. */
  killAllTheTime() {
    const kills = [];
    const stopped = new AbortController();
    const killing = (async () => {
      for (let turn = 0; ; turn += 1) {
        await sleep(KILL_EVERY_MS, undefined, { signal: stopped.signal });
        const node = this.nodes[turn % NODES];
        const ended = new Promise((resolve) => node.child.once('exit', resolve));
        kills.push({ node: node.name, at: Date.now() });
        node.child.kill('SIGKILL');
        await ended;
        node.child = await this.join(node.name, node.PORT);
      }
    })().catch((error) => {
      if (error.name !== 'AbortError') throw error;
    });
    return {
      stop: async () => {
        stopped.abort();
        await killing;
        return kills;
      },
    };
  }

  /** The requests of clients, as HAProxy saw them once they had ended. */
  async requests() {
    await sleep(LOGGED_WITHIN_MS);
    const lines = readFileSync(join(this.dir, 'haproxy.log'), 'utf8').split('\n');
    return lines.filter((line) => line.startsWith(REQUEST)).map((line) => {
      const [, ended, took, node, state, status, method, eventId] = line.split(' ');
      const resumes = eventId === '-' ? null : eventId;
      return { from: ended - took, to: Number(ended), node, state, status: Number(status), method, resumes };
    });
  }
}

/** What a line of HAProxy's log begins with that tells of a request. */
const REQUEST = 'request ';

// One thread, so that the turn is strict.
const haproxy = (port, nodes, connections, credentials = '') => `global
  nbthread 1
  log stdout format raw local0 info
defaults
  mode http
  log global
  # When it ended and how long it took (ms), its node, how it ended (S: the node broke off; H: before the head of its answer).
  log-format "${REQUEST}%[date(0,ms)] %Ta %s %ts %ST %HM %[capture.req.hdr(0)]"
  option ${connections}
  timeout connect 500ms
  timeout client 60s
  timeout server 60s
  timeout http-request 10s
frontend mcp
  bind 127.0.0.1:${port}
  http-request capture req.hdr(Last-Event-ID) len 64
  ${credentials}
  default_backend nodes
backend nodes
  balance roundrobin
  option httpchk GET /readyz
  option http-no-delay
  option redispatch 1
  retries 3
  default-server check inter 200ms fall 1 rise 1
${nodes.map((node, n) => `  server node-${n} 127.0.0.1:${node}\n`).join('')}`;

async function until(what, holds) {
  const deadline = Date.now() + READY_WITHIN_MS;
  for (;;) {
    const held = await holds().catch((error) => {
      if (error.message.includes('ended')) throw error;
      return false;
    });
    if (held) return;
    if (Date.now() > deadline) throw new Error(`not within ${READY_WITHIN_MS} ms: ${what}`);
    await sleep(LOOK_EVERY_MS);
  }
}

async function freePort() {
  for (;;) {
    const [from, to] = PORTS;
    const port = from + Math.floor(Math.random() * (to - from));
    const free = await new Promise((resolve) => {
      const probe = createServer();
      probe.once('error', () => resolve(false));
      probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

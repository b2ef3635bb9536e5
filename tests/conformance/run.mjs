// Runs the official conformance suite against the example server `everything`: against one node with sessions in memory, and
// against three nodes on Redis behind HAProxy in strict turn, without affinity, and against three that ask for credentials.
//
//   node run.mjs SERVER               the table: each scenario on each, checks passed and failed
//   node run.mjs SERVER --faults 10   ten runs against the three, of which one is killed and restarted every 3 s
//
// SERVER is the built example. Exits with 0 when every required scenario passed. With faults, one may fail whose client lost
// a request to a kill and, against the specification, left it at that: see faults.mjs.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { explain, inexcusable } from './faults.mjs';
import { KILL_EVERY_MS, OneNode, ThreeGuardedNodes, ThreeMortalNodes, ThreeNodes } from './stage.mjs';
import { SUITES, run } from './suite.mjs';
import { failures, faultsTable, scenarioTable, summaryTable } from './table.mjs';

const { positionals, values } = parseArgs({ allowPositionals: true, options: { faults: { type: 'string' } } });
const [server] = positionals;
if (!server) {
  console.error('conformance: name the built example: run.mjs target/debug/examples/everything');
  process.exit(2);
}

const dir = mkdtempSync(join(tmpdir(), 'anynode-conformance-'));
const failed = values.faults ? await withFaults(Number(values.faults)) : await withoutFaults();
if (failed) console.error(`conformance: results and logs are in ${dir}`);
else rmSync(dir, { recursive: true });
process.exit(failed ? 1 : 0);

/** Every suite against each stage. Whether a required scenario failed. */
async function withoutFaults() {
  const results = [];
  for (const Stage of [OneNode, ThreeNodes, ThreeGuardedNodes]) {
    await on(new Stage(server, join(dir, Stage.label)), async (stage) => {
      for (const suite of SUITES) {
        console.log(`conformance: ${suite.name}, ${Stage.label}`);
        results.push({ stage: Stage.label, suite, scenarios: await run(suite, stage.url, dir) });
      }
    });
  }
  console.log(`\n${scenarioTable(results)}\n\n${summaryTable(results)}`);
  const wrong = failures(results);
  if (wrong.length > 0) console.log(`\n${wrong.join('\n')}`);
  return results.some(({ scenarios }) => scenarios.some(({ required, passed }) => required && !passed));
}

/** Every suite against the three nodes, `rounds` times, while nodes are killed. Whether a required scenario failed unexplained. */
async function withFaults(rounds) {
  const results = [];
  let kills = [];
  await on(new ThreeMortalNodes(server, join(dir, ThreeMortalNodes.label)), async (stage) => {
    const killing = stage.killAllTheTime();
    for (let round = 1; round <= rounds; round += 1) {
      console.log(`conformance: round ${round} of ${rounds}, a node is killed every ${KILL_EVERY_MS / 1000} s`);
      for (const suite of SUITES) {
        results.push({ stage: `round ${round}`, suite, scenarios: await run(suite, stage.url, dir) });
      }
    }
    kills = await killing.stop();
    explain(results.flatMap(({ scenarios }) => scenarios), await stage.requests(), kills);
  });
  console.log(`\n${faultsTable(results, rounds)}\n\n${kills.length} nodes were killed meanwhile.`);
  const wrong = failures(results);
  if (wrong.length > 0) console.log(`\n${wrong.join('\n')}`);
  return results.some(({ scenarios }) => scenarios.some((scenario) => scenario.required && inexcusable(scenario)));
}

/** Starts a stage, and stops it however `act` ends. */
async function on(stage, act) {
  const stop = () => stage.stop();
  process.on('exit', stop);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));
  try {
    await stage.start();
    await act(stage);
  } finally {
    stop();
    process.removeListener('exit', stop);
  }
}

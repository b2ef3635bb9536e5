// The official suite: which of it is run, and what it found.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parse } from 'yaml';

const PACKAGES = join(import.meta.dirname, 'node_modules');
/** A run takes some seconds; with nodes that die, some more. */
const RUN_WITHIN_MS = 300_000;

/** The scenarios of skills (SEP-2640), and how many of their checks apply: two are about 2026-07-28. */
const skills = (enumeration) => ({
  'sep-2640-skills-enumeration': enumeration,
  'sep-2640-skills-directory': 7,
  'sep-2640-skills-manifest': 6,
});

/**
 * Every server scenario, over the wire of each revision that a release of the suite can speak. A revision's own
 * `requirements` run all that applies to it, and say what counts; elsewhere all counts. Those of an extension belong to no
 * revision, and are named: each with how many checks must succeed, because a server without the extension skips them all.
 */
export const SUITES = [
  { name: '2025-03-26', release: '0.2', select: ['--suite', 'all', '--spec-version', '2025-03-26'] },
  { name: '2025-06-18', release: '0.2', select: ['--suite', 'all', '--spec-version', '2025-06-18'] },
  { name: '2025-11-25', release: '0.2', select: ['--requirements', '2025-11-25'] },
  { name: '2025-11-25, 0.1.16', release: '0.1', select: ['--suite', 'all'] },
  { name: '2026-07-28', release: '0.2', select: ['--requirements', '2026-07-28'] },
  { name: '2025-11-25, skills', release: '0.2', select: ['--spec-version', '2025-11-25', '--force'], scenarios: skills(30) },
  { name: '2026-07-28, skills', release: '0.2', select: ['--spec-version', '2026-07-28', '--force'], scenarios: skills(32) },
];

/** Runs a suite against `url`. One entry for each scenario: when it ran, how its checks ended, and whether it has to pass. */
export async function run(suite, url, dir) {
  const results = join(dir, `${suite.name}-${Date.now()}`.replaceAll(/[ ,]+/g, '-'));
  mkdirSync(results);
  const package_ = join(PACKAGES, `conformance-${suite.release}`);
  const args = [join(package_, 'dist/index.js'), 'server', '--url', url, ...suite.select, '-o', results];
  const { announced, output } = suite.scenarios
    ? await captureEach(process.execPath, args, Object.keys(suite.scenarios))
    : await capture(process.execPath, args);
  if (announced.length === 0) throw new Error(`the suite ran nothing:\n${output}`);
  const required = requirements(suite, package_);
  return announced.map(({ name, from, to }) => {
    const checks = checksOf(results, name);
    const ended = (status) => checks.filter((check) => check.status === status);
    const failed = ended('FAILURE');
    const why = failed.map((check) => `${check.id}: ${check.errorMessage ?? check.description}`);
    const succeeded = ended('SUCCESS').length;
    const expected = suite.scenarios?.[name] ?? 0;
    if (succeeded < expected) why.push(`${succeeded} of ${expected} checks succeeded`);
    return {
      name,
      from,
      to,
      required: required?.has(name) ?? true,
      succeeded,
      failed: failed.length,
      warned: ended('WARNING').length,
      passed: why.length === 0,
      why,
    };
  });
}

/** The scenarios that count, if not all do. */
function requirements(suite, package_) {
  const [flag, revision] = suite.select;
  if (flag !== '--requirements') return null;
  return new Set(parse(readFileSync(join(package_, 'requirements', `${revision}.yaml`), 'utf8')).server);
}

/** What a scenario found. One that left nothing behind broke, which is a failure too. */
function checksOf(results, name) {
  const found = readdirSync(results).find((entry) => entry.replace(/-\d{4}-\d\d-\d\dT.*Z$/, '') === `server-${name}`);
  const file = found && join(results, found, 'checks.json');
  const checks = file && existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : [];
  return checks.length > 0 ? checks : [{ id: 'the-scenario-ran', status: 'FAILURE', errorMessage: 'it left no results' }];
}

/** Runs some scenarios by their names, one after another. */
async function captureEach(program, args, names) {
  const runs = [];
  for (const name of names) {
    const from = Date.now();
    const { output } = await capture(program, [...args, '--scenario', name]);
    runs.push({ announced: { name, from, to: Date.now() }, output });
  }
  return { announced: runs.map(({ announced }) => announced), output: runs.map(({ output }) => output).join('\n') };
}

/** Runs the suite, and notes from when to when it ran each scenario that it announced: one at a time, in milliseconds. */
function capture(program, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: RUN_WITHIN_MS });
    const announced = [];
    let output = '';
    const ended = () => announced.length > 0 && (announced.at(-1).to = Date.now());
    createInterface({ input: child.stdout }).on('line', (line) => {
      output += `${line}\n`;
      const [, name] = /^=== Running scenario: (\S+) ===$/.exec(line) ?? [];
      if (!name) return;
      ended();
      announced.push({ name, from: Date.now() });
    });
    child.stderr.setEncoding('utf8').on('data', (text) => (output += text));
    child.on('error', reject);
    child.on('close', () => {
      ended();
      resolve({ announced, output });
    });
  });
}

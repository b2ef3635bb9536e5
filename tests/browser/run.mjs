// One scenario in a real Chromium: `node run.mjs SCENARIO '{"server": "http://127.0.0.1:3000", …}'`
//
// What the page saw is printed as JSON, on a line of its own that starts with `result `. Tests in tests/it/browser start the
// servers, name the scenario, and hold the result against what they expect.
import { startChromium } from './chromium.mjs';
import { startCutter } from './cutter.mjs';
import { inspector1 } from './inspector_1.mjs';
import { inspector2 } from './inspector_2.mjs';
import { servePages } from './pages.mjs';

// The test waits longer, so that a scenario that hangs ends here, with what it started.
const SCENARIO_WITHIN_MS = 90_000;
// Scenarios of pages of our own are functions of page/main.mjs; these are pages of others.
const FOREIGN = { inspector1, inspector2 };

const [scenario, json] = process.argv.slice(2);
const options = JSON.parse(json);
const started = [];
const late = setTimeout(() => fail(new Error(`not done within ${SCENARIO_WITHIN_MS} ms`)), SCENARIO_WITHIN_MS);
try {
  const chromium = await startChromium();
  started.push(chromium);
  const result = await (FOREIGN[scenario] ?? ours)(options, chromium, started);
  clearTimeout(late);
  console.log(`result ${JSON.stringify(result)}`);
} catch (error) {
  await fail(error);
}
await endAll();

/** Runs a scenario of page/main.mjs in a page of the origin that the options name. */
async function ours(given, chromium, started) {
  started.push(await servePages(new URL(given.origin).port));
  const cutter = await startCutter(new URL(given.server).port);
  started.push(cutter);
  const tab = await chromium.open(`${given.origin}/`);
  await tab.exposeFunction('cut', cutter.cut);
  await tab.waitForFunction((name) => globalThis.scenarios?.[name], scenario);
  const run = ([name, all]) => globalThis.scenarios[name](all);
  return await tab.evaluate(run, [scenario, { ...given, cuttable: cutter.url }]);
}

async function fail(error) {
  clearTimeout(late);
  console.log(error.stack ?? error);
  process.exitCode = 1;
  await endAll();
  process.exit();
}

async function endAll() {
  for (const one of started.splice(0).reverse()) await one.end();
}

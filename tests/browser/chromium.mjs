// Debian's Chromium without a window, driven by Playwright.
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';

const PROGRAM = 'chromium';
const STEP_WITHIN_MS = 45_000; // the machine may be busy with other tests
// Names under example.com are this machine; *.localhost is anyway.
const RESOLVER = 'MAP *.example.com 127.0.0.1';

/** Starts it with a profile of its own. Playwright leaves out the sandbox, which root cannot have. */
export async function startChromium() {
  const browser = await chromium.launch({
    executablePath: program(),
    args: [`--host-resolver-rules=${RESOLVER}`, '--disable-dev-shm-usage', '--disable-gpu', '--disable-quic'],
  });
  console.log(`Chromium ${browser.version()}`);
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  context.setDefaultTimeout(STEP_WITHIN_MS);
  return { open: (url) => open(context, url), end: () => browser.close() };
}

/** A tab at that URL. What its page complains of is printed. */
async function open(context, url) {
  const tab = await context.newPage();
  tab.on('console', (message) => console.log(`page: ${message.type()}: ${message.text()}`));
  tab.on('pageerror', (error) => console.log(`page: ${error.stack ?? error}`));
  await tab.goto(url);
  return tab;
}

function program() {
  const found = (process.env.PATH ?? '').split(delimiter).map((dir) => join(dir, PROGRAM)).find(runs);
  if (!found) throw new Error(`${PROGRAM} is missing: run \`make setup\``);
  return found;
}

function runs(file) {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

// A program on the Node.js that runs this: another process, which ends with the scenario.
import { spawn } from 'node:child_process';

const END_WITHIN_MS = 5000;

/** Starts it, and waits until it has printed `words`. What it prints is printed. */
export async function startProgram(script, args, env, words) {
  const child = spawn(process.execPath, [script, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  let said = '';
  await new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (piece) => {
        process.stdout.write(piece);
        said += piece;
        if (said.includes(words)) resolve();
      });
    }
    ended.then((code) => reject(new Error(`${script} ended with ${code} before it said "${words}"`)));
  });
  const end = async () => {
    child.kill();
    const late = setTimeout(() => child.kill('SIGKILL'), END_WITHIN_MS);
    await ended;
    clearTimeout(late);
  };
  return { end };
}

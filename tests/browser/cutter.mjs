// A TCP proxy that cuts the connections that go through it.
import { connect, createServer } from 'node:net';

/** Starts one before a port of 127.0.0.1. */
export async function startCutter(port) {
  const sockets = new Set();
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1');
    for (const [one, other] of [[near, far], [far, near]]) {
      sockets.add(one);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  await new Promise((resolve, reject) => {
    server.on('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  // Both ends see a reset, in the middle of their work. Says how many connections there were.
  const cut = () => {
    const { size } = sockets;
    for (const socket of sockets) socket.resetAndDestroy();
    return size / 2;
  };
  const end = () => {
    cut();
    return new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://127.0.0.1:${server.address().port}`, cut, end };
}

"""Official Python clients that never rest: `python busy.py http://127.0.0.1:3000/mcp 4 [legacy|modern]`

Each keeps short calls and long ones in flight. For each line on standard input it prints what it saw since the last, as
JSON. It ends when standard input does. The 1.x line knows the mode `legacy` only.
"""

import asyncio
import json
import sys

from python_client import connected, plain

STEPS = 10
INTERVAL_MS = 200  # a long call takes 2 s: shorter than the drain, longer than it takes to answer at once
PAUSE_S = 0.05


class Seen:
    """What came of the calls since it was last told."""

    def __init__(self):
        self.calls = self.long = self.changes = 0
        self.repeated, self.failed, self.lost = [], [], []


class Busy:
    """A client at work. All share what they saw."""

    seen = Seen()
    stop = asyncio.Event()

    def __init__(self, name, client):
        self.name, self.client = name, client

    async def call(self, tool, arguments, again=lambda: None, **options):
        """One call. One that fails is noted and made once more; one that fails again has failed."""
        Busy.seen.calls += 1
        for repeats in range(2):
            try:
                result = plain(await self.client.call_tool(tool, arguments, **options))
                assert not result.get("isError"), result["content"]
                return result["structuredContent"], repeats
            except Exception as error:  # whatever the SDK makes of it
                text = f"{self.name}: {tool}: {error!r:.200}"
                (Busy.seen.repeated if repeats == 0 else Busy.seen.failed).append(text)
                again()
        return None, 0

    async def short(self):
        opened, _ = await self.call("open_notebook", {})
        total, turn = 0, 0
        while not Busy.stop.is_set():
            text = f"turn {turn}"
            echo, _ = await self.call("echo", {"text": text})
            if echo and echo["text"] != text:
                Busy.seen.failed.append(f"{self.name}: a wrong echo of {text}")
            counted, repeats = await self.call("increment", {"key": "sum", "notebook": opened["notebook"]})
            if counted:
                # One that was repeated, because nobody knows what became of the first, may count twice.
                if not total < counted["value"] <= total + 1 + repeats:
                    Busy.seen.failed.append(f"{self.name}: {total} plus one gave {counted['value']}")
                total = counted["value"]
            turn += 1
            await asyncio.sleep(PAUSE_S)

    async def long(self):
        while not Busy.stop.is_set():
            steps = []

            async def progress(done, _total, _message):
                steps.append(int(done))

            arguments = {"from": STEPS, "interval_ms": INTERVAL_MS}
            done, _ = await self.call("countdown", arguments, again=steps.clear, progress_callback=progress)
            Busy.seen.long += 1
            if done and steps != list(range(1, STEPS + 1)):
                Busy.seen.lost.append(f"{self.name}: steps {steps}")


async def work(name, url, mode, ready):
    async with connected(url, mode) as client:
        busy = Busy(name, client)
        ready.release()
        await asyncio.gather(busy.short(), busy.long())


async def main():
    url, count, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    ready = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(work(f"python {mode}, {number}", url, mode, ready)) for number in range(count)]
    for _ in tasks:
        await ready.acquire()
    print(json.dumps({"clients": count}), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        seen, Busy.seen = Busy.seen, Seen()
        print(json.dumps(vars(seen)), flush=True)
    Busy.stop.set()
    await asyncio.gather(*tasks)


asyncio.run(main())

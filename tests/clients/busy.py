"""Official Python clients that never rest: `python busy.py http://127.0.0.1:3000/mcp 4 [legacy|modern]`

Each keeps short calls and long ones in flight. For each line on standard input it prints what it saw since the last, as
JSON. When standard input ends it finishes what is in flight, prints once more, and ends. The 1.x line knows the mode
`legacy` only.

What these clients do beyond what the SDK does is the same as in busy.mjs, and explained there.
"""

import asyncio
import json
import sys

try:
    import httpx2 as httpx  # the 2.x line
except ImportError:
    import httpx

from python_client import connected, plain

STEPS = 10
INTERVAL_MS = 200  # a long call takes 2 s: shorter than the drain, longer than it takes to answer at once
PAUSE_S = 0.05
CALL_WITHIN_S = 20  # one that hangs fails in the step that it hangs in
CUT = (-32000, "SSE stream ended without a response")

class Seen:
    """What came of the calls since it was last told."""

    def __init__(self):
        self.calls = self.long = self.changes = 0
        self.resent, self.reissued, self.failed, self.lost = [], [], [], []


class Patient(httpx.AsyncHTTPTransport):
    """Sends a POST again which nobody began to answer."""

    def __init__(self, name):
        super().__init__()
        self.name, self.again, self.refused = name, {}, None

    async def handle_async_request(self, request):
        try:
            answer = await super().handle_async_request(request)
            if answer.status_code >= 400:
                self.refused = answer.status_code  # the SDK does not tell
            # The balancer's own word for it: nodes never say that.
            if request.method != "POST" or answer.status_code != 502:
                return answer
            await answer.aclose()
            why = answer.status_code
        except httpx.TransportError as error:
            if request.method != "POST":
                raise
            why = repr(error)
        message = json.loads(request.content)
        tool = message.get("params", {}).get("name", message.get("method"))
        self.again[tool] = self.again.get(tool, 0) + 1
        Busy.seen.resent.append(f"{self.name}: {tool}: {why}")
        return await super().handle_async_request(request)


class Busy:
    """A client at work. All share what they saw."""

    seen = Seen()
    stop = asyncio.Event()

    def __init__(self, name, client, patient, modern):
        self.name, self.client, self.patient, self.modern = name, client, patient, modern

    async def call(self, tool, arguments, again=lambda: None, **options):
        """One call, made again only when its stream broke and cannot be taken up."""
        Busy.seen.calls += 1
        while True:
            try:
                async with asyncio.timeout(CALL_WITHIN_S):
                    result = plain(await self.client.call_tool(tool, arguments, **options))
                assert not result.get("isError"), result["content"]
                return result["structuredContent"]
            except Exception as error:  # the SDK has several
                text = f"{self.name}: {tool}: {error!r:.200}"
                told = getattr(error, "error", None)  # of the SDK itself: a node has no such error
                cut = told is not None and (told.code, told.message) == CUT
                if self.modern and cut:
                    Busy.seen.reissued.append(text)
                    again()
                    continue
                Busy.seen.failed.append(f"{text}; the last refusal had status {self.patient.refused}")
                return None

    async def short(self):
        opened = await self.call("open_notebook", {})
        total, turn = 0, 0
        while not Busy.stop.is_set():
            text = f"turn {turn}"
            echo = await self.call("echo", {"text": text})
            if echo and echo["text"] != text:
                Busy.seen.failed.append(f"{self.name}: a wrong echo of {text}")
            before = self.patient.again.get("increment", 0)
            counted = await self.call("increment", {"key": "sum", "notebook": opened["notebook"]})
            if counted:
                # One that was sent again, because nobody knows what became of the first, may count twice.
                resent = self.patient.again.get("increment", 0) - before
                if not total < counted["value"] <= total + 1 + resent:
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
            done = await self.call("countdown", arguments, again=steps.clear, progress_callback=progress)
            Busy.seen.long += 1
            if done and steps != list(range(1, STEPS + 1)):
                Busy.seen.lost.append(f"{self.name}: steps {steps}")


async def work(name, url, mode, ready):
    patient = Patient(name)
    # The SDK's own limits.
    limits = httpx.Timeout(30, read=300)
    async with httpx.AsyncClient(transport=patient, timeout=limits) as http, connected(url, mode, http) as client:
        busy = Busy(name, client, patient, modern=mode == "modern")
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
    print(json.dumps(vars(Busy.seen)), flush=True)


asyncio.run(main())

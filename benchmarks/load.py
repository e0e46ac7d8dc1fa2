"""A load generator: one process, many connections, and Poisson arrivals that don't wait for answers.

    python -m benchmarks.load < plan.json > result.json

A plan is {"address", "path", "rate", "seconds", "seed", "bodies"}. Latency counts from the moment that a request was
due, so it includes the wait for a connection, as it does for a caller. At most CONNECTIONS are open at once, which is
more than a service lets wait. Requests go to 127.0.0.1 only.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter
from urllib.parse import urlsplit

import numpy as np
import uvloop

CONNECTIONS, LATE = 4096, 30.0  # LATE: seconds after which an answer is given up
QUANTILES = {"p50": 50, "p95": 95, "p99": 99, "p99.9": 99.9, "max": 100}


class Client:
    """Keep-alive connections to one address; each answers one request at a time."""

    def __init__(self, address):
        split = urlsplit(address)
        assert split.hostname == "127.0.0.1", "load goes to this machine alone"
        self._port, self._idle, self._room = split.port, [], asyncio.Semaphore(CONNECTIONS)

    async def post(self, path, body):
        """Sends a request, and returns (status, body) of the answer."""
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        head = f"{head}Content-Type: application/json\r\n\r\n".encode()
        async with self._room:
            reader, writer = self._kept() or await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(head + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length:")[2].split(None, 1)[0])
            content = await reader.readexactly(length)
            if b"connection: close" in answer.lower():
                writer.close()
            else:
                self._idle.append((reader, writer))
            return int(answer[9:12]), content

    def _kept(self):
        """Returns an idle connection that the other side has not closed, or None."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
        return None


async def generate(plan):
    """Runs a plan.

    Returns:
        ([(when a request was due, its latency, whether its status is 200)], {status or error: count}, seconds of the
        run); times are in seconds, from the start.
    """
    client, bodies, seen = Client(plan["address"]), [body.encode() for body in plan["bodies"]], Counter()
    chance, begun = random.Random(plan["seed"]), time.perf_counter()
    results, tasks = [], set()

    async def one(due):
        try:
            status, _ = await asyncio.wait_for(client.post(plan["path"], chance.choice(bodies)), LATE)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError) as error:
            status = type(error).__name__
        seen[str(status)] += 1
        results.append((due, time.perf_counter() - begun - due, status == 200))

    due = chance.expovariate(plan["rate"])
    while due < plan["seconds"]:
        if (wait := due - (time.perf_counter() - begun)) > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        due += chance.expovariate(plan["rate"])
    if tasks:
        await asyncio.wait(tasks)
    return results, seen, time.perf_counter() - begun


def summary(results, seen, seconds, rate):
    """Returns the latency of the successful answers in milliseconds, by quantile, and the number of each status."""
    good = np.array([latency for _, latency, ok in results if ok]) * 1000
    shown = {name: round(float(np.percentile(good, q)), 3) for name, q in QUANTILES.items()} if len(good) else {}
    done = {"rate": rate, "seconds": round(seconds, 2), "answered_a_second": round(len(good) / seconds, 1)}
    return done | {"milliseconds": shown, "statuses": dict(seen)}


if __name__ == "__main__":
    plan = json.load(sys.stdin)
    done = uvloop.run(generate(plan))
    json.dump(summary(*done, plan["rate"]), sys.stdout)

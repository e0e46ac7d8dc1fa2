"""The HTTP service under faults: nothing acknowledged is lost, and clients that are idle or slow keep nobody out.

    python -m benchmarks.serving_faults [--faults 100] [--idle 500] [--slow 100]

The server is the real command. While four writers append events, faults come at random moments: kill -9, SIGTERM, a
full disk (a limit on the size of files), the events file or its folder moved, the file locked by another process. Each
fault is undone after a moment; then events must be acknowledged again, and a recommendation must be bit for bit what it
was. At the end, every acknowledged event must be in the file.

The crowd is --idle connections that are idle, and --slow that send a head or a body byte by byte. Requests among them
are timed, and so is how long the idle ones are kept.
"""

import argparse
import collections
import contextlib
import json
import random
import resource
import selectors
import signal
import socket
import sqlite3
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import record
from benchmarks.serving import JSON, Server, make
from jaxrec.serve.store import Events

#: those that need a new start, which takes seconds, are half as frequent
KINDS = ("kill", "SIGTERM", *("disk full", "file moved", "folder moved", "file locked") * 2)
QUIET = 60  # seconds after which an idle connection must be closed
BODY = json.dumps({"history": [1, 2, 3], "k": 10}).encode()


def post(address, path, body):
    """(status, answer) of a request."""
    request = urllib.request.Request(address + path, body, JSON)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


class Writers:
    """Four threads that append events until they are stopped."""

    def __init__(self, address):
        self.address, self.acknowledged, self.statuses = address, [], collections.Counter()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(user,)) for user in range(4)]
        for thread in self._threads:
            thread.start()

    def _write(self, user):
        item = 0
        while not self._stopped.is_set():
            item += 1
            try:
                status, _ = post(self.address, "/events", json.dumps({"user": user, "item": item}).encode())
            except OSError:
                status = "no answer"
            if status == 200:
                self.acknowledged.append((user, item))
            else:
                time.sleep(0.05)
            self.statuses[str(status)] += 1

    def go_on(self, seconds=60):
        """Waits until four more events are acknowledged."""
        before, end = len(self.acknowledged), time.monotonic() + seconds
        while len(self.acknowledged) < before + 4:
            if time.monotonic() > end:
                sys.exit("no event is acknowledged any more")
            time.sleep(0.01)

    def stop(self):
        self._stopped.set()
        for thread in self._threads:
            thread.join()


@contextlib.contextmanager
def fault(kind, server, file):
    """Causes a fault while the body of the context runs, and undoes it afterwards."""
    moved = {"file moved": file, "folder moved": file.parent}.get(kind)
    if kind == "disk full":
        _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        size = Path(f"{file}-wal").stat().st_size
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, hard))
        yield
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    elif moved:
        moved.rename(moved.with_suffix(".moved"))
        yield
        moved.with_suffix(".moved").rename(moved)
    else:
        other = sqlite3.connect(file, isolation_level=None, timeout=30)
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")
        other.close()


def faults(path, file, count, seed=0):
    """Causes `count` faults of all kinds in random order, and returns what came of them."""
    chance, exits = random.Random(seed), []
    kinds = [KINDS[index % len(KINDS)] for index in range(count)]
    chance.shuffle(kinds)
    server = Server(path, "--events", file)
    _, right = post(server.address, "/recommend", BODY)
    writers, same, unhealthy = Writers(server.address), 0, 0
    for index, kind in enumerate(kinds):
        time.sleep(chance.uniform(0.05, 1))
        if kind in ("kill", "SIGTERM"):
            server.process.send_signal({"kill": signal.SIGKILL, "SIGTERM": signal.SIGTERM}[kind])
            exits.append((kind, server.process.wait()))
            server = Server(path, "--events", file)
            writers.address = server.address
        else:
            with fault(kind, server, file):
                time.sleep(chance.uniform(0.2, 2.5))
                if "moved" in kind:
                    unhealthy += health(server.address) == 503
        writers.go_on()
        same += post(server.address, "/recommend", BODY)[1] == right
        print(f"{index + 1}: {kind}, {len(writers.acknowledged)} acknowledged, {dict(writers.statuses)}", flush=True)
    writers.stop()
    exits.append(("SIGTERM", server.stop()))
    store = Events(file, 10)
    there = {(user, item) for user in range(4) for item in store.newest(user, 10**9)}
    store.close()
    done = {"faults": count, "kinds": dict(collections.Counter(kinds)), "acknowledged": len(writers.acknowledged)}
    done |= {"lost": len(set(writers.acknowledged) - there), "same_answers": same, "statuses": dict(writers.statuses)}
    done["exits_of_SIGTERM"] = dict(collections.Counter(code for kind, code in exits if kind == "SIGTERM"))
    return done | {"moved": sum("moved" in kind for kind in kinds), "unhealthy_while_moved": unhealthy}


def health(address):
    try:
        with urllib.request.urlopen(f"{address}/healthz", timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def connect(address):
    split = urlsplit(address)
    assert split.hostname == "127.0.0.1", "load goes to this machine alone"
    return socket.create_connection((split.hostname, split.port))


class Slow:
    """A client that sends a request one byte at a time, and starts again when it is turned away."""

    HEAD = b"POST /recommend HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    WHOLE = HEAD + b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"

    def __init__(self, address, body):
        self._address, self._body, self.turned_away = address, body, 0
        self._begin()

    def _begin(self):
        self._client = connect(self._address)
        self._client.sendall(self.WHOLE if self._body else self.HEAD)
        self._client.setblocking(False)

    def drip(self):
        with contextlib.suppress(BlockingIOError):
            try:
                ended = not self._client.recv(4096)
            except ConnectionError:
                ended = True
            if ended:
                self._client.close()
                self.turned_away += 1
                self._begin()
        with contextlib.suppress(ConnectionError, BlockingIOError):
            self._client.sendall(b"x")


def crowd(server, idle, slow):
    """Measures the latency of requests alone and in a crowd, and after how long idle connections are closed."""
    alone = [timed(server.address) for _ in range(200)]
    silent = [connect(server.address) for _ in range(idle)]
    for client in silent[::2]:  # half of them have asked before
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        client.recv(4096)
    begun = time.monotonic()
    slowly = [Slow(server.address, place % 2) for place in range(slow)]
    among, waiting, closed = [], selectors.DefaultSelector(), []
    for client in silent:
        waiting.register(client, selectors.EVENT_READ)
    while waiting.get_map() and time.monotonic() < begun + QUIET + 10:
        for each in slowly:
            each.drip()
        among.append(timed(server.address))
        for key, _ in waiting.select(0.2):
            with contextlib.suppress(ConnectionError):
                if key.fileobj.recv(4096):
                    continue
            waiting.unregister(key.fileobj)
            closed.append(time.monotonic() - begun)
    result = {"idle": idle, "slow": slow, "requests": len(among)}
    result |= {"milliseconds_alone": quantiles(alone), "milliseconds": quantiles(among)}
    result |= {"idle_closed": len(closed), "last_closed_after_seconds": round(max(closed), 1)}
    return result | {"slow_turned_away": sum(each.turned_away for each in slowly)}


def timed(address):
    """Returns the seconds of a recommendation over a connection of its own; infinite if it is refused."""
    asked = time.perf_counter()
    status, _ = post(address, "/recommend", BODY)
    return time.perf_counter() - asked if status == 200 else float("inf")


def quantiles(seconds):
    seconds = sorted(seconds)
    places = {"p50": len(seconds) // 2, "p99": int(0.99 * len(seconds)), "max": -1}
    return {name: round(1000 * seconds[place], 2) for name, place in places.items()}


def main(flags):
    with tempfile.TemporaryDirectory() as folder:
        path, result = Path(folder) / "run", {"items": flags.items}
        make(path, flags.items)
        server = Server(path)
        server.warm()
        result["crowd"] = crowd(server, flags.idle, flags.slow)
        print(json.dumps(result["crowd"]), flush=True)
        server.stop()
        (Path(folder) / "events").mkdir()
        result["faults"] = faults(path, Path(folder) / "events" / "e.db", flags.faults)
        print(json.dumps(result["faults"]), flush=True)
    return {"kind": "serving_faults"} | result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--idle", type=int, default=500)
    parser.add_argument("--slow", type=int, default=100)
    flags = parser.parse_args()
    result = main(flags)
    record.write("serving_faults", result)
    sys.exit(result["faults"]["lost"] > 0)

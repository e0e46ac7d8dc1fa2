"""Items that come and go while the service is under load: latency with and without changes, and failed requests.

    python -m benchmarks.stocking [--only 54000]

The service is that of `benchmarks.serving` with --stock, for catalogues of several sizes. Requests come at a fixed rate
for some seconds, first alone, then while items change, at a rate of their own and one per request: new items are added
and retired again, and, alternating with them, items of the training are retired and offered again. After each change,
one more request checks whether its answer reflects it. Each size is added to the result.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from benchmarks import plots, record
from benchmarks.serving import JSON, Server, bodies, make

FIRST = 10_000_000  # ids of the new items
SECONDS = 30  # of load before and after the changes


class Load(NamedTuple):
    """Requests per second, how many items come and go, changes per second, and whether the service has an index."""

    rate: float
    changes: int
    changes_a_second: float
    approximate: bool = False


#: {items: Load}
LOADS = {
    10_000: Load(100, 1000, 20),
    54_000: Load(100, 1000, 20),
    200_000: Load(50, 500, 10),
    1_000_000: Load(20, 300, 5, approximate=True),
}


class Changing(threading.Thread):
    """Adds and retires items, one per request, at a steady rate; `seconds` lists how long each change took."""

    def __init__(self, address, changes, rate):
        super().__init__(daemon=True)
        self._address, self._changes, self._rate = address, changes, rate
        self.seconds, self.failed, self.unseen = [], 0, 0

    def run(self):
        begun = time.perf_counter()
        for number in range(2 * self._changes):
            place, again = divmod(number, 2)
            is_new = place % 2 == 0
            item, there = FIRST + place if is_new else 1000 + place, is_new != bool(again)
            like = {"like": [1 + 2 * (number % 1000)]} if is_new else {}
            body = {"add": [{"id": item, **like}]} if there else {"retire": [item]}
            time.sleep(max(begun + number / self._rate - time.perf_counter(), 0))
            sent = time.perf_counter()
            try:
                self._post("/items", body)
                self.seconds.append(time.perf_counter() - sent)
                found = self._post("/recommend", {"history": [1, 2, 3], "candidates": [item]})["items"]
                self.unseen += len(found) != there
            except OSError:
                self.failed += 1

    def _post(self, path, body):
        request = urllib.request.Request(self._address + path, json.dumps(body).encode(), JSON)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def measured(dataset, items, load):
    """Returns a row of the result: latency without and with changes, and what came of the changes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        make(path, items)
        server = Server(path, "--stock", Path(folder) / "stock.jsonl", *["--approximate"] * load.approximate)
        server.warm()
        asked = bodies(dataset, items)
        server.load(asked, load.rate, 5)
        alone = server.load(asked, load.rate, SECONDS)
        changing = Changing(server.address, load.changes, load.changes_a_second)
        changing.start()
        with_changes = server.load(asked, load.rate, 2 * load.changes / load.changes_a_second)
        changing.join()
        again = server.load(asked, load.rate, SECONDS)
        server.stop()
    changes = {
        "added": load.changes,
        "retired": load.changes,
        "of_the_training": load.changes // 2,
        "a_second": load.changes_a_second,
        "failed": changing.failed,
        "not_in_the_next_answer": changing.unseen,
        "median_milliseconds": 1000 * statistics.median(changing.seconds),
        "most_milliseconds": 1000 * max(changing.seconds),
    }
    loads = {"before": alone, "with_changes": with_changes, "after": again}
    return {"approximate": load.approximate, "changes": changes, "loads": loads}


def plot(result, path):
    """Draws the 99th percentile with and without changes, by the number of items."""
    figure, (axes,) = plots.panels(width=4.8)
    rows = {int(items): row for items, row in result["rows"].items()}
    for name, label in (("before", "without changes"), ("with_changes", "while items come and go"), ("after", "after")):
        latencies = [row["loads"][name]["milliseconds"]["p99"] for row in rows.values()]
        plots.line(axes, rows, latencies, label)
    plots.over(axes, rows, "items")
    axes.set(ylabel="milliseconds, 99th percentile", ylim=(0, None))
    plots.save(figure, path)


def main(flags):
    """Measures, and writes each size into the result."""
    place = record.place("stocking", "json")
    rows = json.loads(place.read_text())["rows"] if place.exists() else {}
    for items in flags.only or LOADS:
        rows[str(items)] = measured(flags.dataset, items, LOADS[items])
        print(items, json.dumps(rows[str(items)]["changes"]), flush=True)
    result = {"kind": "stocking", "rows": dict(sorted(rows.items(), key=lambda row: int(row[0])))}
    record.write("stocking", result)
    plot(result, record.place("stocking", "png"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-1m-sasrec")
    parser.add_argument("--only", action="append", type=int, choices=list(LOADS), help="only this size; repeatable")
    main(parser.parse_args())

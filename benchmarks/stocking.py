"""Items that come and go while the service is under load: latency with and without changes, and failed requests.

    python -m benchmarks.stocking [--items 54000] [--rate 100] [--changes 1000] [--approximate --name NAME]

The service of `benchmarks.serving`, with --stock. In turns of some seconds requests come at a fixed rate, first alone,
then while items change, one a request, at a rate of their own: new items are added and retired again, and in turn with
them those of the training are retired and offered again. After each change one more request sees whether its answer
has it.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from benchmarks import record
from benchmarks.serving import JSON, Server, bodies, make

FIRST = 10_000_000  # ids of the new items


class Changing(threading.Thread):
    """Adds and retires items, each by a request, at a steady rate; `seconds` has how long each took."""

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


def main(flags):
    """Measure, and keep the result."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        make(path, flags.items)
        given = ["--approximate"] if flags.approximate else []
        server = Server(path, "--stock", Path(folder) / "stock.jsonl", *given)
        server.warm()
        asked = bodies(flags.dataset, flags.items)
        server.load(asked, flags.rate, 5)
        alone = server.load(asked, flags.rate, flags.seconds)
        changing = Changing(server.address, flags.changes, flags.change_rate)
        changing.start()
        with_changes = server.load(asked, flags.rate, 2 * flags.changes / flags.change_rate)
        changing.join()
        again = server.load(asked, flags.rate, flags.seconds)
        server.stop()
    changes = {
        "added": flags.changes,
        "retired": flags.changes,
        "of_the_training": flags.changes // 2,
        "a_second": flags.change_rate,
        "failed": changing.failed,
        "not_in_the_next_answer": changing.unseen,
        "median_milliseconds": 1000 * statistics.median(changing.seconds),
        "most_milliseconds": 1000 * max(changing.seconds),
    }
    loads = {"before": alone, "with_changes": with_changes, "after": again}
    told = {"kind": "stocking", "items": flags.items, "approximate": flags.approximate}
    record.write(flags.name, told | {"changes": changes, "loads": loads})
    print(json.dumps(changes))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=54_000)
    parser.add_argument("--dataset", default="ml-1m-sasrec")
    parser.add_argument("--rate", type=float, default=100, help="requests a second")
    parser.add_argument("--seconds", type=float, default=30, help="of load before and after the changes")
    parser.add_argument("--changes", type=int, default=1000, help="items that come and go")
    parser.add_argument("--change-rate", type=float, default=20, help="changes a second")
    parser.add_argument("--approximate", action="store_true")
    parser.add_argument("--name", default="stocking", help="of the result")
    main(parser.parse_args())

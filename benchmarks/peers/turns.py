"""The contender's side of the speed benchmark: it trains in turns, and reports each.

On a CPU it needs the standard library only; on a GPU it needs the peer's torch.
"""

import json
import sys
import time

ANSWERS, sys.stdout = sys.stdout, sys.stderr  # keeps what a peer prints out of the answers


class Turns:
    """Work in turns: a line on standard input grants a number of seconds, and a line of JSON reports what was done.

    Create it when everything is ready. The first turn includes compilation and the first steps, so its answer must be
    left out. The process ends when its standard input does.

    Args:
        device: "cpu", or the device of a peer that computes with torch: a turn ends when that has done its work, and
            its answer has the most bytes that torch held there.
        about: () -> what the answers say besides.
    """

    def __init__(self, device="cpu", about=dict):
        self.finish, self.about = lambda: None, about
        if device.startswith("cuda"):
            from torch import cuda

            self.finish = cuda.synchronize
            self.about = lambda: about() | {"device_bytes": cuda.max_memory_allocated()}
        self.finish()
        self.say({"ready": True})
        self.wait()

    def tick(self, targets, steps=1):
        """Adds real targets that are done; call it after every step. At the end of a turn, it waits for the next.

        targets: a number, or a tensor of the device, which is only read at the end of the turn.
        """
        self.targets += targets
        self.steps += steps
        if time.perf_counter() - self.begun >= self.length:
            self.finish()
            seconds = time.perf_counter() - self.begun
            answer = {"targets": float(self.targets), "seconds": seconds, "steps": self.steps}
            self.say(answer | self.about())
            self.wait()

    def say(self, answer):
        print(json.dumps(answer), file=ANSWERS, flush=True)

    def wait(self):
        line = sys.stdin.readline()
        if not line:
            sys.exit(0)
        self.length, self.targets, self.steps, self.begun = float(line), 0, 0, time.perf_counter()


def arguments():
    """The driver's options for a contender, {"checkout", "data", "mode", "device", ...}: JSON in the first argument."""
    return {"device": "cpu"} | json.loads(sys.argv[1])

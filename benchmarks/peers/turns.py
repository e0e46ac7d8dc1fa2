"""The contender's side of the speed benchmark: it trains in turns, and reports each. Standard library only."""

import json
import sys
import time

ANSWERS, sys.stdout = sys.stdout, sys.stderr  # keeps what a peer prints out of the answers


class Turns:
    """Work in turns: a line on standard input grants a number of seconds, and a line of JSON reports what was done.

    Create it when everything is ready. The first turn includes compilation and the first steps, so its answer must be
    left out. The process ends when its standard input does.
    """

    def __init__(self):
        self.say({"ready": True})
        self.wait()

    def tick(self, targets, steps=1):
        """Adds real targets that are done; call it after every step. At the end of a turn, it waits for the next."""
        self.targets += targets
        self.steps += steps
        seconds = time.perf_counter() - self.begun
        if seconds >= self.length:
            self.say({"targets": float(self.targets), "seconds": seconds, "steps": self.steps})
            self.wait()

    def say(self, answer):
        print(json.dumps(answer), file=ANSWERS, flush=True)

    def wait(self):
        line = sys.stdin.readline()
        if not line:
            sys.exit(0)
        self.length, self.targets, self.steps, self.begun = float(line), 0, 0, time.perf_counter()


def arguments():
    """The driver's options for a contender, {"checkout", "data", "mode", ...}: JSON in the first argument."""
    return json.loads(sys.argv[1])

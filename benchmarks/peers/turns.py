"""The side of a contender: it trains in turns, and says what it did in each. Standard library alone."""

import json
import sys
import time

ANSWERS, sys.stdout = sys.stdout, sys.stderr  # what a peer prints goes elsewhere


class Turns:
    """Work in turns of so many seconds, granted by lines on standard input, answered by lines of JSON.

    Made when everything is ready. The first turn's answer also holds what compiling and the first steps took, and is to
    be left out. The process ends with its standard input.
    """

    def __init__(self):
        self.say({"ready": True})
        self.wait()

    def tick(self, targets, steps=1):
        """So many more real targets are done: call it after every step. May not return before the next turn."""
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
    """What the driver tells a contender: {"checkout", "data", "mode", ...}, JSON in the first argument."""
    return json.loads(sys.argv[1])

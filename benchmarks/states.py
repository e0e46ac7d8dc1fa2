"""What a kept state of a user saves: one request whose history grew by one event, with and without the state.

    python -m benchmarks.states

The models are GRU4Rec and rg-lru of width 64 with random weights; catalogues have 3,416 and 54,000 items. Requests come
one after the other, each with a history of 200 items. "whole" answers from all items in one dispatch; "kept" from the
state of all items but the last; "begun" computes a state to keep, as when a history is asked for the second time. They
take turns in every round, and each percentile is the median over the rounds.
"""

import argparse

from benchmarks import engine, record
from jaxrec.inference.queries import Query
from jaxrec.inference.states import States

K, HISTORY = 10, engine.LENGTH


def of_kept(rec):
    """Returns (history) -> the answer from the state of all items but the last, which is made for every history."""
    before, states = {}, States(1)

    def answer(history):
        key = id(history)
        if key not in before:  # made in the first round, which is not timed
            for _ in range(2):
                states.stated(rec, [rec.check(Query(history[:-1], K))])
            before[key] = next(reversed(states._kept.items()))
        states._kept.clear()
        states._kept.update([before[key]])
        return rec.answer(states.stated(rec, [rec.check(Query(history, K))]))

    return answer


def of_begun(rec):
    """Returns (history) -> the answer from a new state of the whole history, as when it is asked for a second time."""
    states = States(1)

    def answer(history):
        states._kept.clear()
        query = rec.check(Query(history, K))
        states.stated(rec, [query])
        return rec.answer(states.stated(rec, [query]))

    return answer


def turns(rec, rounds, requests):
    """Times the ways to answer in turns. Returns {way: {"p50": ms, …}}, medians over the rounds."""
    whole = lambda history: rec.answer([rec.check(Query(history, K))])
    answers = {"whole": whole, "kept": of_kept(rec), "begun": of_begun(rec)}
    return engine.take_turns(answers, rec.engine.items, rounds, requests, HISTORY)


def measure(rounds, requests):
    """Measures everything, and returns the result."""
    result = {"kind": "states", "history": HISTORY, "rounds": rounds, "requests": requests, "milliseconds": {}}
    for items in (3_416, 54_000):
        for name in ("gru4rec", "rg-lru"):
            rec = engine.recommender(name, items)
            found = turns(rec, rounds, requests)
            result["milliseconds"][f"{name}, {items:,} items"] = found
            for way, row in found.items():
                said = "  ".join(f"{q} {ms:.2f} ms" for q, ms in row.items())
                print(f"{name:<8} {items:>7,} items  {way:<6} {said}", flush=True)
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1000, help="per round")
    flags = parser.parse_args()
    record.write("states", measure(flags.rounds, flags.requests))

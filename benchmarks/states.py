"""What a kept state of a user saves: one request whose history grew by one event, with the state and without it.

    python -m benchmarks.states

GRU4Rec and rg-lru of width 64 with random weights; a history of 200 items, one after the other with a further event;
catalogues of 3,416 and 54,000 items. "whole" answers from all items in one dispatch; "kept" by the state of the items
before; "begun" computes one to keep, as the second time that a history is asked for. They take turns in every round,
and a percentile is the median of the rounds'.
"""

import argparse

from benchmarks import engine, record
from jaxrec.inference.queries import Query
from jaxrec.inference.states import States

K, HISTORY = 10, engine.LENGTH


def of_kept(rec):
    """(history) -> the answer by the state of the items before the last, which is there for every history."""
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
    """(history) -> the answer by a state of the whole history, which is asked for the second time."""
    states = States(1)

    def answer(history):
        states._kept.clear()
        query = rec.check(Query(history, K))
        states.stated(rec, [query])
        return rec.answer(states.stated(rec, [query]))

    return answer


def turns(rec, rounds, requests):
    """{what answers: {"p50": ms, …}}, the medians of the rounds'."""
    whole = lambda history: rec.answer([rec.check(Query(history, K))])
    answers = {"whole": whole, "kept": of_kept(rec), "begun": of_begun(rec)}
    return engine.take_turns(answers, rec.engine.items, rounds, requests, HISTORY)


def measure(rounds, requests):
    """All that the result says."""
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
    parser.add_argument("--requests", type=int, default=1000, help="in a round")
    flags = parser.parse_args()
    record.write("states", measure(flags.rounds, flags.requests))

"""Latency of recommendations from Python, one request at a time: the engine, next to a plain PyTorch forward pass.

    python -m benchmarks.engine

The model is SASRec with 2 blocks of width 64 and random weights. Histories have 100 items, which are left out of the
answer; catalogues have 3,416, 54,000 and 1,000,000 items. GRU4Rec's step by one item is also timed. The contenders take
turns in every round, and each percentile is the median over the rounds. PyTorch, if it is installed, computes the same
architecture as it is usually written, on as many threads as it chooses.
"""

import argparse
import statistics
import time

import numpy as np

from benchmarks import record
from jaxrec.config import parsing as configs
from jaxrec.data.interactions import Catalogue
from jaxrec.inference.queries import Query
from jaxrec.inference.recommender import Recommender
from jaxrec.models.entry import build

WIDTH, BLOCKS, HISTORY, LENGTH = 64, 2, 100, 200
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}


def recommender(name, items, approximate=False):
    """A Recommender with random weights."""
    import jax

    config = configs.from_dict(
        {
            "dataset": "none",
            "seed": 0,
            "epochs": 1,
            "batch": 1,
            "length": LENGTH,
            "eval_every": 1,
            "patience": 0,
            "model": {"name": name, "dim": WIDTH, "layers": BLOCKS if name == "sasrec" else 1, "dropout": 0.0},
            "loss": {"name": "softmax", "negatives": 0},
            "optim": {"name": "adam", "learning_rate": 1e-3},
        }
    )
    model = build(config, items, 1)
    return Recommender(config, model, model.init(jax.random.key(0)), Catalogue(np.arange(items)), 0, None, approximate)


def of_engine(rec, k):
    """Returns (history) -> the answer of a Recommender, whose programs are compiled."""
    rec.recommend(list(range(HISTORY)), k)
    return lambda history: rec.recommend(history, k)


def of_steps(rec, k):
    """Returns (history) -> the answer after its last item, for a user whose session has the earlier ones."""
    sessions = {}

    def step(history):
        session = sessions.get(history[0]) or rec.start(history[:-1])
        sessions[history[0]] = session  # a history is known by its first item; its session is made before timing
        return rec.answer([Query(rec.advance(session, history[-1]), k)])[0]

    return step


def of_torch(items, k):
    """Returns (history) -> the answer of PyTorch, or None if it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    from torch import nn

    class SASRec(nn.Module):
        def __init__(self):
            super().__init__()
            self.items, self.positions = nn.Embedding(items + 1, WIDTH), nn.Embedding(LENGTH, WIDTH)
            norms = lambda: nn.ModuleList(nn.LayerNorm(WIDTH, eps=1e-8) for _ in range(BLOCKS))
            self.query_norms, self.norms, self.last_norm = norms(), norms(), nn.LayerNorm(WIDTH, eps=1e-8)
            attention = lambda: nn.MultiheadAttention(WIDTH, 1, batch_first=True)
            self.attentions = nn.ModuleList(attention() for _ in range(BLOCKS))
            feed = lambda: nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
            self.feeds = nn.ModuleList(feed() for _ in range(BLOCKS))

        def forward(self, history):
            slots = history.shape[1]
            x = self.items(history) * WIDTH**0.5 + self.positions(torch.arange(slots))
            mask = ~torch.tril(torch.ones(slots, slots, dtype=torch.bool))
            for query_norm, attention, norm, feed in zip(
                self.query_norms, self.attentions, self.norms, self.feeds, strict=True
            ):
                query = query_norm(x)
                x = norm(query + attention(query, x, x, attn_mask=mask, need_weights=False)[0])
                x = x + feed(x)
            return self.items.weight @ self.last_norm(x)[0, -1]

    model = SASRec().eval()

    @torch.inference_mode()
    def answer(history):
        history = torch.tensor([history]) + 1
        scores = model(history)
        scores[0] = scores[history[0]] = -torch.inf
        best = scores.topk(k)
        return list(zip((best.indices - 1).tolist(), best.values.tolist(), strict=True))

    return answer


def latencies(answer, histories, rate=None):
    """The seconds of each answer: back to back, or after random pauses, as if `rate` requests came per second."""
    seconds, pauses = [], np.random.default_rng(2)
    for history in histories:
        if rate:
            time.sleep(pauses.exponential(1 / rate))
        begun = time.perf_counter()
        answer(history)
        seconds.append(time.perf_counter() - begun)
    return seconds


def take_turns(answers, items, rounds, requests, history=HISTORY, rate=None):
    """{name: (history) -> answer} -> {name: {"p50": ms, …}}, medians over the rounds; `rate` as in `latencies`."""
    random = np.random.default_rng(0)
    histories = [random.permutation(items)[:history].tolist() for _ in range(min(requests, 200))]
    for answer in answers.values():
        latencies(answer, histories)
    found = {name: [] for name in answers}
    for _ in range(rounds):
        for name, answer in answers.items():
            seconds = latencies(answer, (histories * -(-requests // len(histories)))[:requests], rate)
            found[name].append(np.quantile(seconds, list(QUANTILES.values())) * 1e3)
    medians = {name: [statistics.median(each) for each in zip(*rows, strict=True)] for name, rows in found.items()}
    return {name: dict(zip(QUANTILES, (round(x, 3) for x in row), strict=True)) for name, row in medians.items()}


def recall(near, exact, items, k=100, histories=200):
    """The share of the exact best k items that the approximate answers contain."""
    random = np.random.default_rng(1)
    asked = [random.permutation(items)[:HISTORY].tolist() for _ in range(histories)]
    pairs = zip(near.recommend_batch(asked, k), exact.recommend_batch(asked, k), strict=True)
    return float(np.mean([len({id for id, _ in a} & {id for id, _ in b}) / k for a, b in pairs]))


def measure(rounds, requests):
    """Measures everything, and returns the result."""
    result = {"kind": "engine", "history": HISTORY, "rounds": rounds, "requests": requests, "milliseconds": {}}
    for items in (3_416, 54_000, 1_000_000):
        exact = recommender("sasrec", items)
        answers = {"engine, k 10": of_engine(exact, 10)}
        if items == 1_000_000:
            near = recommender("sasrec", items, approximate=True)
            result["recall@100"] = recall(near, exact, items)
            answers |= {"approximate, k 10": of_engine(near, 10), "approximate, k 100": of_engine(near, 100)}
        if items == 54_000:
            answers["GRU4Rec step, k 10"] = of_steps(recommender("gru4rec", items), 10)
        if torch := of_torch(items, 10):
            answers["PyTorch, k 10"] = torch
        found = take_turns(answers, items, rounds, requests if items < 1_000_000 else requests // 4)
        result["milliseconds"][f"{items:,} items"] = found
        for name, row in found.items():
            print(
                f"{items:>9,} items  {name:<20} " + "  ".join(f"{q} {ms:.2f} ms" for q, ms in row.items()), flush=True
            )
    if not torch:
        print("PyTorch is not installed: the comparison is left out")
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=2000, help="per round; a quarter of it at a million items")
    flags = parser.parse_args()
    record.write("engine", measure(flags.rounds, flags.requests))

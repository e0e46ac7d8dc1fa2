"""Makes mistakes of evaluation on purpose, and records which warnings of the referee each of them raises.

    python -m benchmarks.referee --mistakes taste
    python -m benchmarks.referee --mistakes transitions

Two models of NumPy and SciPy are trained on ml-1m-sasrec: `taste` decomposes the matrix of users and items, and
`transitions` that of last and next items. Each mistake changes what a model is trained on, its input, or the file of
its scores.
"""

from typing import NamedTuple

import numpy as np
import polars as pl
from scipy import sparse
from scipy.sparse import linalg

import jaxrec
from jaxrec.data.interactions import Interactions

DATA, DIM, K = "ml-1m-sasrec", 64, 100
FORMS = ("vectors", "lists")
ORDERS = {
    "": lambda items: items,
    "the last two items swapped": lambda items: np.append(items[:-2], items[:-3:-1]),
    "reversed": lambda items: items[::-1],
    "sorted by item": np.sort,
    "shuffled": lambda items: np.random.default_rng(len(items)).permutation(items),
}


class Mistake(NamedTuple):
    """What differs from a correct evaluation."""

    order: str = ""  #: a key of ORDERS: of the model's own copy of the data
    without: int = 1  #: number of last items that the input lacks; 2 leaves out the validation item too
    train: int = 2  #: number of last items that training lacks; 0 trains on the test
    unfiltered: int | None = 0  #: number of items before the target that the lists may repeat; None: all
    items: int = 0  #: how many places the ids of items are shifted
    users: int = 0  #: likewise for users
    digits: int | None = None  #: scores are rounded to them, relative to the largest
    forms: tuple[str, ...] = FORMS


MISTAKES = {
    "none": Mistake(),
    "validation item missing in the input": Mistake(without=2),
    "validation item missing in the input and the filter": Mistake(without=2, unfiltered=1, forms=("lists",)),
    "validation item missing in the filter": Mistake(unfiltered=1, forms=("lists",)),
    "no filter of the history": Mistake(unfiltered=None, forms=("lists",)),
    "items shifted by one": Mistake(items=1),
    "users shifted by one": Mistake(users=1),
    "scores rounded": Mistake(digits=1),
    "trained on the test items": Mistake(train=0),
    **{f"another order: {name}": Mistake(order=name) for name in ORDERS if name},
}


def taste(parts, total):
    """Returns the vectors of items, and the function from inputs to the vectors of users: by all items of an input."""
    items = linalg.svds(_matrix(parts, total), DIM, random_state=0)[2].T
    return items, lambda inputs: _matrix(inputs, total) @ items


def transitions(parts, total):
    """As `taste`, but users have the vectors of the last items of their inputs."""
    pairs = np.concatenate([np.stack([part[:-1], part[1:]]) for part in parts], axis=1)
    counts = sparse.csr_matrix((np.ones(pairs.shape[1], np.float32), tuple(pairs)), (total, total))
    left, sizes, right = linalg.svds(counts, DIM, random_state=0)
    return right.T, lambda inputs: (left * sizes)[[part[-1] for part in inputs]]


MODELS = {"taste": taste, "transitions": transitions}


def _matrix(histories, total):
    ends = np.cumsum([0, *map(len, histories)])
    return sparse.csr_matrix((np.ones(ends[-1], np.float32), np.concatenate(histories), ends), (len(histories), total))


def without(histories, number):
    """Each history without its last items."""
    return [history[: len(history) - number] for history in histories]


def made(log: Interactions, histories: list, trained: tuple, mistake: Mistake, form: str):
    """The scores of a model whose evaluation contains this mistake, as `jaxrec.judge` takes them."""
    total, (items, asked) = len(log.catalogue.ids), trained
    users = asked(without(histories, mistake.without))
    user_ids, item_ids = np.roll(log.users, mistake.users), np.roll(log.catalogue.ids, mistake.items)
    if form == "vectors" and mistake.digits is None:
        return {"users": users, "user_ids": user_ids, "items": items, "item_ids": item_ids}
    scores = users @ items.T
    if mistake.digits is not None:
        scores = np.round(scores / np.abs(scores).max(), mistake.digits)
    if form == "vectors":
        return {"users": scores, "user_ids": user_ids, "items": np.eye(total), "item_ids": item_ids}
    for row, history in zip(scores, histories, strict=True):
        stop = 0 if mistake.unfiltered is None else len(history) - 1 - mistake.unfiltered
        row[history[:stop]] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    columns = {"user": np.repeat(user_ids, K), "item": item_ids[best.ravel()]}
    return pl.DataFrame(columns | {"score": np.take_along_axis(scores, best, 1).ravel()})


def measured(model: str, name: str = DATA) -> list[dict]:
    """The warnings and the metrics of a model, for each mistake and form."""
    log, trained, rows = jaxrec.prepare(name), {}, []
    own = np.split(np.asarray(log.interactions.items) - 1, log.interactions.offsets[1:-1])
    for mistake, meant in MISTAKES.items():
        histories = [ORDERS[meant.order](each) for each in own]
        if (key := (meant.order, meant.train)) not in trained:
            trained[key] = MODELS[model](without(histories, meant.train), len(log.interactions.catalogue.ids))
        for form in meant.forms:
            found = jaxrec.judge(made(log.interactions, histories, trained[key], meant, form), log)
            metrics = {each: found.metrics[each] for each in ("hr@10", "ndcg@10")}
            warnings = [each["trap"] for each in found.warnings]
            rows.append({"mistake": mistake, "model": model, "form": form, "data": name, **metrics})
            rows[-1]["warnings"] = warnings
            print(rows[-1], flush=True)
    return rows


def table(rows: list[dict]) -> str:
    """The rows as Markdown: a line per mistake, and a column per model and form."""
    found = {(each["mistake"], each["model"], each["form"]): each for each in rows}
    columns = [(model, form) for model in MODELS for form in FORMS]
    lines = ["| mistake | " + " | ".join(map(", ".join, columns)) + " |", "|---" * (1 + len(columns)) + "|"]
    for mistake in dict.fromkeys(each["mistake"] for each in rows):
        cells = [found.get((mistake, *column)) for column in columns]
        said = ["" if each is None else ", ".join(f"`{trap}`" for trap in each["warnings"]) or "none" for each in cells]
        lines.append(f"| {mistake if MISTAKES[mistake] != Mistake() else 'no mistake'} | " + " | ".join(said) + " |")
    return "\n".join(lines) + "\n"

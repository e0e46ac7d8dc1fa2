"""Ranks the targets of a split by a file of vectors or lists."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from jaxrec.data.splits import Questions, Split
from jaxrec.data.storage.ragged import distinct
from jaxrec.evaluation import ranker
from jaxrec.evaluation.metrics import MISS
from jaxrec.evaluation.scores import Lists, Vectors, check_known, check_once, numbers
from jaxrec.kernels.ranking import dot


class Strangers(NamedTuple):
    """Ids that occur only in the file or only in the data."""

    users: list[str]  #: only in the file
    items: list[str]
    item_rows: float  #: share of the file's vectors, or of its lists' rows, with an unknown item
    absent_users: int  #: users of questions without a vector or list
    absent_items: int  #: items of the data without a vector; 0 for lists


class PlacedVectors(NamedTuple):
    """Vectors in the order of the catalogue and the questions."""

    params: tuple[np.ndarray, np.ndarray | None]  #: [V, D], and [V] or None; items without a vector have bias -inf
    queries: np.ndarray  #: [Q, D]; NaN for users without a vector, which ranks the target last
    strangers: Strangers

    @property
    def scored(self) -> tuple[Any, ...]:
        """The scorer, its parameters and the queries, as for the ranker."""
        return dot, self.params, self.queries

    def ranks(self, split: Split, questions: Questions, protocol: str, devices: Sequence) -> np.ndarray:
        """Returns the rank of each question's target, [Q]. Targets may differ from those at placing."""
        return ranker.run(ranker.lay_out(split, questions, protocol, devices=devices), *self.scored)


class PlacedLists(NamedTuple):
    """The rows of the lists for the questions, ordered by question, best first."""

    question: np.ndarray  #: [N]
    item: np.ndarray  #: [N] item number; 0 is unknown
    place: np.ndarray  #: [N] rank from 1, without ties
    last: np.ndarray  #: [N] rank where ties count against the list: the last place among equals
    lengths: np.ndarray  #: [Q]
    repeated: int  #: number of rows whose item is already in the list
    strangers: Strangers

    @property
    def k(self) -> int:
        """The length of the longest list."""
        return int(self.lengths.max())

    def best(self, k: int) -> np.ndarray:
        """Returns the first k items of each list, [Q, k] int32; 0 is none."""
        found, here = np.zeros((len(self.lengths), k), np.int32), self.place <= k
        found[self.question[here], self.place[here] - 1] = self.item[here]
        return found

    def ranks(self, target: np.ndarray) -> np.ndarray:
        """Returns the rank of each question's target, MISS if it isn't in the list. [Q]"""
        found = np.full(len(self.lengths), MISS, np.int32)
        here = self.item == target[self.question]
        np.minimum.at(found, self.question[here], self.last[here].astype(np.int32))
        return found


def place_vectors(vectors: Vectors, split: Split, questions: Questions) -> PlacedVectors:
    """Matches vectors with the catalogue and the questions by their ids.

    Raises:
        UserError: if no user of the questions has a vector, or no item is in the data.
    """
    data = split.interactions
    total, width = len(data.catalogue.ids), vectors.items.shape[1]
    items, users = numbers(vectors.item_ids, data.catalogue.ids), numbers(vectors.user_ids, data.users)
    check_known(items, vectors.item_ids, data.catalogue.ids, "item", vectors.name)
    check_once(items, vectors.item_ids, vectors.name)
    check_once(users, vectors.user_ids, vectors.name)
    asked = np.isin(users - 1, questions.source)
    check_known(asked, vectors.user_ids, data.users[questions.source], "user", vectors.name)
    table, bias = np.zeros((total + 1, width), np.float32), np.full(total + 1, -np.inf, np.float32)
    table[items] = vectors.items
    bias[items] = 0 if vectors.bias is None else vectors.bias
    absent = int(np.isneginf(bias[1:]).sum())
    of_user = np.full((len(data.users) + 1, width), np.nan, np.float32)
    of_user[users] = vectors.users
    of_user[0] = np.nan
    queries = of_user[questions.source + 1]
    strangers = Strangers(
        _examples(vectors.user_ids, users == 0),
        _examples(vectors.item_ids, items == 0),
        float((items == 0).mean()),
        int(np.isnan(queries[:, 0]).sum()),
        absent,
    )
    plain = vectors.bias is None and not absent
    return PlacedVectors((table[1:], None if plain else bias[1:]), queries, strangers)


def place_lists(lists: Lists, split: Split, questions: Questions) -> PlacedLists:
    """Matches lists with the catalogue and the questions by their ids.

    Raises:
        UserError: if no user of the questions has a list, or no item is in the data.
    """
    data = split.interactions
    users, items = numbers(lists.users, data.users), numbers(lists.items, data.catalogue.ids)
    check_known(items, lists.items, data.catalogue.ids, "item", lists.name)
    of_user = np.full(len(data.users) + 1, -1)
    of_user[questions.source + 1] = np.arange(len(questions.source))
    question = of_user[users]
    check_known(question >= 0, lists.users, data.users[questions.source], "user", lists.name)
    unknown = Strangers(
        _examples(lists.users, users == 0),
        _examples(lists.items, items == 0),
        float((items == 0).mean()),
        len(questions.source) - len(distinct(question[question >= 0])),
        0,
    )
    kept = np.flatnonzero(question >= 0)
    kept = kept[np.lexsort((lists.order[kept], question[kept]))]
    question, items, order = question[kept], items[kept], lists.order[kept]
    lengths = np.bincount(question, minlength=len(questions.source))
    begins = np.cumsum(lengths) - lengths
    place = np.arange(len(question)) - begins[question] + 1
    ends = np.append((question[1:] != question[:-1]) | (order[1:] != order[:-1]), True)  # ends of runs of equal order
    last = place[np.flatnonzero(ends)][np.cumsum(ends) - ends]
    pairs = (question * (len(data.catalogue.ids) + 1) + items)[items > 0]
    repeated = len(pairs) - len(distinct(pairs))
    return PlacedLists(question, items, place, last, lengths, repeated, unknown)


def _examples(ids: pl.Series, which: np.ndarray) -> list[str]:
    """Returns the distinct ids of the rows that a mask selects."""
    return ids.filter(pl.Series(which)).unique(maintain_order=True).to_list()

"""RecTools: a model fitted without the held-out items, its `recommend` after all but the last, its own metrics."""

import warnings

import numpy as np
import pandas as pd
from rectools import Columns
from rectools.dataset import Dataset, Interactions
from rectools.metrics import MAP, NDCG, CatalogCoverage, HitRate, IntraListDiversity, MeanInvUserFreq
from rectools.metrics.distances import PairwiseDistanceCalculator
from rectools.models import EASEModel, SASRecModel
from scores import Given

given = Given()


class Cosine(PairwiseDistanceCalculator):
    """1 - the cosine of two items' sets of training users."""

    def __init__(self, matrix):
        self.columns = matrix.tocsc()
        self.norm = np.sqrt(np.asarray(self.columns.sum(0)).ravel())

    def _get_distances_for_item_pairs(self, items_0, items_1):
        first, second = (np.searchsorted(given.items, items) for items in (items_0, items_1))
        common = np.empty(len(first))
        for begin in range(0, len(first), 10_000):
            some = slice(begin, begin + 10_000)
            common[some] = self.columns[:, first[some]].multiply(self.columns[:, second[some]]).sum(0).ravel()
        return 1 - common / np.maximum(self.norm[first] * self.norm[second], 1)


def frame(begin, end):
    """The part history[begin:end] of every user as a table of interactions."""
    rows = [
        (user, given.items[place], 1, at)
        for user, history in zip(given.users, given.histories, strict=True)
        for at, place in list(enumerate(history))[begin:end]
    ]
    table = pd.DataFrame(rows, columns=[Columns.User, Columns.Item, Columns.Weight, Columns.Datetime])
    return table.assign(datetime=pd.to_datetime(table[Columns.Datetime], unit="s"))


def build(name, **options):
    """Builds a model by its name, with RecTools' own defaults except for `options`."""
    if name == "ease":
        return EASEModel(**options)
    return SASRecModel(recommend_torch_device="cpu", **options)


def main():
    history, trained = Dataset.construct(frame(None, -1)), frame(None, -2)
    model = build(given.options["model"], **given.options["settings"])
    # one numbering for both: items that are only in the held-out part have a number too
    fitted = Dataset(history.user_id_map, history.item_id_map, interactions_of(trained, history))
    model.fit(fitted if given.options["model"] == "ease" else Dataset.construct(trained))
    with warnings.catch_warnings(action="ignore"):  # about items that were not trained
        lists = model.recommend(given.users, history, k=given.options["k"], filter_viewed=True)
    lists = lists[[Columns.User, Columns.Item, Columns.Rank]]
    lists.columns = ["user", "item", "rank"]
    lists.to_csv(given.folder / "scores.csv", index=False)
    lists.columns = [Columns.User, Columns.Item, Columns.Rank]
    target = frame(-1, None)
    found = {
        "hr@10": HitRate(10).calc(lists, target),
        "ndcg@10": NDCG(10, divide_by_achievable=True).calc(lists, target),
        "map@10": MAP(10).calc(lists, target),
        "coverage@10": CatalogCoverage(10, normalize=True).calc(lists, given.items),
        "novelty@10": MeanInvUserFreq(10).calc(lists, trained),
        "diversity@10": IntraListDiversity(10, Cosine(given.matrix(None, -2))).calc(lists),
    }
    given.write_own("full", found, "rectools", "torch", "implicit", "numpy")


def interactions_of(table, dataset):
    """RecTools' Interactions of a table, with the numbering of a data set."""
    return Interactions.from_raw(table, dataset.user_id_map, dataset.item_id_map)


if __name__ == "__main__":
    main()

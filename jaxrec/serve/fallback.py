"""The answer to a history of which nothing is known: the most popular items that the request allows."""

import numpy as np

from jaxrec.recommend import Ranked


def popular(recommender, query):
    """The Ranked for a Query whose history is empty or holds no known id, marked as `fallback`.

    The scores are shares of all that occurs in training; it is empty where the training was made before that was
    counted.
    """
    ids, counts = recommender.catalogue.ids, recommender.catalogue.counts
    # checked beside a history that can be: of its items none is left out
    checked = recommender.prepare(query._replace(history=ids[:1].tolist(), exclude_seen=False))
    ranked = Ranked([], [*query.history, *checked.unknown])
    ranked.fallback = True
    if counts is not None:
        allowed = np.zeros(len(ids), bool) if checked.pool is not None else np.ones(len(ids), bool)
        if checked.pool is not None:
            allowed[checked.pool - 1] = True
        allowed[np.array(checked.out, int) - 1] = False
        order = np.argsort(-counts, kind="stable")
        places = order[allowed[order]][: checked.k]
        ranked += zip(ids[places].tolist(), (counts[places] / max(counts.sum(), 1)).tolist(), strict=True)
    return ranked

"""implicit: ALS trained without the held-out items, user vectors from all items but the last; its own metrics."""

import numpy as np
from implicit.als import AlternatingLeastSquares
from implicit.evaluation import ranking_metrics_at_k
from scores import Given


def main():
    given = Given()
    model = AlternatingLeastSquares(factors=given.options["dim"], iterations=15, random_state=0)
    model.fit(given.matrix(None, -2), show_progress=False)
    history, target = given.matrix(None, -1), given.matrix(-1, None)
    model.user_factors = model.recalculate_user(np.arange(len(given.users)), history)
    given.write_vectors(model.user_factors, model.item_factors)
    own = ranking_metrics_at_k(model, history, target, K=10, show_progress=False)
    found = {"hr@10": own["precision"], "ndcg@10": own["ndcg"], "map@10": own["map"]}
    given.write_own("full", found, "implicit", "numpy", "scipy")


if __name__ == "__main__":
    main()

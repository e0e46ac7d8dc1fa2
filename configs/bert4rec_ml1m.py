"""BERT4Rec (Sun et al. 2019) on ML-1M, as compared by Klenitskiy and Vasilev (2023).

    python train.py --config configs/bert4rec_ml1m.py

HR@10 .2821, NDCG@10 .1545 under full ranking (published: .2843, .1537); under popularity-100 .6921, .4723 (.6970,
.4818).

It took some 40 minutes on two CPU cores. bert4rec_seen_ml1m is ahead of it.
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "dataset": "ml-1m-sasrec",
            "split": "last-item",
            "objective": "cloze",
            "mask_prob": 0.2,
            "seed": 0,
            "epochs": 300,
            "batch": 128,
            "length": 200,
            "row": 200,
            "positions": "from_start",
            "eval_every": 5,
            "patience": 20,
            "model": {
                "name": "bert4rec",
                "dim": 64,
                "layers": 2,
                "heads": 2,
                "dropout": 0.1,
                "norm": "post",
                "init": "normal",
                "transform": False,
            },
            "loss": {"name": "softmax"},
            "optim": {"name": "adam", "learning_rate": 1e-3},
        }
    )

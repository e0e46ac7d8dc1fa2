"""SASRec as in its paper (Kang and McAuley 2018) on ML-1M: binary cross-entropy against one negative, d 50.

    python train.py --config configs/sasrec_ml1m.py
    python evaluate.py --workdir runs/sasrec_ml1m --protocol uniform-100

HR@10 .8209, NDCG@10 .5875, means of 2 seeds (published .8245, .5905). With --config.model.dim=64, under full ranking,
.2579 and .1363 (published .2500, .1341). 200 epochs.

It took 9 to 17 minutes on two CPU cores.
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "dataset": "ml-1m-sasrec",
            "split": "last-item",
            "objective": "next-item",
            "seed": 0,
            "epochs": 200,
            "batch": 128,
            "length": 200,
            "row": 200,
            "positions": "from_end",
            "eval_every": 20,
            "patience": 20,
            "model": {"name": "sasrec", "dim": 50, "layers": 2, "heads": 1, "dropout": 0.2},
            "loss": {"name": "bce", "negatives": 1},
            "optim": {"name": "adam", "learning_rate": 1e-3, "b2": 0.98},
        }
    )

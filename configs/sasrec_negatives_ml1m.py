"""SASRec with a softmax over 3,000 negatives on ML-1M (Klenitskiy and Vasilev 2023).

    python train.py --config configs/sasrec_negatives_ml1m.py

The negatives are uniform, shared by the sequences of a row, and not corrected for how they are drawn. Under full
ranking HR@10 .3091, NDCG@10 .1798, in 130 epochs; published .3159 and .1857, with negatives drawn from outside the
sequence and without replacement, to which sasrec_softmax_ml1m with loss.seen=exclude is nearest (docs/losses.md).

It took 1 hour on two CPU cores.
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
            "positions": "from_start",
            "eval_every": 1,
            "patience": 10,
            "model": {"name": "sasrec", "dim": 64, "layers": 2, "heads": 1, "dropout": 0.1, "init": "normal"},
            "loss": {"name": "sampled-softmax", "negatives": 3000, "sampling": "uniform", "share": "row"},
            "optim": {"name": "adam", "learning_rate": 1e-3},
        }
    )

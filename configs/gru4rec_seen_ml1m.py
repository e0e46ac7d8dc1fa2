"""GRU4Rec with the full softmax on ML-1M, a target not compared to what its user had: gru4rec_ml1m, changed.

    python train.py --config configs/gru4rec_seen_ml1m.py

HR@10 .3031, NDCG@10 .1760 under full ranking, the mean of three seeds (the highest published of GRU4Rec: .2887,
.1679).

It took 13 to 36 minutes on two CPU cores.
"""

from ml_collections import ConfigDict

from jaxrec.config import recipes

CHANGES = {"loss.seen": "exclude"}


def get_config():
    return ConfigDict(recipes.read("gru4rec_ml1m", CHANGES).values)

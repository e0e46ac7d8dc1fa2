"""SASRec with the full softmax on ML-1M, a target not compared to what its user had: sasrec_softmax_ml1m, changed.

    python train.py --config configs/sasrec_softmax_seen_ml1m.py

HR@10 .3225, NDCG@10 .1887 under full ranking, one seed (published with 3,000 negatives from outside the sequence:
.3159, .1857). See docs/losses.md.

It took 1 hour on two CPU cores that did other work too.
"""

from ml_collections import ConfigDict

from jaxrec.config import recipes

CHANGES = {"loss.seen": "exclude"}


def get_config():
    return ConfigDict(recipes.read("sasrec_softmax_ml1m", CHANGES).values)

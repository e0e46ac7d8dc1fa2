"""RecTools: `recommend` of its SASRecModel for all users of a log, once per line on standard input."""

import json
import sys
import time

import pandas as pd
from data import frame
from pytorch_lightning import Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

ANSWERS, sys.stdout = sys.stdout, sys.stderr  # keeps what it prints out of the answers
given = json.loads(sys.argv[1])


def trainer():
    return Trainer(
        max_epochs=0,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


table, _ = frame(given["data"])
table[Columns.Weight] = 1
table[Columns.Datetime] = pd.to_datetime(table.pop("time_idx"), unit="s")
model = SASRecModel(
    n_blocks=2, n_factors=64, n_heads=1, session_max_len=given["length"], loss="softmax", get_trainer_func=trainer
)
data = Dataset.construct(table)
model.fit(data)
users = table[Columns.User].unique()
for _ in sys.stdin:
    begun = time.perf_counter()
    model.recommend(users, data, k=given["k"], filter_viewed=True)
    print(json.dumps({"seconds": time.perf_counter() - begun}), file=ANSWERS, flush=True)

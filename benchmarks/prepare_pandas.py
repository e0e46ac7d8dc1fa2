"""The peer of `benchmarks.prepare`: what many write for themselves, from a log to arrays of histories, with pandas.

python benchmarks/prepare_pandas.py log.csv folder
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

source, folder = sys.argv[1], Path(sys.argv[2])
folder.mkdir(parents=True)
frame = pd.read_csv(source) if source.endswith(".csv") else pd.read_parquet(source)
frame["user"], users = pd.factorize(frame["user"], sort=True)
frame["item"], items = pd.factorize(frame["item"], sort=True)
frame = frame.sort_values(["user", "time"], kind="stable")
np.save(folder / "items.npy", frame["item"].to_numpy(np.int32) + 1)
np.save(folder / "times.npy", frame["time"].to_numpy())
np.save(folder / "offsets.npy", np.append(0, frame.groupby("user").size().cumsum()))
pd.DataFrame({"id": users}).to_parquet(folder / "users.parquet")
pd.DataFrame({"id": items}).to_parquet(folder / "items.parquet")

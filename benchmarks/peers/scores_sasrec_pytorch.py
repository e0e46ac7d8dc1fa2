"""pmixer/SASRec.pytorch: its unchanged main.py trains, its model gives vectors, its `evaluate` its own metrics."""

import os
import random
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import torch
from scores import Given

given = Given()
CODE = f"{given.options['checkout']}/python"
sys.path.insert(0, CODE)


def train(folder):
    """Trains with main.py on a file in its format, numbered from 1. Returns the path of the last epoch's state."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    rows = [f"{user} {item + 1}\n" for user, own in enumerate(given.histories, 1) for item in own]
    (folder / "data" / "log.txt").write_text("".join(rows))
    sizes = {"--maxlen": given.options["length"], "--num_epochs": given.options["epochs"]}
    sizes |= {"--dropout_rate": given.options["dropout"]}
    flags = [text for pair in sizes.items() for text in map(str, pair)]
    main = [sys.executable, f"{CODE}/main.py", "--dataset", "log", "--train_dir", "run", "--device", "cpu"]
    subprocess.run([*main, *flags], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return next((folder / "log_run").glob(f"SASRec.epoch={given.options['epochs']}.*.pth"))


def vectors(model, length, batch=256):
    """The last hidden vector of every user after all but the last item."""
    shown = np.zeros((len(given.histories), length), np.int64)
    for row, history in zip(shown, given.histories, strict=True):
        newest = history[:-1][-length:] + 1
        row[length - len(newest) :] = newest
    with torch.no_grad():
        parts = [model.log2feats(shown[at : at + batch])[:, -1].numpy() for at in range(0, len(shown), batch)]
    return np.concatenate(parts)


def main():
    folder = given.folder / "training"
    state = train(folder)
    os.chdir(folder)  # where its code looks for data
    from model import SASRec
    from utils import data_partition, evaluate

    sizes = {"hidden_units": 50, "num_blocks": 2, "num_heads": 1, "maxlen": given.options["length"]}
    args = SimpleNamespace(**sizes, device="cpu", dropout_rate=given.options["dropout"], norm_first=False)
    dataset = data_partition("log")
    model = SASRec(dataset[3], dataset[4], args)
    model.load_state_dict(torch.load(state, weights_only=True))
    model.eval()
    items = model.item_emb.weight.detach().numpy()[1:]
    given.write_vectors(vectors(model, args.maxlen), items)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 its code draws with it
    with torch.no_grad():
        ndcg, hits = evaluate(model, dataset, args)
    users = min(len(given.users), 10_000)  # the most that it samples
    given.write_own("uniform-100", {"hr@10": hits, "ndcg@10": ndcg}, "torch", "numpy", users=users)


if __name__ == "__main__":
    main()

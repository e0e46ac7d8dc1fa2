"""RecTools: SASRecModel and BERT4RecModel, their own `fit` by Lightning, with a turn taken after each batch.

"evaluation": `recommend` for all users, without the items that they have seen, with a turn taken after each call.
"""

import pandas as pd
from data import frame
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel, SASRecModel
from turns import Turns, arguments

given = arguments()


class Turn(Callback):
    """Tells the driver what each batch held."""

    turns = None

    def on_train_batch_start(self, trainer, module, batch, index):
        if self.turns is None:
            self.turns = Turns(given["device"])

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.turns.tick((batch["y"] != 0).sum())


def trainer():
    return Trainer(
        max_epochs=0 if given["mode"] == "evaluation" else 1000,
        accelerator="cpu" if given["device"] == "cpu" else "gpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Turn()],
    )


def main():
    table, _ = frame(given["data"])
    table[Columns.Weight] = 1
    table[Columns.Datetime] = pd.to_datetime(table.pop("time_idx"), unit="s")
    masked = given["model"] == "bert4rec"
    kind, own = (BERT4RecModel, {"n_heads": 2, "mask_prob": given["mask"]}) if masked else (SASRecModel, {"n_heads": 1})
    model = kind(
        n_blocks=given["layers"],
        n_factors=given["dim"],
        dropout_rate=given["dropout"],
        session_max_len=given["length"],
        batch_size=given["batch"],
        loss="softmax",
        lr=1e-3,
        get_trainer_func=trainer,
        **own,
    )
    data = Dataset.construct(table)
    model.fit(data)
    users = table[Columns.User].unique()
    turns = Turns(given["device"])  # only an evaluation gets here: its `fit` has no epochs
    while True:
        model.recommend(users, data, k=10, filter_viewed=True)
        turns.tick(len(users))


if __name__ == "__main__":
    main()

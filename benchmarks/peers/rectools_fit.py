"""RecTools: SASRecModel and BERT4RecModel, their own `fit` by Lightning, with a turn taken after each batch."""

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
            self.turns = Turns()

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.turns.tick(int((batch["y"] != 0).sum()))


def trainer():
    return Trainer(
        max_epochs=1000,
        accelerator="cpu",
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
    kind, heads = (BERT4RecModel, 2) if given["model"] == "bert4rec" else (SASRecModel, 1)
    kind(
        n_blocks=given["layers"],
        n_heads=heads,
        n_factors=given["dim"],
        dropout_rate=given["dropout"],
        session_max_len=given["length"],
        batch_size=given["batch"],
        loss="softmax",
        lr=1e-3,
        get_trainer_func=trainer,
    ).fit(Dataset.construct(table))


if __name__ == "__main__":
    main()

"""RecBole: a model's own trainer, with one sample per prefix, and a turn taken at each batch's loss."""

import os
import tempfile
from pathlib import Path

from data import frame
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed
from turns import Turns, arguments

given = arguments()


def main():
    table, _ = frame(given["data"])
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # where it leaves its logs
        path = Path(folder) / "given"
        path.mkdir()
        names = {"user_id": "user_id:token", "item_id": "item_id:token", "time_idx": "timestamp:float"}
        table.rename(columns=names).to_csv(path / "given.inter", sep="\t", index=False)
        settings = {
            "data_path": folder,
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "MAX_ITEM_LIST_LENGTH": given["length"],
            "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
            "epochs": 1000,
            "train_neg_sample_args": None,
            "use_gpu": given["device"] != "cpu",
            "show_progress": False,
            "checkpoint_dir": folder,
        } | given.get("settings", {})
        config = Config(given["model"], "given", config_dict=settings)
        init_seed(0, True)
        train, _, _ = data_preparation(config, create_dataset(config))
        model = get_model(config["model"])(config, train.dataset).to(config["device"])
        inner, turns = model.calculate_loss, None

        def loss(batch):
            nonlocal turns
            if turns is None:
                turns = Turns(given["device"])
            else:
                turns.tick(batch.length)  # of the step before
            return inner(batch)

        model.calculate_loss = loss
        get_trainer(config["MODEL_TYPE"], config["model"])(config, model).fit(train, verbose=False, saved=False)


if __name__ == "__main__":
    main()

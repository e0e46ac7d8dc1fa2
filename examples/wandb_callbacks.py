"""Tracks a training in Weights & Biases: the loss and validation metrics of every evaluation, and every checkpoint.

python examples/wandb_callbacks.py
"""

import wandb

import jaxrec


def log_row(run, row: dict) -> None:
    """Logs a row of metrics to a run."""
    metrics = {"train/loss": row["loss"], "train/gradient_norm": row["norm"]}
    metrics |= {f"valid/{name}": value for name, value in row.get("valid", {}).items()}
    run.log(metrics, step=row["step"])


def log_checkpoint(run, step: int, folder) -> None:
    """Logs a checkpoint as an artifact of a run."""
    artifact = wandb.Artifact(f"checkpoint-{run.id}", type="model", metadata={"step": step})
    artifact.add_dir(str(folder))
    run.log_artifact(artifact)


def main(data="ml-100k", **keys):
    """Trains within a run of Weights & Biases, and returns the Recommender."""
    with wandb.init(project="jaxrec", config=keys) as run:
        return jaxrec.fit(
            data,
            on_evaluate=lambda row: log_row(run, row),
            on_checkpoint=lambda step, folder: log_checkpoint(run, step, folder),
            **keys,
        )


if __name__ == "__main__":
    print(main(epochs=20))

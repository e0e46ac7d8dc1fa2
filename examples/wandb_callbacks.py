"""A training in Weights & Biases: the losses and the validation of each evaluation, and each checkpoint as an artifact.

python examples/wandb_callbacks.py
"""

import wandb

import jaxrec


def log_row(run, row: dict) -> None:
    """`on_evaluate`, of a run."""
    metrics = {"train/loss": row["loss"], "train/gradient_norm": row["norm"]}
    metrics |= {f"valid/{name}": value for name, value in row.get("valid", {}).items()}
    run.log(metrics, step=row["step"])


def log_checkpoint(run, step: int, folder) -> None:
    """`on_checkpoint`, of a run."""
    artifact = wandb.Artifact(f"checkpoint-{run.id}", type="model", metadata={"step": step})
    artifact.add_dir(str(folder))
    run.log_artifact(artifact)


def main(data="ml-100k", **keys):
    """Train within a run of Weights & Biases. -> Recommender"""
    with wandb.init(project="jaxrec", config=keys) as run:
        return jaxrec.fit(
            data,
            on_evaluate=lambda row: log_row(run, row),
            on_checkpoint=lambda step, folder: log_checkpoint(run, step, folder),
            **keys,
        )


if __name__ == "__main__":
    print(main(epochs=20))

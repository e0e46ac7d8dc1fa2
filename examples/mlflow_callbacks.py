"""Tracks a training in MLflow: the loss and validation metrics of every evaluation, and checkpoints as artifacts.

python examples/mlflow_callbacks.py
"""

import mlflow

import jaxrec


def log_row(row: dict) -> None:
    """Logs a row of metrics. "hr@10" is logged as "valid/hr_at_10", since MLflow allows no @ in names."""
    metrics = {"train/loss": row["loss"], "train/gradient_norm": row["norm"]}
    metrics |= {f"valid/{name.replace('@', '_at_')}": value for name, value in row.get("valid", {}).items()}
    mlflow.log_metrics(metrics, step=row["step"])


def log_checkpoint(step: int, folder) -> None:
    """Logs a checkpoint as an artifact."""
    mlflow.log_artifacts(str(folder), artifact_path=f"checkpoints/{step}")


def main(data="ml-100k", **keys):
    """Trains within a run of MLflow, and returns the Recommender."""
    with mlflow.start_run():
        mlflow.log_params({key: str(value) for key, value in keys.items()})
        return jaxrec.fit(data, on_evaluate=log_row, on_checkpoint=log_checkpoint, **keys)


if __name__ == "__main__":
    print(main(epochs=20))

"""A training in MLflow: the losses and the validation of each evaluation, and each checkpoint as an artifact.

python examples/mlflow_callbacks.py
"""

import mlflow

import jaxrec


def log_row(row: dict) -> None:
    """`on_evaluate`: "hr@10" is logged as "valid/hr_at_10", since MLflow's names have no @."""
    metrics = {"train/loss": row["loss"], "train/gradient_norm": row["norm"]}
    metrics |= {f"valid/{name.replace('@', '_at_')}": value for name, value in row.get("valid", {}).items()}
    mlflow.log_metrics(metrics, step=row["step"])


def log_checkpoint(step: int, folder) -> None:
    """`on_checkpoint`."""
    mlflow.log_artifacts(str(folder), artifact_path=f"checkpoints/{step}")


def main(data="ml-100k", **keys):
    """Train within a run of MLflow. -> Recommender"""
    with mlflow.start_run():
        mlflow.log_params({key: str(value) for key, value in keys.items()})
        return jaxrec.fit(data, on_evaluate=log_row, on_checkpoint=log_checkpoint, **keys)


if __name__ == "__main__":
    print(main(epochs=20))

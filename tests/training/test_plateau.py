"""Laws of a learning rate that is lowered when validation does not improve."""

import dataclasses

import jax
import numpy as np
import pytest
from trainings import Killed, assert_same, killed_at, outcome, run

from jaxrec.config import parsing as configs
from jaxrec.system.errors import UserError
from jaxrec.training import metric_writer
from jaxrec.training.steps import optim
from jaxrec.training.workdirs import checkpoint

OPTIM = {"name": "adam", "learning_rate": 1e-2, "schedule": "plateau", "plateau": 2, "plateau_factor": 0.1}
CHANGES = {"epochs": 4, "eval_every": 0.5, "save_every": 1, "optim": OPTIM}


@pytest.mark.slow
def test_the_rate_falls_at_every_so_many_evaluations_without_a_better_one_and_killed_it_resumes(
    prepare, tmp_path, monkeypatch
):
    setup, _ = prepare(**CHANGES)
    scores = iter([0.1, 0.3, 0.2, 0.3, 0.2, 0.1, 0.4, 0.1])
    by_params = {}

    def validate(params):  # a resumed training gets the same score for the same params
        key = np.asarray(params["items"]).tobytes()
        if key not in by_params:
            by_params[key] = next(scores)
        return dict.fromkeys(("hr@10", "ndcg@10", "mrr"), by_params[key])

    prepared, whole, killed = (setup, validate), tmp_path / "whole", tmp_path / "killed"
    run(prepared, whole)
    rows = metric_writer.read_rows(whole / "metrics.jsonl")
    wanted = [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]
    np.testing.assert_allclose([row["rate"] for row in rows], 1e-2 * np.array(wanted), rtol=1e-5)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "save", killed_at(5, checkpoint.Checkpoints.save))
        with pytest.raises(Killed):  # the previous checkpoint has the rate that was just lowered
            run(prepared, killed)
    run(prepared, killed)
    assert_same(outcome(prepared, killed), outcome(prepared, whole))


def test_a_factor_is_another_rate():
    params = {"a": np.arange(4.0, dtype=np.float32)}
    made = [
        optim.optimiser(configs.OptimConfig(**OPTIM | {"learning_rate": rate, "clip": 1.0}), 9) for rate in (1, 0.1)
    ]
    states = [jax.jit(each.init)(params) for each in made]
    states[0] = optim.lower(configs.OptimConfig(**OPTIM), states[0], 4)
    assert [optim.rate_factor(state) for state in states] == pytest.approx([0.1, 1])
    one, other = (each.update(params, state, params)[0]["a"] for each, state in zip(made, states, strict=True))
    np.testing.assert_allclose(one, other, rtol=1e-6)
    assert optim.lower(configs.OptimConfig(**OPTIM), states[0], 3) is states[0]


def test_a_rate_that_could_never_fall_is_refused(prepare):
    values = configs.to_dict(dataclasses.replace(prepare()[0].config, patience=2)) | {"optim": OPTIM}
    with pytest.raises(UserError, match=r"config\.patience 2 ends the training before config\.optim\.plateau 2"):
        configs.from_dict(values)
    assert configs.from_dict(values | {"patience": 3}).optim.plateau == 2

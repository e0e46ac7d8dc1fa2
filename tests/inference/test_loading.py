"""A workdir is loaded for the device that answers, whichever device trained it."""

from dataclasses import replace

import numpy as np
import recommenders
from workdirs import write_workdir

from jaxrec.inference import loading
from jaxrec.kernels.hardware import Hardware, assumed


def test_a_cpu_answers_in_float32_whatever_a_training_was_computed_in(tmp_path):
    log = tmp_path / "log.csv"
    random = np.random.default_rng(0)
    rows = [f"u{user},i{item},{at}" for user in range(20) for at, item in enumerate(random.integers(0, 30, 6))]
    log.write_text("\n".join(["user,item,timestamp", *rows]))
    for precision in ("float32", "bfloat16"):
        write_workdir(tmp_path / precision, log, precision=precision)
    whole, rounded = (loading.load(tmp_path / precision) for precision in ("float32", "bfloat16"))
    assert rounded.config == whole.config
    assert list(rounded.recommend(["i1", "i2"], 5)) == list(whole.recommend(["i1", "i2"], 5))


def test_an_accelerator_answers_in_the_precision_of_the_training():
    config = replace(recommenders.config("sasrec"), precision="bfloat16")
    with assumed(Hardware("gpu")):
        assert loading.answering(config) == config

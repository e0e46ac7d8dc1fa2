"""An exported file runs without the package, and answers as the engine does."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
import recommenders

from jaxrec import cli
from jaxrec.inference import export
from jaxrec.inference.queries import Query
from jaxrec.system.errors import UserError


def answers(run, recommender, histories, k, length):
    """External ids recommended by the file's program, without those of the histories."""
    ids = recommender.catalogue.ids.tolist()
    shown, allowed = np.zeros((len(histories), length), np.int32), np.ones((len(histories), len(ids)), bool)
    for row, history in enumerate(histories):
        numbers = [ids.index(id) + 1 for id in history]
        allowed[row, np.array(numbers) - 1] = False
        shown[row, : len(numbers[-length:])] = numbers[-length:]
    items, scores = map(np.asarray, run(shown, allowed))
    return [[(ids[v - 1], s) for v, s in zip(*row, strict=True) if v] for row in zip(items, scores, strict=True)]


QUICK = {("gru4rec", "stablehlo"), ("caser", "onnx")}


@pytest.mark.parametrize(
    ("name", "format"),
    [
        pytest.param(name, format, marks=() if (name, format) in QUICK else pytest.mark.slow)
        for name in recommenders.MODELS
        for format in export.FORMATS
    ],
)
def test_the_file_answers_as_the_engine(name, format, tmp_path, capsys):
    rec, file = recommenders.recommender(name), tmp_path / "model"
    if format == "onnx":
        pytest.importorskip("jax2onnx")
        session = pytest.importorskip("onnxruntime").InferenceSession
    try:
        export.export(rec, format, file, k=12, histories=130)
    except UserError as error:
        if format == "onnx" and jax.__version_info__ >= (0, 12):  # no jax2onnx supports it yet
            pytest.skip(str(error))
        raise
    assert "130 random histories get the engine's answers" in capsys.readouterr().out
    about = json.loads((tmp_path / "model.json").read_text())
    assert about["ids"] == rec.catalogue.ids.tolist() and about["k"] == 12 and about["step"] == 7
    if format == "onnx":
        session = session(file)
        run = lambda history, allowed: session.run(["items", "scores"], {"history": history, "allowed": allowed})
    else:
        run = jax.export.deserialize(bytearray(file.read_bytes())).call
    histories = [[f"i{v}" for v in range(n)] for n in (1, 5, about["length"], 55)]
    wanted = rec.answer([Query(history, 12) for history in histories])
    for got, want in zip(answers(run, rec, histories, 12, about["length"]), wanted, strict=True):
        assert [id for id, _ in got] == [id for id, _ in want]
        np.testing.assert_allclose([s for _, s in got], [s for _, s in want], atol=1e-5)


def test_a_file_that_answers_otherwise_is_not_written(tmp_path, monkeypatch):
    rec = recommenders.recommender("caser")
    wrong = lambda content: lambda *args: (lambda items, scores: (items, scores + 0.1))(*right(content)(*args))
    right = export.from_stablehlo
    monkeypatch.setitem(export.FORMATS, "stablehlo", (export.to_stablehlo, wrong))
    with pytest.raises(UserError, match="stablehlo of caser: a score differs"):
        export.export(rec, "stablehlo", tmp_path / "model", k=60, histories=4)  # k is the number of items
    assert not (tmp_path / "model").exists()


def test_mistakes_are_messages(tmp_path, capsys):
    assert cli.main(["export", "--workdir", str(tmp_path), "--format", "onnx", "--output", str(tmp_path / "m")]) == 2
    assert "is not a workdir" in capsys.readouterr().err
    rounded = recommenders.recommender("caser")
    rounded.config = replace(rounded.config, precision="bfloat16")
    with pytest.raises(UserError, match=r"config.precision is bfloat16, .* set JAX_PLATFORMS=cpu"):
        export.export(rounded, "onnx", tmp_path / "m")
    with pytest.raises(UserError, match="--k 61: between 1 and the 60 items"):
        export.export(recommenders.recommender("sasrec"), "stablehlo", tmp_path / "m", k=61)

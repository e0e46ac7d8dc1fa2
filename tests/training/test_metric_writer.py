"""The outputs of a training: rows cut to the step, events, a plot."""

import io
import json

import pytest
from rich.console import Console

from jaxrec.training import metric_writer, tensorboard

ROWS = [
    {"step": s, "epoch": s / 2, "loss": 1.0 / s, "norm": 0.1, "valid": {"hr@10": 0.1 * s, "ndcg@10": 0.05 * s}}
    for s in (2, 4, 6)
]


@pytest.mark.parametrize("step", [0, 2, 3, 6, 9])
@pytest.mark.parametrize("tail", ["", '{"step": 8, "lo'])
def test_metrics_are_cut_to_the_step(tmp_path, step, tail):
    """Rows after the restored step, and a last row that was written incompletely, are removed."""
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS) + tail)
    logger = metric_writer.MetricWriter(tmp_path, step, 10, 0.0, Console(file=io.StringIO()))
    logger.row({"step": step + 1, "epoch": 5.0, "loss": 0.5, "norm": 0.1})
    logger.close()
    kept = [row for row in ROWS if row["step"] <= step]
    assert (
        metric_writer.read_rows(path)
        == [*kept, {"step": step + 1, "epoch": 5.0, "loss": 0.5, "norm": 0.1}]
        == logger.rows
    )
    assert list((tmp_path / "tensorboard").iterdir())


def test_events_of_a_training_that_goes_on_within_a_second_are_beside_the_earlier_ones(tmp_path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.5)
    kept = {}
    for step in range(12):
        events = tensorboard.Events(tmp_path, step)
        events.add({"loss": 1.0}, step + 1)
        events.close()
        names = sorted(path.name for path in tmp_path.iterdir())
        assert len(names) == step + 1 and all((tmp_path / name).read_bytes() == kept[name] for name in kept)
        assert sorted(kept) == names[:-1], "TensorBoard reads them by their names, the latest last"
        kept = {name: (tmp_path / name).read_bytes() for name in names}


OF_NO_ROW = [
    *(b"\x00\xff", b"{", b"[1]", b'{"step": "2"}', b'{"loss": 1}', b"[" * 10_000, b'{"step": 2}'),
    *(b'{"step": 2, "epoch": 1, "loss": 1, "valid": 3}', b'{"step": 2, "epoch": 1, "loss": 1, "valid": {"mrr": "x"}}'),
]


@pytest.mark.parametrize("line", OF_NO_ROW)
def test_rows_beside_a_damaged_one_are_kept_and_so_is_the_file(tmp_path, line, caplog):
    path = tmp_path / "metrics.jsonl"
    content = b"\n".join([json.dumps(ROWS[0]).encode(), line, *(json.dumps(row).encode() for row in ROWS[1:]), b""])
    path.write_bytes(content)
    logger = metric_writer.MetricWriter(tmp_path, 9, 10, 0.0, Console(file=io.StringIO()))
    logger.close()
    assert metric_writer.read_rows(path) == ROWS and (tmp_path / "metrics.jsonl.damaged").read_bytes() == content
    assert "metrics.jsonl is damaged: a copy is kept as metrics.jsonl.damaged" in caplog.text


def test_the_copy_of_a_damaged_file_stays_as_the_training_goes_on(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    for damage, names in ((b"{", {""}), (b"", {""}), (b"[", {"", "-2"}), (b"", {"", "-2"})):
        lines = [json.dumps(row).encode() for row in ROWS]
        content = path.read_bytes() + damage + b"\n" if path.exists() else b"\n".join([damage, *lines[1:], b""])
        path.write_bytes(content if damage else path.read_bytes())
        metric_writer.MetricWriter(tmp_path, 9, 10, 0.0, Console(file=io.StringIO()), "that of all rows").close()
        kept = {each.name.partition(".damaged")[2] for each in tmp_path.glob("metrics.jsonl.damaged*")}
        assert kept == names and (tmp_path / "metrics.jsonl.damaged").read_bytes().startswith(b"{\n")
    assert "lacks rows since it was damaged: a copy is kept as metrics.jsonl.damaged-2" in caplog.text


@pytest.mark.parametrize("change", ["nothing", "a number", "a row", "all"])
def test_rows_that_are_not_those_of_the_checkpoint_are_named(tmp_path, change, caplog):
    path = tmp_path / "metrics.jsonl"
    logger = metric_writer.MetricWriter(tmp_path, 0, 10, 0.0, Console(file=io.StringIO()))
    for row in ROWS[:2]:
        logger.row(row)
    known = logger.checksum()
    logger.row(ROWS[2])
    logger.close()
    text = path.read_text()
    path.write_text(text.replace("0.5", "0.7", 1) if change == "a number" else text)
    if change == "a row":
        path.write_text(text.partition("\n")[2])
    if change == "all":
        path.unlink()
    metric_writer.MetricWriter(tmp_path, 4, 10, 0.0, Console(file=io.StringIO()), known).close()
    assert ("metrics.jsonl is " in caplog.text) == (change != "nothing")
    assert (tmp_path / "metrics.jsonl.damaged").exists() == (change in ("a number", "a row"))


def test_progress_is_told_in_lines_where_no_one_looks(tmp_path, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(metric_writer, "QUIET_SECONDS", 0)
    logger = metric_writer.MetricWriter(tmp_path, 10, 20, 60.0, Console(file=out))
    logger.best = "best ndcg@10 0.1000 at epoch 1"
    logger.progress(15, 0.25, 1000)
    logger.close()
    line = out.getvalue()
    assert "15/20" in line and "0.2500" in line and "targets/s" in line and "left" in line and "best ndcg@10" in line
    assert logger.seconds() >= 60


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01")])
def test_clock(seconds, text):
    assert metric_writer.clock(seconds) == text


@pytest.mark.parametrize("title", ["title", "$x^$ _ \\frac 🙂 שלום \udcff"])
@pytest.mark.parametrize("rows", [ROWS, [{"step": 1, "epoch": 1.0, "loss": 1.0, "norm": 1.0}]])
def test_the_plot_is_a_picture(tmp_path, rows, title):
    metric_writer.plot(rows, tmp_path / "curves.png", title)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG") and len(list(tmp_path.iterdir())) == 1

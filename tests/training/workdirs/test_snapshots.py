"""Laws of jaxrec.training.workdirs.snapshots: which files of a workdir are sent, and in which order."""

import os
import random

import pytest

from jaxrec.training.workdirs import snapshots

NAMES = [
    "catalogue.parquet",
    "users.parquet",
    "config.json",
    "metrics.jsonl",
    "checkpoints/90/_CHECKPOINT_METADATA",
    "checkpoints/90/params/a",
    "checkpoints/90/checksums.json",
    "checkpoints/120/loop/metadata",
    "checkpoints/120/params/checksums.json",
    "checkpoints/120/checksums.json",
    "checkpoints/60.damaged/checksums.json",
    "curves.png",
    "done.json",
    "tensorboard/events.1",
]
NOT_SENT = [".lock", "checkpoints/150.orbax-checkpoint-tmp-1/params/a", ".jaxrec-12.tmp", "base/.lock"]


def write(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def test_what_is_needed_comes_first_and_a_seal_after_its_files():
    shuffled = random.Random(0).sample(NAMES, len(NAMES))
    assert sorted(shuffled, key=snapshots.rank) == NAMES


def test_a_checkpoint_is_whole_with_its_seal_alone():
    assert snapshots.unsealed(NAMES) == set()
    assert snapshots.unsealed([name for name in NAMES if name != "checkpoints/120/checksums.json"]) == {
        "checkpoints/120"
    }
    assert not snapshots.is_seal("checkpoints/120/params/checksums.json")


def test_a_snapshot_has_what_the_folder_has_but_what_is_not_finished(tmp_path):
    write(tmp_path / "run", [*NAMES, *NOT_SENT, "checkpoints/7/params/a"])
    with snapshots.taken(tmp_path / "run", tmp_path / "sending") as found:
        assert sorted(found) == sorted(NAMES)
        assert all(each.path.read_text() == name for name, each in found.items())
        signatures = snapshots.signatures(tmp_path / "run")
        assert {name: each.signature for name, each in found.items()}.items() <= signatures.items()
        params = tmp_path / "run" / "checkpoints/90/params/a"
        assert os.path.samefile(found["checkpoints/90/params/a"].path, params)
        assert not os.path.samefile(found["metrics.jsonl"].path, tmp_path / "run" / "metrics.jsonl")
        params.unlink()  # by the training, while it is sent
        assert found["checkpoints/90/params/a"].path.read_text() == "checkpoints/90/params/a"
    assert not (tmp_path / "sending").exists()


def test_a_disk_without_links_has_copies(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    write(tmp_path / "run", NAMES)
    with snapshots.taken(tmp_path / "run", tmp_path / "sending") as found:
        assert all(each.path.read_text() == name for name, each in found.items())


@pytest.mark.parametrize("gone", ["checkpoints/90/params/a", "done.json"])
def test_what_vanishes_meanwhile_is_not_half_there(tmp_path, monkeypatch, gone):
    write(tmp_path / "run", NAMES)
    take, folder = snapshots._take, gone.rpartition("/")[0]

    def vanishing(source, place, name):
        if name == gone:
            for each in [each for each in NAMES if each == gone or (folder and each.startswith("checkpoints/90/"))]:
                (source / each).unlink(missing_ok=True)
        return take(source, place, name)

    monkeypatch.setattr(snapshots, "_take", vanishing)
    with snapshots.taken(tmp_path / "run", tmp_path / "sending") as found:
        lost = {name for name in NAMES if name == gone or (folder and name.startswith("checkpoints/90/"))}
        assert found.keys() == set(NAMES) - lost


def test_while_it_trains_on_the_metrics_are_no_older_than_the_checkpoints_nor_these_than_the_results(
    tmp_path, monkeypatch
):
    """A checkpoint that has recorded more rows than there are can't be resumed."""
    write(tmp_path / "run", NAMES)
    take, taken = snapshots._take, []

    def training(source, place, name):
        taken.append(name)
        (source / "metrics.jsonl").write_text("\n".join(taken))  # a row more
        return take(source, place, name)

    monkeypatch.setattr(snapshots, "_take", training)
    with snapshots.taken(tmp_path / "run", tmp_path / "sending") as found:
        rows = found["metrics.jsonl"].path.read_text().split("\n")
    assert {name for name in NAMES if name.startswith("checkpoints/")} <= {*rows}
    assert taken.index("done.json") < taken.index("checkpoints/90/params/a")

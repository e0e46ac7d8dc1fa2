"""Orbax behind save, restore, best and latest; what comes back is what was saved, or is known to be damaged."""

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from jaxrec.system import checksums
from jaxrec.system.console import printable
from jaxrec.system.errors import UserError
from jaxrec.system.files import plain
from jaxrec.training import leaves, seals
from jaxrec.training.managers import ITEMS, QUIET, first_line, ocp, reader, writer, writing
from jaxrec.training.step import State

NO_DAMAGE = ("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAVAILABLE")  # tensorstore's words
EARLIER = {"stale": "evals_without_improvement"}  # keys of a loop's state in checkpoints of earlier versions
log = logging.getLogger("jaxrec")


class Damaged(UserError):
    """A checkpoint whose files are not as they were saved."""


class Checkpoints:
    """The checkpoints of a workdir: the latest, and the best by validation, each with the state of the loop.

    A save that is killed leaves a temporary folder, which counts for nothing and is removed by the next training. So
    does what else lies among the checkpoints. One that is damaged is named, and left out; a training renames it.
    """

    def __init__(self, workdir: Path, read_only: bool = False):
        """
        Args:
            workdir: Path.
            read_only: for evaluation; nothing is created, removed or renamed.

        Raises:
            UserError: there are none to read, or none that is whole to go on from.
        """
        self._folder = workdir / "checkpoints"
        if read_only and not self._folder.is_dir():
            raise UserError(f"{workdir} holds no checkpoints: train into it first, or name another workdir")
        with contextlib.ExitStack() as opened:
            opened.enter_context(QUIET)
            if not read_only:
                with writing(self._folder):
                    self._folder.mkdir(parents=True, exist_ok=True)
            place = opened.enter_context(plain(self._folder))
            self._manager = reader(place)
            opened.callback(lambda: self._manager.close())
            self._known = self._read_all()
            if not read_only:
                self._clear()
                self._manager.close()
                self._manager = writer(place, self._seal)
            self._opened = opened.pop_all()

    def latest(self) -> int | None:
        """The step of the newest checkpoint, or None."""
        return max(self._whole(), default=None)

    def best(self) -> int | None:
        """The step with the best validation score, the earlier of equals; the latest where none was evaluated."""
        return next(iter(self._best_first()), None)

    def choose(self, name: str | int) -> int:
        """The step meant by "best", "latest" or a number.

        Raises:
            UserError: there is none; the message lists those there are.
        """
        return self._candidates(name)[0]

    def take(self, name: str | int, restore: Callable[[int], Any]) -> tuple[Any, int, dict[int, Damaged]]:
        """The first that is whole of the checkpoints meant by "best", "latest" or a number.

        Args:
            restore: (step) -> what is wanted of it.

        Returns:
            (what `restore` gave, its step, {step: Damaged} of those that would have come before it).

        Raises:
            UserError: there is none, or none that is whole.
        """
        damaged = {}
        for step in self._candidates(name):
            try:
                return restore(step), step, damaged
            except Damaged as error:
                if name not in ("best", "latest"):
                    raise
                damaged[step] = error
        raise self._none_is_whole(damaged)

    def save(self, step: int, state: State, loop: dict, score: float | None = None, rows: str | None = None) -> None:
        """Save in the background; an error of the last save is raised here.

        Args:
            step: int.
            state: State.
            loop: the loop's own state, JSON.
            score: of the validation, if it was evaluated here.
            rows: the checksum of metrics.jsonl at this step.

        Raises:
            RuntimeError: a later checkpoint is there: the loop has gone back.
            UserError: the last one could not be written.
        """
        params, rest = state.to_save()
        record = {"score": score, "rows": rows, "arrays": leaves.described(leaves.sealed, params=params, rest=rest)}
        record["self"] = checksums.of_json([loop, record])
        args = ocp.args.Composite(
            params=ocp.args.StandardSave(params),
            rest=ocp.args.StandardSave(rest),
            loop=ocp.args.JsonSave({"loop": loop, "record": record}),
        )
        metrics = None if score is None else {"score": score, "step": step}
        with writing(self._folder):
            self._manager.wait_until_finished()
            self._saving = step
            saved = self._manager.save(step, args=args, metrics=metrics)
        if not saved:
            raise RuntimeError(f"{self._folder}: checkpoint {step} was not saved: a later one is there")
        self._known[step] = loop, record

    def restore(self, step: int, abstract: State) -> tuple[State, dict]:
        """The State and the loop's state at a step. abstract: a State of shapes and shardings.

        Raises:
            Damaged: it is not what was saved. UserError: it is of another form, or can't be read.
        """
        params, rest = abstract.to_save()
        got = self._arrays(step, params=params, rest=rest)
        return State.saved(got["params"], got["rest"]), self.loop(step)

    def restore_params(self, step: int, abstract: Any) -> Any:
        """The params at a step that are evaluated and served, and nothing else of the State.

        Args:
            abstract: a tree of shapes and shardings.

        Raises:
            Damaged: they are not what was saved. UserError: they are of another form, or can't be read.
        """
        return self._arrays(step, params=abstract)["params"]

    def loop(self, step: int) -> dict:
        """The loop's state at a step, its keys by their names of now."""
        return {EARLIER.get(key, key): value for key, value in self._sound(step)[0].items()}

    def rows(self, step: int) -> str | None:
        """The checksum of metrics.jsonl at a step; None where none was kept."""
        return self._sound(step)[1].get("rows")

    def set_aside(self, step: int, why: object) -> None:
        """Rename what is no whole checkpoint, so that it counts for nothing, and say so. Nothing is deleted."""
        folder = self._folder / str(step)
        names = [f"{step}.damaged", *(f"{step}.damaged-{n}" for n in range(2, 100))]
        aside = next(path for path in map(self._folder.joinpath, names) if not os.path.lexists(path))
        with writing(self._folder):
            folder.rename(aside)
        self._known.pop(step, None)
        self._manager.reload()
        log.warning("%s", printable(f"{why}: set aside as {aside.name}"))

    def wait(self) -> None:
        """Wait for a save in the background; raises its error."""
        with writing(self._folder):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait, and free what Orbax holds; raises the error of a save."""
        with writing(self._folder):
            self._opened.close()

    def _read_all(self):
        """{step: (loop, record), or why it can't be read} of all that has a checkpoint's name and something of one."""
        found = [path for path in self._folder.iterdir() if _is_step(path.name) and not _is_foreign(path)]
        known = {int(path.name): self._read(int(path.name)) for path in sorted(found)}
        gone = [path for path in found if not path.exists()]  # removed by a training meanwhile
        return {step: each for step, each in known.items() if self._folder / str(step) not in gone}

    def _read(self, step) -> tuple[dict, dict] | UserError:
        try:
            is_sealed = self._check_files(step, lambda name: name.split("/")[0] not in ("params", "rest"))
            kept, metrics = self._parse(step)
        except Exception as error:  # whatever Orbax and its readers make of a damaged file
            return error if isinstance(error, UserError) else self._why(step, error)
        score = metrics and metrics["score"]
        if not is_sealed and isinstance(kept.get("step"), int):  # saved by an earlier version
            return kept, {"score": score}
        if not is_sealed:
            return self._damaged(step, f"{seals.NAME} is gone")
        loop: Any = kept.get("loop")
        record = kept.get("record")
        if not isinstance(record, dict) or record.pop("self", None) != checksums.of_json([loop, record]):
            return self._damaged(step, "the state of the loop is not what was saved")
        if loop.get("step", step) != step:
            return self._damaged(step, f"it is a copy of step {loop['step']}")
        if record["score"] != score:
            return self._damaged(step, "the score of its validation is not what was saved")
        return loop, record

    def _check_files(self, step, which):
        """Compare the files of a checkpoint, whose names `which` admits, with their checksums. -> whether it has any

        Raises:
            Damaged: one is gone or changed.
        """
        wrong = seals.broken(self._folder / str(step), which)
        if wrong:
            raise self._damaged(step, wrong)
        return wrong is not None

    def _seal(self):
        """Write the checksums of the files of the checkpoint that is being saved."""
        mark = f"{self._saving}.orbax-checkpoint-tmp"
        folder = next(path for path in self._folder.iterdir() if path.name.startswith(mark))
        seals.write(folder)

    def _parse(self, step) -> tuple[dict, Any]:
        kept = self._manager.restore(step, args=ocp.args.Composite(loop=ocp.args.JsonRestore()))["loop"]
        metrics = self._manager.metrics(step)
        if not isinstance(kept, dict) or not (metrics is None or isinstance(metrics["score"], float | int)):
            raise ValueError("no state of a loop")
        return kept, metrics

    def _arrays(self, step, **abstract):
        """{item: tree} of arrays, compared with what was saved. abstract: {item: tree of shapes}."""
        saved = self._sound(step)[1].get("arrays")
        if saved is not None:
            self._check_form(step, saved, abstract)
        args = {item: ocp.args.StandardRestore(tree) for item, tree in abstract.items()}
        self._check_files(step, lambda name: name.split("/")[0] in abstract)
        try:
            got = self._manager.restore(step, args=ocp.args.Composite(**args))
        except MemoryError:
            raise
        except Exception as error:  # as in _read
            raise (self._why(step, error) if saved else self._of_earlier(step, error)) from error
        got = {item: got[item] for item in abstract}
        if saved:
            for name, (*_, checksum) in leaves.described(leaves.sealed, **got).items():
                if checksum != saved[name][-1]:
                    raise self._damaged(step, f"{name} is not what was saved")
        return got

    def _check_form(self, step, saved, abstract):
        wanted, what = leaves.described(leaves.form, **abstract), "state" if "rest" in abstract else "model"
        saved = {name: value[:2] for name, value in saved.items() if name.split("/")[0] in {*_items(wanted)}}
        if saved != wanted:
            differ = sorted(name for name in saved.keys() | wanted if saved.get(name) != wanted.get(name))
            raise UserError(
                f"{self._folder}: the {what} in checkpoint {step} can't be read: it was saved in another form "
                f"({', '.join(differ[:3])}{', ...' if differ[3:] else ''}). Go on with the version of jaxrec that "
                "began this training, or train into a new workdir; evaluation needs the parameters alone"
            )

    def _sound(self, step) -> tuple[dict, dict]:
        if step not in self._known:
            raise self._damaged(step, "it is gone")
        if isinstance(known := self._known[step], UserError):
            raise known
        return known

    def _whole(self):
        there = set(self._manager.all_steps())  # those that newer ones have replaced are not
        return {step: known for step, known in self._known.items() if step in there and isinstance(known, tuple)}

    def _best_first(self):
        scores = {step: record["score"] for step, (_, record) in self._whole().items()}
        scored = sorted((step for step in scores if scores[step] is not None), key=lambda step: (-scores[step], step))
        return scored + sorted(scores.keys() - scored, reverse=True)

    def _candidates(self, name):
        whole, bad = self._whole(), {s: known for s, known in self._known.items() if isinstance(known, UserError)}
        steps = {str(step): step for step in sorted(self._known)}
        if steps.get(name) in bad:
            raise bad[steps[name]]
        for error in bad.values():
            if not isinstance(error, Damaged):
                raise error
        if not whole:
            none = UserError(f"{self._folder} holds no finished checkpoint: train first")
            raise self._none_is_whole(bad) if bad else none
        if name in ("best", "latest"):
            for error in bad.values():
                log.warning("%s", printable(f"{error}: it is left out"))
            return self._best_first() if name == "best" else sorted(whole, reverse=True)
        if steps.get(name) not in whole:
            there = ", ".join(map(str, sorted(whole)))
            raise UserError(f"{self._folder} has no checkpoint {name!r}: there are best, latest, {there}")
        return [steps[name]]

    def _clear(self):
        """Set aside what has a checkpoint's name and is none that is whole, where one is left that is."""
        bad = {step: known for step, known in self._known.items() if isinstance(known, UserError)}
        for error in bad.values():
            if not isinstance(error, Damaged):
                raise error
        if bad and len(bad) == len(self._known):
            raise self._none_is_whole(bad)
        for path in [path for path in self._folder.iterdir() if _is_step(path.name) and _is_foreign(path)]:
            self.set_aside(int(path.name), f"{path}: no checkpoint, but with the name of one")
        for step, error in bad.items():
            self.set_aside(step, error)

    def _why(self, step, error):
        said = first_line(error)
        if isinstance(error, PermissionError) or any(word in str(error) for word in NO_DAMAGE):
            return UserError(f"{self._folder / str(step)}: can't be read: {said}")
        return self._damaged(step, said)

    def _of_earlier(self, step, error):
        return UserError(
            f"{self._folder}: the state in checkpoint {step} can't be read: another version of jaxrec saved it in "
            "another form, or its files are damaged. Go on with the version that began this training, or train into a "
            f"new workdir; evaluation needs the parameters alone. ({first_line(error)})"
        )

    def _damaged(self, step, what):
        return Damaged(f"{self._folder / str(step)}: a damaged checkpoint ({what})")

    def _none_is_whole(self, damaged):
        whys = "; ".join(map(str, damaged.values()))
        return Damaged(f"{whys}; no other is left: put back a copy of {self._folder}, or train into a new workdir")


def abstract(tree: Any, sharding: Any) -> Any:
    """The shapes of a tree of arrays, to be restored with this sharding."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def _items(paths):
    return (path.split("/")[0] for path in paths)


def _is_step(name):
    return name.isascii() and name.isdecimal() and str(int(name)) == name


def _is_foreign(path):
    """Whether there is nothing of a checkpoint in what has the name of one."""
    return not any((path / name).exists() for name in (*ITEMS, "metrics", "_CHECKPOINT_METADATA"))

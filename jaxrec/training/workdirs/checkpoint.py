"""Saves and restores checkpoints with Orbax, and detects damaged ones by checksums."""

import contextlib
import logging
import os
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax

from jaxrec.system import checksums
from jaxrec.system.console import printable
from jaxrec.system.errors import UserError
from jaxrec.system.files import plain
from jaxrec.training.steps.step import State
from jaxrec.training.workdirs import leaves, managers, seals
from jaxrec.training.workdirs.managers import first_line, is_foreign, is_step, orbax, writing

NO_DAMAGE = ("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAVAILABLE")  # tensorstore's names of other errors
EARLIER = {"stale": "evals_without_improvement"}  # keys of a loop's state in checkpoints of earlier versions
log = logging.getLogger("jaxrec")


class Damaged(UserError):
    """A checkpoint whose files differ from what was saved."""


class Checkpoints:
    """The checkpoints of a workdir: the latest, and the best by validation, each with the state of the loop.

    Unfinished saves, which the next training removes, and foreign files are ignored. Damaged checkpoints are skipped
    with a warning; a training renames them.
    """

    def __init__(self, workdir: Path, read_only: bool = False):
        """
        Args:
            workdir: Path of the workdir.
            read_only: whether nothing may be created, removed or renamed, as for an evaluation.

        Raises:
            UserError: there are no checkpoints to read, or all of them are damaged.
        """
        self._folder = workdir / "checkpoints"
        if read_only and not self._folder.is_dir():
            raise UserError(f"{workdir} holds no checkpoints: train into it first, or name another workdir")
        with contextlib.ExitStack() as opened:
            opened.enter_context(managers.QUIET)
            if not read_only:
                with writing(self._folder):
                    self._folder.mkdir(parents=True, exist_ok=True)
            place = opened.enter_context(plain(self._folder))
            self._open = partial(managers.reader, place)
            opened.callback(self._close)
            self._known = self._read_all()
            if not read_only:
                self._clear()
                self._close()
                self._open = partial(managers.writer, place, self._seal)
                if any(self._folder.iterdir()):  # maybe an unfinished save, which this removes
                    self._manager.all_steps()
            self._opened = opened.pop_all()

    @cached_property
    def _manager(self) -> Any:
        """Orbax's manager; a new training has none before its first save, since importing Orbax takes half a second."""
        return self._open()

    def _close(self):
        if "_manager" in vars(self):
            self._manager.close()
            del self._manager

    def latest(self) -> int | None:
        """Returns the step of the newest checkpoint, or None."""
        return max(self._whole(), default=None)

    def best(self) -> int | None:
        """Returns the step with the best validation score, the earliest if tied; the latest if none was evaluated."""
        return next(iter(self._best_first()), None)

    def contents(self) -> dict[int, str]:
        """Returns {step: a checksum of its contents} of the intact checkpoints; it differs from another training's."""
        return {step: checksums.of_json(list(known)) for step, known in self._whole().items()}

    def choose(self, name: str | int) -> int:
        """Returns the step of "best", "latest" or a number.

        Raises:
            UserError: there is no such checkpoint; the message lists the existing ones.
        """
        return self._candidates(name)[0]

    def take(self, name: str | int, restore: Callable[[int], Any]) -> tuple[Any, int, dict[int, Damaged]]:
        """Restores the checkpoint of "best", "latest" or a number; for a name, the next one if it is damaged.

        Args:
            name: "best", "latest" or a step.
            restore: (step) -> the restored values.

        Returns:
            The result of `restore`, its step, and {step: Damaged} of the damaged checkpoints that were tried before.

        Raises:
            UserError: there is no such checkpoint, or it is damaged and so are all others.
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
        """Starts to save in the background.

        Args:
            step: the step.
            state: State.
            loop: the state of the loop, as JSON.
            score: the validation score, if this step was evaluated.
            rows: the checksum of metrics.jsonl at this step.

        Raises:
            RuntimeError: a later checkpoint exists.
            UserError: the last checkpoint could not be written.
        """
        params, rest = jax.tree.map(leaves.one_copy, state.to_save())  # Orbax would slice several, by many programs
        record = {"score": score, "rows": rows, "arrays": leaves.described(leaves.sealed, params=params, rest=rest)}
        record["self"] = checksums.of_json([loop, record])
        forms = orbax().args
        args = forms.Composite(
            params=forms.StandardSave(params),
            rest=forms.StandardSave(rest),
            loop=forms.JsonSave({"loop": loop, "record": record}),
        )
        metrics = None if score is None else {"score": score, "step": step}
        with writing(self._folder):
            self._manager.wait_until_finished()
            self._saving = step
            saved = managers.begin_save(self._manager, step, args, metrics)
        if not saved:
            raise RuntimeError(f"{self._folder}: checkpoint {step} was not saved: a later one is there")
        self._known[step] = loop, record

    def restore(self, step: int, abstract: State) -> tuple[State, dict]:
        """Restores the State and the loop's state at a step. `abstract` is a State of shapes and shardings.

        Raises:
            Damaged: the files differ from what was saved.
            UserError: the shapes don't match, or the files can't be read.
        """
        params, rest = abstract.to_save()
        got = self._arrays(step, params=params, rest=rest)
        return State.saved(got["params"], got["rest"]), self.loop(step)

    def restore_params(self, step: int, abstract: Any) -> Any:
        """Restores the params for evaluation and serving at a step. `abstract` is a tree of shapes and shardings.

        Raises:
            Damaged: the files differ from what was saved.
            UserError: the shapes don't match, or the files can't be read.
        """
        return self._arrays(step, params=abstract)["params"]

    def loop(self, step: int) -> dict:
        """Returns the loop's state at a step; keys of earlier versions get their present names."""
        return {EARLIER.get(key, key): value for key, value in self._sound(step)[0].items()}

    def rows(self, step: int) -> str | None:
        """Returns the checksum of metrics.jsonl at a step; None if none was stored."""
        return self._sound(step)[1].get("rows")

    def set_aside(self, step: int, why: object) -> None:
        """Renames a damaged checkpoint, so that it is ignored, and logs a warning. Nothing is deleted."""
        folder = self._folder / str(step)
        names = [f"{step}.damaged", *(f"{step}.damaged-{n}" for n in range(2, 100))]
        aside = next(path for path in map(self._folder.joinpath, names) if not os.path.lexists(path))
        with writing(self._folder):
            folder.rename(aside)
        self._known.pop(step, None)
        self._manager.reload()
        log.warning("%s", printable(f"{why}: set aside as {aside.name}"))

    def wait(self) -> None:
        """Waits for a save in the background, and raises its error."""
        with writing(self._folder):
            if "_manager" in vars(self):
                self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for a save in the background, raises its error, and releases Orbax's resources."""
        with writing(self._folder):
            self._opened.close()

    def _read_all(self):
        """{step: (loop, record), or the error in reading it} of all folders that look like checkpoints."""
        found = [path for path in self._folder.iterdir() if is_step(path.name) and not is_foreign(path)]
        if found:
            self._manager.all_steps()  # opened here, so that an error in opening it doesn't count as damage
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
        """Compares the files of a checkpoint whose names pass `which` with their checksums. -> whether it has checksums

        Raises:
            Damaged: a file is gone or changed.
        """
        if wrong := seals.broken(self._folder / str(step), which):
            raise self._damaged(step, wrong)
        return wrong is not None

    def _seal(self):
        """Writes the checksums of the files of the checkpoint that is being saved."""
        mark = f"{self._saving}.orbax-checkpoint-tmp"
        folder = next(path for path in self._folder.iterdir() if path.name.startswith(mark))
        seals.write(folder)

    def _parse(self, step) -> tuple[dict, Any]:
        kept = self._manager.restore(step, args=orbax().args.Composite(loop=orbax().args.JsonRestore()))["loop"]
        metrics = self._manager.metrics(step)
        if not isinstance(kept, dict) or not (metrics is None or isinstance(metrics["score"], float | int)):
            raise ValueError("no state of a loop")
        return kept, metrics

    def _arrays(self, step, **abstract):
        """{item: tree} of arrays, compared with what was saved. abstract: {item: tree of shapes}."""
        saved = self._sound(step)[1].get("arrays")
        if saved is not None:
            self._check_form(step, saved, abstract)
        args = {item: orbax().args.StandardRestore(tree) for item, tree in abstract.items()}
        self._check_files(step, lambda name: name.split("/")[0] in abstract)
        try:
            got = self._manager.restore(step, args=orbax().args.Composite(**args))
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
        what = "state" if "rest" in abstract else "model"
        if differ := leaves.differing(saved, leaves.described(leaves.form, **abstract)):
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
        there = set(self._manager.all_steps()) if self._known else ()  # without those that newer ones have replaced
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
        """Sets aside damaged checkpoints, if at least one other is intact."""
        bad = {step: known for step, known in self._known.items() if isinstance(known, UserError)}
        for error in bad.values():
            if not isinstance(error, Damaged):
                raise error
        if bad and len(bad) == len(self._known):
            raise self._none_is_whole(bad)
        for path in [path for path in self._folder.iterdir() if is_step(path.name) and is_foreign(path)]:
            self.set_aside(int(path.name), f"{path}: not a checkpoint, though it has the name of one")
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

"""Orbax behind save, restore, best and latest."""

import jax
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint import checkpoint_managers

from jaxrec.errors import UserError
from jaxrec.step import State

logging.set_verbosity(logging.ERROR)  # Orbax reports every save


class Checkpoints:
    """The checkpoints of a workdir: the latest, and the best by validation, each with the state of the loop.

    A save that is killed leaves a temporary folder, which counts for nothing and is removed by the next training.
    """

    def __init__(self, workdir, read_only=False):
        """
        Args:
            workdir: Path. read_only: for evaluation; nothing is created or removed.
        """
        latest = checkpoint_managers.LatestN(1)
        best = checkpoint_managers.BestN(get_metric_fn=_rank, n=1, keep_checkpoints_without_metrics=False)
        self._folder = workdir / "checkpoints"
        if read_only and not self._folder.is_dir():
            raise UserError(f"{workdir} holds no checkpoints: train into it first, or name another workdir")
        self._manager = ocp.CheckpointManager(
            self._folder.absolute(),
            options=ocp.CheckpointManagerOptions(
                best_fn=_rank,
                preservation_policy=checkpoint_managers.AnyPreservationPolicy([latest, best]),
                cleanup_tmp_directories=not read_only,
                create=not read_only,
                read_only=read_only,
            ),
            item_names=("params", "rest", "loop"),
        )

    def latest(self):
        """The step of the newest checkpoint, or None."""
        return self._manager.latest_step()

    def best(self):
        """The step with the best validation score, the earlier of equals; the latest where none was evaluated."""
        scored = [(self._manager.metrics(step), step) for step in self._manager.all_steps()]
        scored = [(_rank(metrics), step) for metrics, step in scored if metrics]
        return max(scored)[1] if scored else self.latest()

    def choose(self, name):
        """The step meant by "best", "latest" or a number.

        Raises:
            UserError: there is none; the message lists those there are.
        """
        steps = sorted(self._manager.all_steps())
        if not steps:
            raise UserError(f"{self._folder} holds no finished checkpoint: train first")
        if name in ("best", "latest"):
            return {"best": self.best, "latest": self.latest}[name]()
        if not name.isdigit() or int(name) not in steps:
            raise UserError(
                f"{self._folder} has no checkpoint {name!r}: there are best, latest, {', '.join(map(str, steps))}"
            )
        return int(name)

    def save(self, step, state, loop, score=None):
        """Save in the background; an error of the last save is raised here.

        Args:
            step: int. state: State. loop: the loop's own state, JSON.
            score: of the validation, if it was evaluated here.

        Raises:
            RuntimeError: a later checkpoint is there: the loop has gone back.
        """
        args = ocp.args.Composite(
            params=ocp.args.StandardSave(state.params),
            rest=ocp.args.StandardSave({"step": state.step, "opt": state.opt, "carry": state.carry}),
            loop=ocp.args.JsonSave(loop),
        )
        metrics = None if score is None else {"score": score, "step": step}
        if not self._manager.save(step, args=args, metrics=metrics):
            raise RuntimeError(f"{self._folder}: checkpoint {step} was not saved: a later one is there")

    def restore(self, step, abstract):
        """The State and the loop's state at a step. abstract: a State of shapes and shardings.

        Raises:
            UserError: what is there is of another form, or damaged.
        """
        rest = {"step": abstract.step, "opt": abstract.opt, "carry": abstract.carry}
        args = ocp.args.Composite(
            params=ocp.args.StandardRestore(abstract.params),
            rest=ocp.args.StandardRestore(rest),
            loop=ocp.args.JsonRestore(),
        )
        try:
            got = self._manager.restore(step, args=args)
        except ValueError as error:  # Orbax's, of a tree, a shape or a file
            raise UserError(
                f"{self._folder}: the state in checkpoint {step} can't be read: another version of jaxrec saved it in "
                "another form, or its files are damaged. Go on with the version that began this training, or train "
                f"into a new workdir; evaluation needs the parameters alone. ({error})"
            ) from error
        return State(params=got.params, **got.rest), got.loop

    def restore_params(self, step, abstract):
        """The params at a step, without the optimiser's state. abstract: a tree of shapes and shardings."""
        return self._manager.restore(step, args=ocp.args.Composite(params=ocp.args.StandardRestore(abstract))).params

    def loop(self, step):
        """The loop's state at a step."""
        return self._manager.restore(step, args=ocp.args.Composite(loop=ocp.args.JsonRestore())).loop

    def wait(self):
        """Wait for a save in the background; raises its error."""
        self._manager.wait_until_finished()

    def close(self):
        """Wait, and free what Orbax holds."""
        self._manager.close()


def abstract(tree, sharding):
    """The shapes of a tree of arrays, to be restored with this sharding."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def _rank(metrics):
    return metrics["score"], -metrics["step"]

"""Exports a trained workdir as one file with weights, model and top-k, that runs without Python.

    jaxrec export --workdir runs/a --format onnx --output model.onnx

For any batch size b, the inputs are `history` [b, L] int32, item numbers oldest first with 0 after the newest, and
`allowed` [b, V] bool, whether each item can be recommended. The outputs are `items` [b, k] int32, the best first, 0 if
no more are left, and their `scores` [b, k] float32. FILE.json has L, k, and the external id of each number from 1. A
model with user embeddings also has the input `user` [b] int32: the index from 0 in `users` of FILE.json, where null has
no embedding; -1 for a new user.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.batches import objectives
from jaxrec.batches.objectives import Objective
from jaxrec.inference import engine
from jaxrec.inference.recommender import Recommender
from jaxrec.kernels.hardware import Hardware, assumed
from jaxrec.models.entry import has_users
from jaxrec.models.model import Model
from jaxrec.system.errors import UserError
from jaxrec.system.files import replacing, write_json

HISTORIES = 1000  # that the file must answer as the engine does
INPUTS = ("history", "allowed", "user")
CLOSE = 1e-4  # how far a score may lie from the engine's, relative to the largest or to 1


def export(recommender: Recommender, format: str, output: Path, k: int = 10, histories: int = HISTORIES) -> None:
    """Writes a Recommender as one file, after checking that it answers random histories as the engine does.

    Args:
        recommender: Recommender.
        format: "stablehlo" or "onnx".
        output: the file.
        k: the number of items.
        histories: the number of histories to check.

    Raises:
        UserError: the model can't be converted, the answers differ, a library is missing, or k is out of range.
    """
    own, items = recommender.engine, len(recommender.catalogue.ids)
    name = recommender.config.model.name
    if not 1 <= k <= items:
        raise UserError(f"--k {k}: between 1 and the {items:,} items of the catalogue")
    length = own.length - own.num_mask_slots
    program = partial(whole, own.model, objectives.build(recommender.config), own.params, k=k)
    (rows,) = jax.export.symbolic_shape("b")
    shapes = jax.ShapeDtypeStruct((rows, length), jnp.int32), jax.ShapeDtypeStruct((rows, items), jnp.bool_)
    if has_users(recommender.config):
        if recommender.users is None:
            raise UserError(f"{recommender.path} does not keep whose its vectors of users are: train it again")
        shapes += (jax.ShapeDtypeStruct((rows,), jnp.int32),)
    write, read = FORMATS[format]
    with assumed(Hardware("cpu")):  # a program for any device has no kernels of one kind of them
        content = write(program, shapes, name)
    largest = check(read(content), recommender, length, k, histories, f"{format} of {name}")
    with replacing(output) as temporary:
        temporary.write_bytes(content)
    about = {"model": name, "step": recommender.step, "length": length, "k": k}
    about["ids"] = recommender.catalogue.ids.tolist()
    if recommender.users:
        pairs = zip(recommender.users.ids, recommender.users.trained, strict=True)
        about["users"] = [id if trained else None for id, trained in pairs]
    write_json(output.with_name(output.name + ".json"), about)
    print(f"{output}: {len(content) / 1e6:.1f} MB; {histories:,} histories are answered as by the engine, ", end="")
    print(f"no score further off than {largest:.1e}")


def whole(
    model: Model,
    objective: Objective,
    params: Any,
    items_BL: jax.Array,
    allowed_BV: jax.Array,
    user_B: jax.Array | None = None,
    *,
    k: int,
) -> tuple[jax.Array, jax.Array]:
    """The program to export. It pads histories by the slots that the objective masks."""
    items_BT = jnp.pad(items_BL, ((0, 0), (0, objective.num_mask_slots)))
    return engine.answer(model, objective, params, items_BT, allowed_BV, user_B, k=k)


def check(run: Callable, recommender: Recommender, length: int, k: int, count: int, what: str) -> float:
    """Compares a program with the engine on random histories, without recommending their own items.

    Returns:
        The largest difference of a score.

    Raises:
        UserError: the answers differ.
    """
    own, random, largest = recommender.engine, np.random.default_rng(0), 0.0
    for first in range(0, count, own.rows):
        rows = np.arange(min(own.rows, count - first))[:, None]
        histories = [random.integers(1, own.items + 1, n).tolist() for n in random.integers(1, length + 1, len(rows))]
        shown, allowed = np.zeros((len(rows), length), np.int32), np.ones((len(rows), own.items), bool)
        for row, history in enumerate(histories):
            shown[row, : len(history)] = history
            allowed[row, np.array(history) - 1] = False
        users = ()
        if recommender.users:
            users = (random.integers(-1, len(recommender.users.ids), len(rows)).astype(np.int32),)
        items, scores = map(np.asarray, run(shown, allowed, *users))
        hidden = own.hidden(histories, users[0] if users else None)
        wanted = own.top_k_from_hidden(hidden, allowed, k)[1]
        real = wanted > -np.inf
        if (((items > 0) & allowed[rows, items - 1]) != real).any():
            raise UserError(f"{what}: it recommends what is not allowed, or too few: report this")
        named = np.stack([own.scores(*each) for each in zip(hidden, np.maximum(items, 1), strict=True)])
        for found in (scores, named):  # of equal scores, and nearly so, either item may come first
            largest = max(largest, np.abs(found[real] - wanted[real]).max(initial=0))
        if not largest <= CLOSE * max(1.0, np.abs(wanted[real]).max(initial=0)):
            raise UserError(f"{what}: a score differs by {largest:.1e} from the engine's: report this")
    return largest


def to_stablehlo(program: Callable, shapes: Sequence, name: str) -> bytes:
    """Serialized jax.export, for CPU, CUDA and TPU: `jax.export.deserialize(bytes).call(history, allowed)`."""
    return bytes(jax.export.export(jax.jit(program), platforms=("cpu", "cuda", "tpu"))(*shapes).serialize())


def from_stablehlo(content: bytes) -> Callable:
    return jax.jit(jax.export.deserialize(bytearray(content)).call)


def to_onnx(program: Callable, shapes: Sequence, name: str) -> bytes:
    """A serialized ONNX model with the inputs of INPUTS, and the outputs items and scores."""
    from jax.interpreters import batching

    if not hasattr(batching, "not_mapped"):  # by this name the newest jax2onnx that admits this Orbax knows None
        batching.not_mapped = None  # pyright: ignore[reportAttributeAccessIssue]
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # it warns of every value whose shape is symbolic
    try:
        import jax2onnx
    except ImportError:
        raise UserError("ONNX needs the library jax2onnx: pip install 'jaxrec[export]'") from None
    try:
        model = jax2onnx.to_onnx(
            program,
            shapes,
            model_name=f"jaxrec_{name}",
            input_names=list(INPUTS[: len(shapes)]),
            output_names=["items", "scores"],
        )
    except Exception as error:  # what a converter fails with has no common class
        raise UserError(f"{name} can't be converted to ONNX by jax2onnx ({error}): use --format stablehlo") from error
    return model.SerializeToString()


def from_onnx(content: bytes) -> Callable:
    try:
        import onnxruntime
    except ImportError:
        raise UserError("ONNX needs the library onnxruntime: pip install 'jaxrec[export]'") from None
    try:
        session = onnxruntime.InferenceSession(content)
    except Exception as error:  # nor onnxruntime's
        raise UserError(f"onnxruntime refuses the model ({error}): use --format stablehlo") from error
    return lambda *inputs: session.run(["items", "scores"], dict(zip(INPUTS, inputs, strict=False)))


FORMATS = {"stablehlo": (to_stablehlo, from_stablehlo), "onnx": (to_onnx, from_onnx)}

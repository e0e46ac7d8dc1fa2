"""Exports a trained workdir as one file with weights, model and top-k, which runs without Python.

    jaxrec export --workdir runs/a --format onnx --output model.onnx

For any batch size b, the inputs are `history` [b, L] int32, item numbers oldest first with 0 after the newest, and
`allowed` [b, V] bool, whether each item can be recommended; then `user` [b] int32 for a model with user embeddings, and
an input for each kind of context that the model uses. The outputs are `items` [b, k] int32, the best first, 0 if no
more are left, and their `scores` [b, k] float32. FILE.json has L, k, the external id of each number from 1, and
`inputs`, which says how to compute each of them.
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
from jaxrec.data.attributes import topics
from jaxrec.inference import inputs, programs
from jaxrec.inference.recommender import Recommender
from jaxrec.kernels.hardware import Hardware, assumed
from jaxrec.models.entry import has_users
from jaxrec.models.model import Model
from jaxrec.system.errors import UserError
from jaxrec.system.files import replacing, write_json

HISTORIES = 1000  # number of random histories that the file must answer as the engine does
CLOSE = 1e-4  # maximum difference from the engine's scores, relative to the largest of them, or to 1


def export(recommender: Recommender, format: str, output: Path, k: int = 10, histories: int = HISTORIES) -> None:
    """Writes a Recommender as one file, after checking that it answers random histories as the engine does.

    Args:
        recommender: the Recommender.
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
    if format == "onnx" and (kind := recommender.config.precision) != "float32":
        raise UserError(
            f"config.precision is {kind}, which no ONNX runtime supports: set JAX_PLATFORMS=cpu, and it is float32"
        )
    length = own.length - own.num_mask_slots
    model = own.model, objectives.build(recommender.config), own.params
    program = partial(whole, *model, k=k, kinds=own.kinds, users=has_users(recommender.config))
    (rows,) = jax.export.symbolic_shape("b")
    shapes = {
        "history": jax.ShapeDtypeStruct((rows, length), jnp.int32),
        "allowed": jax.ShapeDtypeStruct((rows, items), jnp.bool_),
    }
    if has_users(recommender.config):
        if recommender.users is None:
            raise UserError(f"{recommender.path} does not store which users its vectors belong to: train it again")
        shapes["user"] = jax.ShapeDtypeStruct((rows,), jnp.int32)
    names = inputs.names_of(own.kinds)
    shapes |= zip(names, inputs.shapes_of(own.kinds, rows, length), strict=True)
    write, read = FORMATS[format]
    with assumed(Hardware("cpu")):  # a program for any device must not contain kernels for one kind
        content = write(program, shapes, name)
    largest = check(read(content), recommender, length, k, histories, f"{format} of {name}")
    with replacing(output) as temporary:
        temporary.write_bytes(content)
    about = {"model": name, "step": recommender.step, "length": length, "k": k}
    about["ids"] = recommender.catalogue.ids.tolist()
    if recommender.users:
        pairs = zip(recommender.users.ids, recommender.users.trained, strict=True)
        about["users"] = [id if trained else None for id, trained in pairs]
    about["inputs"] = _described(recommender, shapes, length)
    write_json(output.with_name(output.name + ".json"), about)
    print(f"{output}: {len(content) / 1e6:.1f} MB; {histories:,} random histories get the engine's answers, ", end="")
    print(f"no score off by more than {largest:.1e}")


def whole(
    model: Model,
    objective: Objective,
    params: Any,
    items_BL: jax.Array,
    allowed_BV: jax.Array,
    *rest: jax.Array,
    k: int,
    kinds: Sequence[str] = (),
    users: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """The program to export. It pads histories with the mask slots of the objective.

    Args:
        model: the Model.
        objective: the Objective.
        params: the model's.
        items_BL: int32 histories, 0 after the newest.
        allowed_BV: bool, whether each item can be recommended.
        rest: the numbers of the users [B] int32, if `users`; then an array for each kind, as in `inputs.shapes_of`.
        k: the number of items.
        kinds: the kinds of context that the model uses.
        users: whether the model has user embeddings.
    """
    items_BT = jnp.pad(items_BL, ((0, 0), (0, objective.num_mask_slots)))
    user_B = rest[0] if users else None
    context_BTK = inputs.assembled(kinds, rest[users:], items_BL, objective.num_mask_slots)
    return programs.answer(model, objective, params, items_BT, allowed_BV, user_B, context_BTK, k=k)


def check(run: Callable, recommender: Recommender, length: int, k: int, count: int, what: str) -> float:
    """Compares a program with the engine on random histories, whose own items are not recommended.

    Returns:
        The largest difference between scores.

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
        users, columns, contexts = (), [], None
        if recommender.users:
            users = (random.integers(-1, len(recommender.users.ids), len(rows)).astype(np.int32),)
        if own.kinds:
            draw = partial(inputs.drawn, own.kinds, types=recommender.types, columns=recommender.columns, random=random)
            contexts = [draw(len(history), masks=own.num_mask_slots) for history in histories]
            columns = inputs.columns_of(own.kinds, contexts, length, own.num_mask_slots)
        items, scores = map(np.asarray, run(shown, allowed, *users, *columns))
        hidden = own.hidden(histories, users[0] if users else None, contexts)
        wanted = own.top_k_from_hidden(hidden, allowed, k)[1]
        real = wanted > -np.inf
        if (((items > 0) & allowed[rows, items - 1]) != real).any():
            raise UserError(f"{what}: it recommends items that are not allowed, or too few: report this")
        named = np.stack([own.scores(*each) for each in zip(hidden, np.maximum(items, 1), strict=True)])
        for found in (scores, named):  # items with nearly equal scores may come in either order
            largest = np.maximum(largest, np.abs(found[real] - wanted[real]).max(initial=0))  # NaN if one is
        if not largest <= CLOSE * max(1.0, np.abs(wanted[real]).max(initial=0)):
            raise UserError(f"{what}: a score differs by {largest:.1e} from the engine's: report this")
    return largest


def _described(recommender, shapes, length):
    """Describes the inputs of a program, and how to compute each."""
    own, config = recommender.engine, recommender.config
    rules = {
        "history": "the positions of the newest items in ids, from 1, oldest first, then 0; events of items that are "
        "not in ids are left out before anything else is computed, so that none counts as the event before another",
        "allowed": "whether each item can be recommended",
        "user": "the position of the user in users, from 0; -1 for a new user (a null in users has no vector)",
    }
    if own.model.starts:
        rules["history"] += f"; {programs.START}, once, for a user without history of whom some columns are known"
    plain = [
        {"name": name, "shape": ["b", *shape.shape[1:]], "dtype": shape.dtype.name, "about": rules[name]}
        for name, shape in shapes.items()
        if name in rules
    ]
    topic = topics.values(recommender.catalogue, config.topic) if "switch" in own.kinds else None
    told = recommender.types, recommender.columns, topic
    return plain + inputs.described(own.kinds, length, config.context_zone, *told)


def to_stablehlo(program: Callable, shapes: dict, name: str) -> bytes:
    """Serialized jax.export, for CPU, CUDA and TPU: `jax.export.deserialize(bytes).call(history, allowed)`."""
    return bytes(jax.export.export(jax.jit(program), platforms=("cpu", "cuda", "tpu"))(*shapes.values()).serialize())


def from_stablehlo(content: bytes) -> Callable:
    return jax.jit(jax.export.deserialize(bytearray(content)).call)


def to_onnx(program: Callable, shapes: dict, name: str) -> bytes:
    """A serialized ONNX model with inputs of these names, and the outputs items and scores."""
    from jax.interpreters import batching

    if not hasattr(batching, "not_mapped"):  # the newest jax2onnx compatible with this Orbax uses this name for None
        batching.not_mapped = None  # pyright: ignore[reportAttributeAccessIssue]
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # it warns of every value whose shape is symbolic
    try:
        import jax2onnx
    except ImportError:
        raise UserError("ONNX needs the library jax2onnx: pip install 'jaxrec[export]'") from None
    try:
        model = jax2onnx.to_onnx(
            program,
            tuple(shapes.values()),
            model_name=f"jaxrec_{name}",
            input_names=list(shapes),
            output_names=["items", "scores"],
        )
    except Exception as error:  # converters raise errors of no common class
        raise UserError(f"{name} can't be converted to ONNX by jax2onnx ({error}): use --format stablehlo") from error
    return model.SerializeToString()


def from_onnx(content: bytes) -> Callable:
    try:
        import onnxruntime
    except ImportError:
        raise UserError("ONNX needs the library onnxruntime: pip install 'jaxrec[export]'") from None
    try:
        session = onnxruntime.InferenceSession(content)
    except Exception as error:  # and so does onnxruntime
        raise UserError(f"onnxruntime refuses the model ({error}): use --format stablehlo") from error
    names = [each.name for each in session.get_inputs()]
    return lambda *given: session.run(["items", "scores"], dict(zip(names, given, strict=True)))


FORMATS = {"stablehlo": (to_stablehlo, from_stablehlo), "onnx": (to_onnx, from_onnx)}

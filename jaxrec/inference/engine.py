"""Compiled programs that recommend items for histories of item numbers, for a fixed set of shapes."""

import copy
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec as P

from jaxrec.batches.objectives import Objective
from jaxrec.inference import candidates, placed
from jaxrec.inference.padding import cut, padded, power, shapes
from jaxrec.inference.programs import advance, answer, begin, hidden, lengths, similar, top_k
from jaxrec.kernels import placement
from jaxrec.kernels.placement import ITEM
from jaxrec.models.model import Model
from jaxrec.system import checksums

ROWS = 64  # maximum number of histories per call
SCORES = 1 << 25  # maximum number of scores per call: 128 MiB
SLOTS = 16  # minimum number of slots per history: fewer are not faster
BEST = 16  # minimum k of a program
STEPS = 64  # maximum number of items per call that advances a state


class Engine:
    """The compiled programs of one model and its params.

    Rows, slots and k are rounded up to powers of two, so that there are few programs. The padding is masked and doesn't
    change results. Items are numbers 1..V.
    """

    def __init__(
        self,
        model: Model,
        objective: Objective,
        params: Any,
        items: int,
        length: int,
        approximate: bool = False,
        kinds: Sequence[str] = (),
        mesh: Mesh | None = None,
    ):
        """
        Args:
            model: the Model; on a mesh, the one with split tables (see `placed`).
            objective: the Objective.
            params: the params, on the devices to use.
            items: V, the number of items.
            length: the maximum number of slots of the model.
            approximate: whether to score only the candidates of an index (see `candidates`), if they suffice.
            kinds: the kinds of context that the model uses.
            mesh: the mesh of devices that the tables are split over; None if one device has them whole.

        Raises:
            UserError: `approximate` is set, and the library of the index is missing.
        """
        self.items, self.length, self.num_mask_slots = items, length, objective.num_mask_slots
        self.mesh = mesh
        self.rows = min(ROWS, 1 << max(SCORES // items, 1).bit_length() - 1)
        self.model, self.objective, self._compiled, self.kinds = model, objective, {}, kinds
        self.programs = {}  # compiled programs of bulk
        self.params, self._replicas = params, {}
        self.index = candidates.build(*self.output_table) if approximate else None

    @property
    def approximate(self) -> bool:
        """Whether only the candidates of an index are scored."""
        return self.index is not None

    def renewed(self, params: Any, index: Any = None) -> "Engine":
        """Returns an Engine with other params of the same shapes, which shares all compiled programs.

        The index of candidates is rebuilt, unless one is given that is valid for these params.
        """
        other = copy.copy(self)
        other.params = params
        other._replicas = {}
        for made in ("output_table", "offered", "_lengths", "checksum"):
            other.__dict__.pop(made, None)
        other.index = index or (candidates.build(*other.output_table) if self.index else None)
        return other

    def newest(self, history: Any) -> Any:
        """Returns the part of a history that the model sees."""
        return history[-(self.length - self.num_mask_slots) :]

    def slots(self, history: list[int]) -> int:
        """Returns the number of slots for a history. Histories with the same number are best answered together."""
        return min(max(power(len(self.newest(history)) + self.num_mask_slots), SLOTS), self.length)

    def buckets(self) -> list[int]:
        """Returns all numbers of slots that histories can have."""
        return sorted({self.slots([0] * n) for n in range(1, self.length - self.num_mask_slots + 1)})

    def hidden(
        self,
        histories: Sequence[list[int]],
        users: Sequence[int] | np.ndarray | None = None,
        contexts: Sequence | None = None,
    ) -> np.ndarray:
        """Returns the hidden vector after each history.

        Args:
            histories: lists of item numbers, oldest first; at most `rows` of them.
            users: the number of each history's user, -1 for unknown users; by default all are unknown.
            contexts: for models with context, that of each history's events, [len, K], or [len + mask slots, K] if the
                mask slots have context too; None: unknown.

        Returns:
            [n, D] float32.
        """
        program, items = partial(hidden, self.model, self.objective), self._items(histories)
        args = self._sources(users, len(items)), *self._context(histories, contexts, items.shape)
        found = self._run("hidden", program, self.params, items, *args)
        return np.asarray(found)[: len(histories)]

    def top_k(
        self,
        histories: Sequence[list[int]],
        allowed: np.ndarray,
        k: int,
        users: Sequence[int] | np.ndarray | None = None,
        contexts: Sequence | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the best k allowed items after each history, in one dispatch.

        Args:
            histories: lists of item numbers, oldest first; at most `rows` of them.
            allowed: [n, V] bool, whether each item can be recommended.
            k: at least 1.
            users: as in `hidden`.
            contexts: as in `hidden`.

        Returns:
            (items [n, k] int32, scores [n, k] float32), the best first; among equal scores, the lower item comes first.
            If too few items are left, the rest is 0 and -inf. Items whose score is NaN or -inf are left out.
        """
        if self.index:
            return self.top_k_from_hidden(self.hidden(histories, users, contexts), allowed, k)
        args = self._asked(histories, allowed, users, contexts)
        found = self._run("best", self._answer, self.params, *args, masked=True, k=self._enough("best", k, args))
        return cut(found, len(histories), k)

    def top_k_from_hidden(self, hidden_ND: Any, allowed: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns `top_k` for hidden vectors [n, D] float32."""
        if self.index is None:
            return self._exactly_for(hidden_ND, allowed, k)
        hidden_ND = np.asarray(hidden_ND)
        items, scores = np.zeros((len(hidden_ND), k), np.int32), np.full((len(hidden_ND), k), -np.inf, np.float32)
        found = candidates.among(self.index, hidden_ND, k, allowed, self.offered)
        for row, numbers in enumerate(found):
            if numbers is not None:
                items[row], scores[row] = self.score_subset(hidden_ND[row], numbers, k)
        if unsure := [row for row, numbers in enumerate(found) if numbers is None]:
            items[unsure], scores[unsure] = self._exactly_for(hidden_ND[unsure], allowed[unsure], k)
        return items, scores

    def score_subset(self, hidden_D: np.ndarray, numbers: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns `top_k` of some items, [N] int32 ascending, for one hidden vector: (items, scores), [K <= k]."""
        scores = self.scores(hidden_D, numbers)
        scores[np.isnan(scores)] = -np.inf
        order = np.argsort(-scores, kind="stable")[:k]
        order = order[scores[order] > -np.inf]
        return numbers[order], scores[order]

    def scores(self, hidden: np.ndarray, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the scores of items for hidden vectors. [..., D], [N] -> [..., N] float32."""
        table_VD, bias_V = self.output_table
        at = np.asarray(numbers, np.int32) - 1
        scores = hidden @ table_VD[at].T
        return scores if bias_V is None else scores + bias_V[at]

    def similar(self, numbers: Sequence[int], allowed: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns `top_k` by the cosine between the rows of these items, [n], and all rows of the output table."""
        rows = np.array(numbers) - 1
        args = self.output_table[0][rows] / np.asarray(self._lengths[rows])[:, None], self._masks(allowed, len(rows))
        tree, program = (self.params, self._lengths), partial(similar, self.model)
        return cut(self._run("similar", program, tree, *args, masked=True, k=self._k(k)), len(rows), k)

    def start(self) -> tuple[Any, jax.Array] | None:
        """Returns the state of a user without history, (carry, hidden [1, D]); None for a model without a carry."""
        carry = self.model.initial_carry(self.params, 1)
        return None if carry is None else (carry, jnp.zeros((1, self.output_table[0].shape[1]), jnp.float32))

    @cached_property
    def keeps_states(self) -> bool:
        """Whether the state after a history is all that the model needs of it: it has a carry, and no context."""
        return not self.kinds and not self.num_mask_slots and self.model.initial_carry(self.params, 1) is not None

    def states(self, histories: Sequence[list[int]]) -> tuple[Any, jax.Array]:
        """Returns the states after histories that the model sees in full, in one dispatch.

        Args:
            histories: lists of item numbers, oldest first; at most `rows` of them.

        Returns:
            (carry, hidden [rows, D]), with rows rounded up; the first ones are those of the histories.
        """
        items = self._items(histories)
        for row, numbers in enumerate(histories):
            items[row] = np.roll(items[row], items.shape[1] - len(numbers))
        return self._run("states", partial(begin, self.model), self.params, items)

    def advance(self, state: tuple[Any, jax.Array], numbers: Sequence[int]) -> tuple[Any, jax.Array]:
        """Returns the state after further items. One program takes any number, so grouping changes no bit."""
        for first in range(0, len(numbers), STEPS):
            block = numbers[first : first + STEPS]
            items = np.zeros(STEPS, np.int32)
            items[: len(block)] = block
            program = partial(advance, self.model)
            state = self._run("advance", program, self.params, *state, items, np.int32(len(block)))
        return state

    def compile(self, rows: int, k: int) -> None:
        """Compiles the programs for `rows` histories of any length and k items, and for states if it keeps them."""
        hidden_ND = None
        for slots in self.buckets():
            histories = [[1] * (slots - self.num_mask_slots)] * rows
            hidden_ND = self.hidden(histories)
            if self.keeps_states:
                self.states(histories)
            if self.index is None:
                args = self._asked(histories, np.ones((rows, self.items), bool))
                self._run("best", self._answer, self.params, *args, masked=True, k=self._k(k))
        self._exactly_for(hidden_ND, np.ones((rows, self.items), bool), k, self._k(k))

    def put(self, params: Any) -> Any:
        """Returns params for `renewed`, placed where this engine's are."""
        return placed.put(self.model, params, self.mesh)

    def params_on(self, devices: placement.Devices) -> Any:
        """Returns the params replicated on these devices (cached, as each call makes a Bulk), or as they are on a mesh.

        Args:
            devices: a tuple of devices, or the engine's mesh.
        """
        if self.mesh is not None:
            return self.params
        if devices not in self._replicas:
            self._replicas[devices] = placement.put(self.params, devices)
        return self._replicas[devices]

    @property
    def specs(self) -> Any:
        """The PartitionSpecs of the params on the mesh; None without a mesh."""
        return placed.specs(self.model, self.params, self.mesh)

    @cached_property
    def checksum(self) -> str:
        """The checksum of the params."""
        return checksums.of_json([checksums.of_array(leaf) for leaf in jax.tree.leaves(self.params)])

    @cached_property
    def output_table(self) -> tuple[np.ndarray, np.ndarray | None]:
        """The output embedding on the host: (table [V, D], bias [V] or None)."""
        table_VD, bias_V = self.model.output_embedding(self.params)
        host = lambda x: np.asarray(x)[: self.items]
        return host(table_VD), None if bias_V is None else host(bias_V)

    @cached_property
    def offered(self) -> np.ndarray:
        """Whether each item can be recommended, [items] bool."""
        scores = self.params.get(placed.OFFERED)
        return np.ones(self.items, bool) if scores is None else np.asarray(scores)[: self.items] == 0

    @cached_property
    def _lengths(self):
        return self._compiled.setdefault(("lengths",), jax.jit(partial(lengths, self.model)))(self.params)

    def _exactly_for(self, hidden_ND, allowed, k, compiled=0):
        axis = self.model.item_axis
        program = lambda params, *args, k: top_k(self.model.output_embedding(params), *args, k=k, axis=axis)
        args = padded(hidden_ND, rows := power(len(hidden_ND))), self._masks(allowed, rows)
        enough = compiled or self._enough("best for", k, args)
        found = self._run("best for", program, self.params, *args, masked=True, k=enough)
        return cut(found, len(hidden_ND), k)

    @property
    def _answer(self):
        return partial(answer, self.model, self.objective)

    def _asked(self, histories, allowed, users=None, contexts=None):
        """Returns the arguments of the program that answers histories."""
        items = self._items(histories)
        shown = self._context(histories, contexts, items.shape)
        return items, self._masks(allowed, len(items)), self._sources(users, len(items)), *shown

    def _masks(self, allowed, rows):
        """Returns the masks over the catalogue, [rows, V]. Padding, also that of split tables, allows nothing."""
        masks = padded(allowed, rows)
        return masks if self.mesh is None else np.pad(masks, ((0, 0), (0, -self.items % self.mesh.shape[ITEM])))

    def _enough(self, name, k, args):
        """Returns the k of the program to run for k items: the least compiled one that is enough, or k rounded up."""
        own, given = self._k(k), shapes(args)
        if (name, own, *given) in self._compiled:
            return own
        compiled = [key[1] for key in list(self._compiled) if key[0] == name and key[2:] == given and key[1] > own]
        return min(compiled, default=own)

    def _run(self, name, function, tree, *args, masked=False, **static):
        """Calls the program of this name for arguments of these shapes, and compiles it the first time.

        Args:
            name: the name of the program.
            function: (tree, *args, **static).
            tree: the params, or (params, an array with an entry per item).
            args: arrays.
            masked: whether the second of `args` holds masks over the catalogue.
            static: keyword arguments of the function.
        """
        key = (name, *static.values(), *shapes(args))
        if key not in self._compiled:
            specs = self.specs if tree is self.params else (self.specs, P(ITEM))
            of_args = [P(None, ITEM) if masked and place == 1 else P() for place in range(len(args))]
            program = placed.jitted(partial(function, **static), self.mesh, specs, of_args)
            self._compiled[key] = program.lower(tree, *args).compile()
        return self._compiled[key](tree, *args)

    def _items(self, histories):
        """Returns the histories as int32 [rows, slots], both rounded up."""
        newest = [self.newest(history) for history in histories]
        items = np.zeros((power(len(newest)), max(map(self.slots, newest))), np.int32)
        for row, numbers in enumerate(newest):
            items[row, : len(numbers)] = numbers
        return items

    def _context(self, histories, contexts, shape):
        """Returns ([rows, slots, K] int32,) for a model with context, () for others."""
        if not self.kinds:
            return ()
        shown = np.zeros((*shape, len(self.kinds)), np.int32)
        for row, own in enumerate(contexts or ()):
            newest = own[len(histories[row]) - len(self.newest(histories[row])) :]
            shown[row, : len(newest)] = newest
        return (shown,)

    def _sources(self, users, rows):
        """Returns the users as int32 [rows], -1 for unknown ones."""
        sources = np.full(rows, -1, np.int32)
        if users is not None:
            sources[: len(users)] = users
        return sources

    def _k(self, k):
        return min(max(power(k), BEST), self.items)

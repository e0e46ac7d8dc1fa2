"""Which recipes a search tries: `default` first, then what differs from it in one thing, then in several."""

import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jaxrec.api import fitting
from jaxrec.api.logs import Log
from jaxrec.config import parsing
from jaxrec.config.keys import Config
from jaxrec.system.errors import UserError
from jaxrec.training import auto

Changes = dict[str, Any]  #: {"model.dim": 128}
DRAWS = 6_400  # of several changes at once, at most
QUERY: Changes = {"model.norm": "query", "model.ffn": "relu", "model.ffn_multiplier": 1}
PRE: Changes = {"model.norm": "pre", "model.ffn": "gelu", "model.ffn_multiplier": 2}
DROPOUTS = 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7
LONGEST = 200
SAMPLED: Changes = {f"loss.{key}": value for key, value in {"name": auto.SAMPLED, **auto.LOSSES[auto.SAMPLED]}.items()}


@dataclass
class Trial:
    """One recipe that is tried: `default` with changes."""

    name: str  #: of its folder
    changes: Changes
    of: str = ""  #: the trial that it is another seed of
    rounds: int = 0  #: it has been through
    seconds: float = 0.0  #: of this search that it took
    score: float | None = None  #: the best validation so far
    epoch: float = 0.0  #: reached
    ended: bool = False  #: whether its training is complete
    failed: str = ""  #: why it can't go on

    @property
    def rank(self) -> float:
        """What trials are ordered by: the score, less than any where there is none."""
        return float("-inf") if self.score is None or self.failed else self.score

    def to_dict(self) -> dict:
        """Plain values."""
        return asdict(self)


def trial(changes: Changes) -> Trial:
    """A Trial, named by what it changes.

    >>> trial({}).name, trial({"model.dim": 128, "optim.learning_rate": 1e-3}).name
    ('default', 'dim-128-learning_rate-0.001')
    """
    of = lambda key, value: value if key in ("model.name", "loss.name") else f"{key.rpartition('.')[2]}-{value}"
    words = [of(key, value) for key, value in changes.items()]
    return Trial("-".join(words).replace("/", "_").replace(":", "_") or "default", dict(changes))


def another_seed(trial: Trial, number: int, seed: int) -> Trial:
    """The same recipe with another seed."""
    return Trial(f"{trial.name}-seed-{number}", trial.changes | {"seed": seed + number}, of=trial.name)


def together(better: list[Trial]) -> Changes:
    """The changes of several trials at once: of two that change one key those of the better one, which comes first."""
    found: Changes = {}
    for each in better:
        if not found.keys() & each.changes.keys():
            found |= each.changes
    return found


def configuration(changes: Mapping[str, Any], keys: Mapping[str, Any], log: Log) -> Config:
    """The Config of a trial: `default` with its changes, and what the person set.

    Raises:
        UserError: these don't go together.
    """
    return fitting.configuration(fitting.DEFAULT, {**parsing.flatten(dict(keys)), **changes}, log)[0]


def candidates(base: Config, keys: Mapping[str, Any], log: Log, seed: int = 0) -> Iterator[Changes]:
    """Changes to try, each new and each one that can be trained: one thing at a time, then two and three at once.

    Args:
        base: the Config that is changed.
        keys: what the person set: it is not changed.
        seed: of the draws of two and three.
    """
    given, known = parsing.flatten(dict(keys)).keys(), [base]
    single = [changes for changes in _single(base) if not given & changes.keys()]
    for changes in itertools.chain(single, _drawn(single, seed)):
        try:
            made = configuration(changes, keys, log)
        except UserError:  # the model has no such key, or the log not enough for it
            continue
        if made not in known:
            known.append(made)
            yield changes


def _single(base: Config) -> Iterator[Changes]:
    """One thing at a time, the most promising first."""
    model, rate = base.model, base.optim.learning_rate
    near = sorted((value for value in DROPOUTS if value != model.dropout), key=lambda value: abs(value - model.dropout))
    yield {"model.name": "gru4rec"}
    yield QUERY
    yield {"model.dropout": near[0]}
    yield {"loss.label_smoothing": 0.2}
    yield {"model.dim": 2 * model.dim}
    yield {"optim.learning_rate": 2 * rate}
    yield {"length": min(2 * base.length, LONGEST)}
    yield {"model.layers": model.layers + 1}
    yield {"model.dropout": near[1]}
    yield PRE
    yield {"optim.learning_rate": rate / 2}
    yield {"model.name": "hstu"}
    yield {"length": max(base.length // 2, 8)}
    yield {"model.dim": max(model.dim // 2, 8)}
    yield {"model.layers": max(model.layers - 1, 1)}
    yield {"positions": "relative"}
    yield {"batch": max(base.batch // 2, 1)}
    yield {"model.score": "cosine"}
    yield SAMPLED
    yield {"model.name": "bert4rec"}


def _drawn(single: list[Changes], seed: int) -> Iterator[Changes]:
    """Two or three of them at once, of different keys, without end where there are some."""
    draw = random.Random(seed)
    for _ in range(DRAWS if len(single) > 1 else 0):
        chosen = draw.sample(single, min(draw.choice([2, 3]), len(single)))
        keys = [key for changes in chosen for key in changes]
        if len(set(keys)) == len(keys):
            yield {key: value for changes in chosen for key, value in changes.items()}

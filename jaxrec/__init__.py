"""The sequential recommender for JAX."""

import importlib
from typing import TYPE_CHECKING

from jaxrec.system.errors import UserError

if TYPE_CHECKING:
    from jaxrec.api.evaluating import evaluate
    from jaxrec.api.fitting import Training, fit
    from jaxrec.api.logs import Log, prepare
    from jaxrec.evaluation.results import Evaluation
    from jaxrec.inference.loading import load
    from jaxrec.inference.recommender import Recommender

__version__ = "0.1.0"
_PLACES = {  # where each name is: its module is imported, and jax started, when it is first asked for
    "Evaluation": "evaluation.results",
    "Log": "api.logs",
    "Recommender": "inference.recommender",
    "Training": "api.fitting",
    "evaluate": "api.evaluating",
    "fit": "api.fitting",
    "load": "inference.loading",
    "prepare": "api.logs",
}
__all__ = ["Evaluation", "Log", "Recommender", "Training", "UserError", "evaluate", "fit", "load", "prepare"]


def __getattr__(name: str):
    if name not in _PLACES:
        raise AttributeError(f"module 'jaxrec' has no attribute {name!r}")
    return getattr(importlib.import_module(f"jaxrec.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])

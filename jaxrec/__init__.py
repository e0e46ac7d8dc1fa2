"""Sequential recommendation in JAX."""

import importlib
from typing import TYPE_CHECKING, Any

from jaxrec.system.errors import UserError as UserError
from jaxrec.system.version import VERSION as __version__  # noqa: F401

if TYPE_CHECKING:
    from jaxrec.api.backtest import backtest as backtest
    from jaxrec.api.comparing import compare as compare
    from jaxrec.api.evaluating import evaluate as evaluate, judge as judge
    from jaxrec.api.fitting import Training as Training, fit as fit
    from jaxrec.api.logs import Log as Log, prepare as prepare
    from jaxrec.api.tuning import tune as tune
    from jaxrec.config.registry import register as register
    from jaxrec.evaluation.results import Evaluation as Evaluation
    from jaxrec.inference.loading import load as load
    from jaxrec.inference.recommender import Recommender as Recommender

_PLACES = {  # module -> its names, imported on first use, since that starts JAX
    "api.backtest": ("backtest",),
    "api.comparing": ("compare",),
    "api.evaluating": ("evaluate", "judge"),
    "api.fitting": ("Training", "fit"),
    "api.logs": ("Log", "prepare"),
    "api.tuning": ("tune",),
    "config.registry": ("register",),
    "evaluation.results": ("Evaluation",),
    "inference.loading": ("load",),
    "inference.recommender": ("Recommender",),
}


def __getattr__(name: str) -> Any:
    for place, names in _PLACES.items():
        if name in names:
            return getattr(importlib.import_module(f"jaxrec.{place}"), name)
    raise AttributeError(f"module 'jaxrec' has no attribute {name!r}")

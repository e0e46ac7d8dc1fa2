"""Compares models and baselines on the same questions of a log."""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from jaxrec.api import fitting
from jaxrec.api.keywords import with_keywords
from jaxrec.api.logs import Log, as_log
from jaxrec.config import registry
from jaxrec.config.keys import Config
from jaxrec.data import event_types, splits
from jaxrec.data.files.text import some
from jaxrec.evaluation import protocols, ranker
from jaxrec.evaluation.baselines import named_baselines, scored
from jaxrec.evaluation.comparison import SHOWN, paired, row_of
from jaxrec.evaluation.evaluator import Evaluator
from jaxrec.kernels import placement
from jaxrec.system import console as consoles
from jaxrec.system.arguments import shown
from jaxrec.system.errors import UserError
from jaxrec.system.figures import new_figure, save_figure
from jaxrec.system.files import below, workdir_at
from jaxrec.training.building import model_of
from jaxrec.training.workdirs.restore import restore_params

KINDS = ("gru4rec", "sasrec", "bert4rec", "caser", "two-tower")  # models that are compared by default
Planned = Mapping[str, tuple[str, Mapping[str, Any]]]  #: {label: (configuration, changes to it)}


class Comparison:
    """The result of a comparison. Its repr is its table.

    Attributes:
        result: plain values: `rows` {model or baseline: metrics, ci95, seeds, costs}, `paired`, the difference of the
            best two models on the same questions, and the `protocol`.
    """

    def __init__(self, result: dict):
        self.result = result

    @property
    def rows(self) -> dict[str, dict]:
        """{model or baseline: {"metrics", "ci95", "seeds"; for models "parameters", "minutes", ...}}; best first."""
        return dict(sorted(self.result["rows"].items(), key=lambda item: -item[1]["metrics"]["ndcg@10"]))

    def show(self, console: Console | None = None) -> None:
        """Prints the table."""
        console = console or consoles.make()
        types = f", {some(self.result['target_types'])} alone" if "target_types" in self.result else ""
        of = f"{self.result['data']}, {self.result['protocol']}, {self.result['seeds']} seed(s){types}"
        table = Table(title=consoles.printable(of))
        for column in ("", "HR@10", "NDCG@10", "95%", "MRR", "parameters", "minutes", "targets/s"):
            table.add_column(column, justify="right" if column else "left")
        for name, row in self.rows.items():
            hr, ndcg, mrr = (f"{row['metrics'][each]:.4f}" for each in SHOWN)
            cost = [""] * 3
            if "parameters" in row:
                cost = [f"{row['parameters']:,.0f}", f"{row['minutes']:.1f}", f"{row['targets_per_second']:,.0f}"]
            interval = "{:.4f} - {:.4f}".format(*row["ci95"]["ndcg@10"])
            table.add_row(name, hr, ndcg, interval, mrr, *cost)
        console.print(table)
        if versus := self.result["paired"]:
            low, high = versus["ci95"]
            console.print(
                f"{versus['first']} minus {versus['second']}, NDCG@10 of the same users: {versus['ndcg@10']:.4f} "
                f"({low:.4f} to {high:.4f}), p = {versus['p']:.4f}"
            )

    def plot(self, path: str | os.PathLike | io.IOBase) -> None:
        """Saves a PNG with a bar per model, NDCG@10 with its interval."""
        rows = dict(reversed(self.rows.items()))
        values = np.array([row["metrics"]["ndcg@10"] for row in rows.values()])
        low, high = np.array([row["ci95"]["ndcg@10"] for row in rows.values()]).T
        figure = new_figure(6, 0.4 * len(rows) + 1)
        axes = figure.subplots()
        colours = ["tab:blue" if "parameters" in row else "lightgrey" for row in rows.values()]
        axes.barh(list(rows), values, xerr=[values - low, high - values], color=colours, capsize=3)
        axes.set(xlabel="NDCG@10, test, whole catalogue")
        axes.set_title(consoles.printable(self.result["data"], 80), parse_math=False)
        axes.spines[["top", "right"]].set_visible(False)
        save_figure(figure, path)

    def __repr__(self) -> str:
        return consoles.as_text(self.show)

    def _repr_html_(self) -> str:
        return consoles.as_html(self.show)


@with_keywords
def compare(
    data: Any,
    models: Sequence[str] | None = None,
    *,
    seeds: int = 1,
    baselines: Sequence[str] = ("popularity", "transitions"),
    vary: Mapping[str, Sequence] | None = None,
    workdir: str | os.PathLike | None = None,
    **keys: Any,
) -> Comparison:
    """Trains several models on a log, and compares them with baselines on the same test questions.

    A model named by itself, such as "gru4rec", is trained by the configuration "default" with the keys that suit it, as
    in `backtest`. A configuration, such as "gru4rec_ml1m", is used as it is, except for the keys given here. The
    checkpoint is chosen by validation, and tested once per seed.

    >>> import jaxrec
    >>> found = jaxrec.compare("ml-100k", ["default", "gru4rec"], seeds=3)  # doctest: +SKIP
    >>> found.rows["gru4rec"]["ci95"]["ndcg@10"], found.result["paired"]["p"]  # doctest: +SKIP

    Args:
        data: a Log from `prepare`, or any input of `prepare`.
        models: names of models, or of configurations (shipped, or files); your own models by import path or registered
            name. By default the models in KINDS.
        seeds: number of trainings per model.
        baselines: popularity, transitions, item-knn, als, bpr or item-features.
        vary: {key: values} of a key; each model is trained with each value.
        workdir: folder of the trainings, resumed or reused if they exist; a new one by default.
        **keys: keys of every configuration, as for `fit`.

    Raises:
        UserError: if a model, baseline or key doesn't exist, or the models split the data differently.
        KeyboardInterrupt: on Ctrl-C; the same workdir resumes the comparison.
    """
    console = consoles.make()
    say = lambda line: console.print(consoles.printable(line), soft_wrap=True)
    log = as_log(data, say)
    baselines = named_baselines(baselines)
    check_seeds(seeds)
    if "seed" in keys:
        raise UserError("seed can't be set here: seeds is the number of trainings, which get the seeds 0, 1, ...")
    made = {
        label: [fitting.configuration(recipe, {**keys, **changes, "seed": seed}, log) for seed in range(seeds)]
        for label, (recipe, changes) in variants(KINDS if models is None else models, vary).items()
    }
    for keys_of_split in (("split", "test_quantile", "target_types"), ("cold_items",)):
        if len({tuple(getattr(each, key) for key in keys_of_split) for of in made.values() for each, _ in of}) > 1:
            said = f"set {keys_of_split[0]} for all of them"
            raise UserError(f"these configurations split the data in different ways: {said}")
    configs = [config for each in made.values() for config, _ in each]
    split, protocol = _split_and_protocol(configs or [fitting.configuration(fitting.DEFAULT, keys, log)[0]], log)
    folder = fitting.fresh("compare") if workdir is None else workdir_at(workdir)
    if workdir is None:
        say(f"workdir {folder}")
    rows, ranks, source = {}, {}, split.baskets(split.test)
    cold = [fitting.split_for(config, log) for config, _ in next(iter(made.values()), []) if config.cold_items]
    for name in baselines:  # once, or for every seed if each holds other items out of training
        ranks[name] = np.stack([_ranks_of_baseline(name, each, protocol) for each in cold or [split]])
        rows[name] = row_of(ranks[name], source)
    for label, each in made.items():
        found = []
        for config, name in each:
            plain = label.replace(" ", "-").replace(os.sep, "-").replace(":", "-")
            path = below(folder, f"{plain}-{config.seed}")
            say(f"{label}, seed {config.seed}: {path}")
            with fitting.ending(folder):
                training = fitting.train(config, name, log, path, console)
            found.append(_tested(training, fitting.split_for(config, log), protocol))
        ranks[label] = np.stack([each for each, _ in found])
        mean = {key: float(np.mean([facts[key] for _, facts in found])) for key in found[0][1]}
        rows[label] = row_of(ranks[label], source) | mean
    order = sorted(made, key=lambda name: -rows[name]["metrics"]["ndcg@10"])
    versus = None
    if len(order) > 1:
        first, second = order[:2]
        versus = {"first": first, "second": second} | paired(ranks[first], ranks[second], source=source)
    told = {"kind": "compare", "data": Path(log.dataset).name, "protocol": protocol, "seeds": seeds}
    told |= {"rows": rows, "paired": versus}
    types = event_types.asked(split.interactions)
    return Comparison(told | ({"target_types": list(types)} if types else {}))


def planned(models: Sequence[str]) -> Planned:
    """Returns {label: (configuration, changes)} for names of models and of configurations.

    A model, including your own by import path, is trained by the configuration "default"; configurations are used as
    they are.

    >>> planned(["gru4rec", "configs/gru4rec_ml1m.py"])
    {'gru4rec': ('default', {'model.name': 'gru4rec'}), 'gru4rec_ml1m': ('configs/gru4rec_ml1m.py', {})}
    """
    own, found = registry.names("model"), {}
    if isinstance(models, str) or not isinstance(models, Sequence) or not all(isinstance(each, str) for each in models):
        raise UserError(f"models is {shown(models)}: give a list of names, as ['default', 'gru4rec'], or [] for none")
    for name in models:
        is_model = name in own or (":" in name and not name.endswith(".py"))
        label, plan = (name, (fitting.DEFAULT, {"model.name": name})) if is_model else (Path(name).stem, (name, {}))
        if found.setdefault(label, plan) != plan:
            raise UserError(f"models: {found[label][0]} and {name} would both be called {label}: rename one")
    return found


def check_seeds(seeds: Any) -> None:
    """Checks a number of trainings.

    Raises:
        UserError: if it is not a whole number above 0.
    """
    if type(seeds) is not int or seeds < 1:
        raise UserError(f"--seeds {seeds}: a whole number, at least 1")


def variants(models: Sequence[str], vary: Mapping[str, Sequence] | None) -> Planned:
    """Returns `planned(models)` with every model once per value of the varied key.

    >>> variants(["sasrec"], {"positions": ["from_start", "relative"]})["sasrec relative"]
    ('default', {'model.name': 'sasrec', 'positions': 'relative'})
    """
    each = planned(models)
    if not vary:
        return each
    (key, values), *more = vary.items()
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise UserError(f"vary {key} is {shown(values)}: give a list of its values")
    if more:
        raise UserError(f"vary one key at a time, not {key} and {more[0][0]}")
    return {
        f"{label} {value}": (recipe, {**changes, key: value})
        for label, (recipe, changes) in each.items()
        for value in values
    }


def _split_and_protocol(configs: Sequence[Config], log: Log) -> tuple[splits.Split, str]:
    """Returns the split and protocol of the configurations. Seen items are kept if all configurations keep them."""
    protocol = protocols.default_protocol(configs[0].split)
    if protocol == protocols.FULL and all(config.seen == "keep" for config in configs):
        protocol = protocols.KEPT
    return fitting.split_for(configs[0], log), protocol


def _ranks_of_baseline(name: str, split: splits.Split, protocol: str) -> np.ndarray:
    """Returns a baseline's ranks for the test questions, [Q]."""
    prepared = ranker.lay_out(split, split.test, protocol, devices=placement.local())
    return ranker.run(prepared, *scored(name, split, split.test))


def _tested(training: fitting.Training, split: splits.Split, protocol: str) -> tuple[np.ndarray, dict[str, float]]:
    """Returns the best checkpoint's ranks for the test questions, [Q], and the costs of the training."""
    config, devices, rows = training.config, placement.local(), training.rows
    model = model_of(config, split)
    params, step = restore_params(training.path, model, "best", jax.sharding.SingleDeviceSharding(devices[0]))
    evaluator = Evaluator(model, config, split, split.test, devices[:1], protocol)
    return evaluator.ranks(params), {
        "parameters": sum(x.size for x in jax.tree.leaves(params)),
        "minutes": training.seconds / 60,
        "epochs": rows[-1]["epoch"],
        "best_epoch": next((row["epoch"] for row in rows if row["step"] == step), rows[-1]["epoch"]),
        "targets_per_second": sum(row["targets"] for row in rows) / max(training.seconds, 1e-9),
    }

"""Is a new item recommended from its first day? New items of a backtest, before and after a training includes them.

    python -m benchmarks.backtest --dataset ml-100k --train-days 84 --test-days 7 --folds 8 --continue epochs=2 ...
    python -m benchmarks.new_items --dataset ml-100k --runs runs/backtest/ml-100k-continued

An item is new in the test that has its first event. The model trained before that test is asked for the item's later
events there: as it is, and with the item added by `Recommender.changed`, as `POST /items` does. It is added like the
newest three items of the first user who interacts with it, at that moment; or by its features, before the test. For the
item's events in the next test, that model is asked too, and so are those trained on the window before the next test,
anew and continued. Metrics are over all tests together; the plot has them by the test in which an item was new.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

from benchmarks import plots, record
from jaxrec.api import backtest
from jaxrec.api.logs import as_log
from jaxrec.data import folds as folding
from jaxrec.evaluation.metrics import MISS, metrics
from jaxrec.inference.loading import load
from jaxrec.inference.stock import NewItem

LIKE = 3  # newest items of the history before the item
NEXT = {"anew": "{}-0", "continued": "{},-continued-0"}  # {how a model of the next test was trained: its workdir}


class Log:
    """The events of a log in the order of time, as a service receives them."""

    def __init__(self, data, plan):
        self.data, times = data, np.asarray(data.times)
        user = np.repeat(np.arange(len(data.users)), np.diff(data.offsets))
        order = np.argsort(times, kind="stable")
        first = np.full(len(data.catalogue.ids) + 1, len(times))
        np.minimum.at(first, data.items[order], np.arange(len(times)))
        fold = np.searchsorted([each.test.since for each in plan], times, side="right") - 1
        place = np.empty(len(times), np.int64)
        place[order] = np.arange(len(times))
        self.first = first[data.items] == place  # [N] whether an event is its item's first
        born = np.full(len(first), len(plan))
        born[data.items[self.first]] = fold[self.first]
        self.fold, self.born = fold, born[data.items]
        self.user, self.order = user, order

    def events(self, fold, born=None):
        """Indices of a test's events, in the order of time.

        Only events of items that are new in test `born` count; without it, those of items that are older than the test.
        """
        mine = (self.fold == fold) & ((self.born == born) if born is not None else (self.born < fold))
        return self.order[mine[self.order]]

    def history(self, event):
        """External ids of the user's items before an event."""
        return self._ids(self.data.items[self.data.offsets[self.user[event]] : event])

    def item(self, event):
        """The external id of an event's item."""
        return self._ids(self.data.items[event : event + 1])[0]

    def about(self, event):
        """The values that the item table has for an event's item."""
        row = self.data.catalogue.about.row(int(self.data.items[event]) - 1, named=True)
        return {name: value for name, value in row.items() if value is not None}

    def _ids(self, numbers):
        return self.data.catalogue.ids[numbers - 1].tolist()


def rank(found, item):
    """The rank of an item in an answer, from 1; MISS if it is not there."""
    return next((place for place, (id, _) in enumerate(found, 1) if id == item), MISS)


def ranks(recommender, log, events):
    """Ranks of the events' items in answers of ten to the histories before them; without a history, none."""
    events = [event for event in events if log.history(event)]
    found = recommender.recommend_batch([log.history(event) for event in events], k=10)
    return [rank(answer, log.item(event)) for answer, event in zip(found, events, strict=True)]


def by_first_meeting(recommender, log, fold):
    """Adds each new item after its first event. Returns (ranks of its events, the Recommender with all, seconds)."""
    found, seconds, there, trained = [], [], set(), set(recommender.catalogue.ids.tolist())
    for event in log.events(fold, fold):
        item, history = log.item(event), log.history(event)
        if history and not log.first[event]:
            found.append(rank(recommender.recommend(history, k=10), item))
        known = [id for id in history if id in trained or id in there][-LIKE:]
        if item not in there and known:
            begun = time.perf_counter()
            recommender = recommender.changed([NewItem(item, like=known)])
            seconds.append(time.perf_counter() - begun)
            there.add(item)
    return found, recommender, seconds


def by_features(recommender, log, fold):
    """The same for items that are added by their features, before the test begins."""
    new = [event for event in log.events(fold, fold) if log.first[event]]
    columns = set(recommender.catalogue.about.columns)
    told = [{name: value for name, value in log.about(event).items() if name in columns} for event in new]
    items = [NewItem(log.item(event), about=about) for event, about in zip(new, told, strict=True)]
    recommender = recommender.changed(items) if items else recommender
    asked = [event for event in log.events(fold, fold) if not log.first[event]]
    return ranks(recommender, log, asked), recommender, []


def told(ranks_of):
    """Metrics of the ranks of all tests together, and the number of questions; the number only if that is 0."""
    every = [rank for each in ranks_of.values() for rank in each]
    numbers = metrics(np.array(every, np.int32)) if every else {}
    return {"questions": len(every)} | {key: numbers[key] for key in ("hr@10", "ndcg@10") if numbers}


def plot(result, path):
    """Draws HR@10 of the new items' events by test: in the test in which they are new, and in the next."""
    rows = {name: row for name, row in result["data"].items() if "by_test" in row}
    figure, panels = plots.panels(2, len(rows), height=2.9)
    for number, (name, found) in enumerate(rows.items()):
        for axes, when, title in zip(
            panels[2 * number :], ("same", "next"), ("the same test, later", "the next test"), strict=False
        ):
            for way, tests in found["by_test"][when].items():
                asked = {int(fold): each for fold, each in tests.items() if each["questions"]}
                plots.line(axes, asked, [each["hr@10"] for each in asked.values()], way)
            axes.set_xticks(list(asked), [f"{fold}\n{each['questions']}" for fold, each in asked.items()])
            axes.set(title=f"{name}: {title}", ylim=(-0.03, 1.03), ylabel="HR@10")
            axes.set(xlabel="test that they came in, and events asked")
    plots.save(figure, path)


def main(flags):
    """Asks the models, and writes the metrics over all tests."""
    log = as_log(flags.dataset)
    said = json.loads((flags.runs / backtest.PLAN).read_text())
    days = None if said["train_days"] == folding.ALL else said["train_days"]
    plan = folding.plan(log.interactions, days, said["test_days"], said["folds"])
    events, found, seconds = Log(log.interactions, plan), {}, []
    keep = lambda when, way, fold, ranks: found.setdefault(when, {}).setdefault(way, {}).update({fold: ranks})
    for fold in range(said["folds"]):
        path, last = flags.runs / f"fold-{fold}", fold + 1 == said["folds"]
        plain = load(path / NEXT["continued" if fold else "anew"].format(flags.model))
        ways = {"as trained": None, "added, like what was before it": by_first_meeting}
        ways |= {"added, by features": by_features} if plain.config.features else {}
        own = [event for event in events.events(fold, fold) if not events.first[event]]
        later = events.events(fold + 1, fold) if not last else []
        for way, add in ways.items():
            same, recommender, took = add(plain, events, fold) if add else (ranks(plain, events, own), plain, [])
            seconds += took
            keep("same", way, fold, same)
            keep("others", way, fold, ranks(recommender, events, events.events(fold)[:: flags.every]))
            keep("next", way, fold, ranks(recommender, events, later))
        for way, name in NEXT.items() if not last else ():
            after = load(flags.runs / f"fold-{fold + 1}" / name.format(flags.model))
            keep("next", way, fold, ranks(after, events, later))
        print(f"test {fold}: {len(own)} and {len(later)} events of its new items", flush=True)
    result = {when: {way: told(each) for way, each in of.items()} for when, of in found.items()}
    by_test = {
        when: {way: {str(fold): told({0: each}) for fold, each in tests.items()} for way, tests in found[when].items()}
        for when in ("same", "next")
    }
    new = sum(int(events.first[events.events(fold, fold)].sum()) for fold in range(said["folds"]))
    name, path = Path(flags.dataset).name, record.place("new_items", "json")
    kept = json.loads(path.read_text())["data"] if path.exists() else {}
    row = {"new_items": new, "tests": said["folds"], "test_days": said["test_days"], "model": flags.model}
    row |= {"milliseconds_to_add_one": 1000 * statistics.median(seconds or [0]), "asked": result, "by_test": by_test}
    whole = {"kind": "new_items", "data": kept | {name: row}}
    record.write("new_items", whole)
    plot(whole, record.place("new_items", "png"))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--runs", type=Path, required=True, help="workdir of a backtest with continued trainings")
    parser.add_argument("--model", default="default")
    parser.add_argument("--every", type=int, default=10, help="ask for one in this many events of other items")
    main(parser.parse_args())

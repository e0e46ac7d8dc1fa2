"""Makes tables of what is gained: by levers of training, by searches, by what a model is shown, and by precision."""

import statistics

from jaxrec.config import parsing

DATA = {"ml-1m-sasrec": "ml-1m"}  # {name: the name to show}, for data with two names
#: {what a log knows: the arms of `benchmarks.context` that show it}
SECTIONS = {
    "times": ("gap", "calendar", "time"),
    "attention": ("bias", "intervals"),
    "asked": ("asked", "asked, with query time"),
    "actions": ("weights", "types", "played", "loss"),
    "topics": ("switch", "sessions"),
    "baskets": ("baskets",),
    "items": ("features",),
    "users": ("users",),
    "together": ("together", "together, with query time"),
}
KINDS = "warm", "cold"  # targets that are in the training, and targets that are not
WITHOUT, DRAW = "without features", "drawn from what shares a value"  # rows that others are compared with
DEFAULT = ", default"  # suffix of columns that are measured against configs/default.py as it is


def levers(result):
    """What each lever gains in NDCG@10: on validation with one seed, on the test with more."""
    own = {name.removesuffix(DEFAULT): found for name, found in result["data"].items() if name.endswith(DEFAULT)}
    recipes = {name: found for name, found in result["data"].items() if not name.endswith(DEFAULT)}
    return (
        f"{_gains(recipes)}\n\nAgainst {_bases(recipes)}.\n\n"
        f"Against `default` with no other key changed than a column says, all epochs:\n\n{_gains(own)}\n\n"
        f"On {_machines(result, 'levers')}.\n"
    )


def _gains(data):
    """A table with a row for each lever, and a column for each data set."""
    rows = [
        "| gain of NDCG@10 (95%), seeds | " + " | ".join(DATA.get(name, name) for name in data) + " |",
        "|---|" + "---|" * len(data),
    ]
    for lever in dict.fromkeys(lever for found in data.values() for lever in found["levers"]):
        cells = [_gain(found["levers"].get(lever)) for found in data.values()]
        changes = next(found["levers"][lever]["changes"] for found in data.values() if lever in found["levers"])
        rows.append(f"| {_listed(changes)} | {' | '.join(cells)} |")
    return "\n".join(rows)


def context(result, section):
    """What the kinds of context of a section gain on the test."""
    data = {name: found for name, found in result["data"].items() if set(SECTIONS[section]) & set(found["arms"])}
    rows = ["| data | shown, or counted | seeds | NDCG@10 | Recall@20 | MRR@20 |", "|---|---|---|---|---|---|"]
    for name, found in data.items():
        at = found["base"]["test"]
        bare = " | ".join(f"{at[metric]:.4f}" if metric in at else "" for metric in ("ndcg@10", "recall@20", "mrr@20"))
        rows.append(f"| {DATA.get(name, name)} | items alone | {at['seeds']} | {bare} |")
        for row in (found["arms"][arm] for arm in SECTIONS[section] if arm in found["arms"]):
            listed = _listed(row["changes"]) + (", with query time" if row.get("query_time") else "")
            test = row["test"]
            gains = {"ndcg@10": {"mean": test["gain"]["ndcg@10"], "ci95": test["gain"]["ci95"]}}
            gains |= test.get("gain_at_20", {"recall@20": None, "mrr@20": None})
            shown = (
                f"{test[metric]:.4f}, {_share(gain, test[metric])}" if gain else "" for metric, gain in gains.items()
            )
            cells = " | ".join(shown)
            rows.append(f"| {DATA.get(name, name)} | {listed} | {row['seeds']} | {cells} |")
    return "\n".join(rows) + "\n"


def trained(result):
    """The recipes and machines by which the gains of context were measured."""
    return f"Trained by {_bases(result['data'])}, on {_machines(result, 'arms')}.\n"


def continued(results):
    """NDCG@10 and cost of models that are continued from window to window, next to models trained anew."""
    names = "data", "seeds", "tests", "continued with", "epochs, anew / continued", "seconds", "of the seconds"
    names = *names, "NDCG@10, anew / continued", "continued to anew (95%)"
    rows = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for result in results:
        for name, anew in result["rows"].items():
            if (on := result["rows"].get(f"{name}, continued")) is None:
                continue
            keys = _listed(result["continued"])
            row, data = on["beside"], f"{result['data'].removesuffix('-continued')}, `{name}`"
            mean = lambda of: statistics.mean(each["minutes"] for each in of["trainings"] if each["fold"])
            minutes = mean(anew), mean(on)
            seconds = f"{60 * minutes[0]:.0f} / {60 * minutes[1]:.1f} | {minutes[1] / minutes[0]:.0%}"
            tests = f"{result['seeds']} | {row['tests']} | {keys} | {anew['epochs']:.3g} / {on['epochs']:g}"
            fresh, difference = row["fresh"]["ndcg@10"], row["difference"]
            low, high = (each / fresh for each in difference["ci95"])
            share = f"{difference['ndcg@10'] / fresh:+.1%} ({low:+.1%} to {high:+.1%})"
            rows.append(f"| {data} | {tests} | {seconds} | {fresh:.4f} / {row['metrics']['ndcg@10']:.4f} | {share} |")
    return "\n".join(rows) + "\n"


def new_items(result):
    """How often new items are among the best ten, before and after a training includes them."""
    rows = [
        "| data, new items | asked | events | by what | HR@10 | NDCG@10 |",
        "|---|---|---|---|---|---|",
    ]
    parts = {"same": "the same test, later", "next": "the next test", "others": "all other items, the same test"}
    ways = {"as trained": "the model of before", "anew": "trained anew", "continued": "continued"}
    for name, found in result["data"].items():
        for part, said in parts.items():
            for way, row in found["asked"][part].items():
                cells = f"{row['questions']:,} | {ways.get(way, way)} | {row['hr@10']:.4f} | {row['ndcg@10']:.4f}"
                rows.append(f"| {name}, {found['new_items']:,} | {said} | {cells} |")
    return "\n".join(rows) + "\n"


def unmet(results):
    """HR@10 of test items that are in the training, and of those that are not, by model or baseline."""
    rows = [
        "| HR@10 | " + " | ".join(f"{found['data']}, {part}" for found in results for part in KINDS) + " |",
        "|---" * (1 + 2 * len(results)) + "|",
    ]
    for who in dict.fromkeys(who for found in results for who in found["mean"]["cold"]):
        cells = (_unmet(found, part, who) for found in results for part in KINDS)
        rows.append(f"| {who} | {' | '.join(cells)} |")
    said = (
        f"{found['data']} `{found['recipe']}` with {_listed(found['changes'])}, and with features "
        f"{_listed({key: found[key] for key in ('features', 'id_dropout')})}, {len(found['seeds'])} seeds"
        for found in results
    )
    machines = dict.fromkeys(found["machine"] for found in results)
    return "\n".join(rows) + f"\n\nTrained by {'; '.join(said)}, on {' or '.join(machines)}.\n"


def _unmet(found, part, who):
    """HR@10: for warm targets with its gain over no features, for cold ones as a multiple of a random draw's."""
    rows = found["mean"][part]
    at = rows[who]["hr@10"]
    if part == "warm":
        return f"{at:.4f} ({at / rows[WITHOUT]['hr@10'] - 1:+.0%})" if who.startswith("with ") else f"{at:.4f}"
    return f"{at:.4f} ({at / rows[DRAW]['hr@10']:.1f} times)" if who != WITHOUT else f"{at:.4f}"


def precision(result):
    """What each recipe reaches on the test in both precisions."""
    rows = [
        "| recipe | float32: HR@10 / NDCG@10 | bfloat16 | NDCG@10 of bfloat16 to float32 (95%) | seeds | on |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in result["recipes"].items():
        both = (f"{row[each]['hr@10']:.4f} / {row[each]['ndcg@10']:.4f}" for each in ("float32", "bfloat16"))
        difference = _relative(row["gain"], row["float32"]["ndcg@10"])
        rows.append(f"| `{name}` | {' | '.join(both)} | {difference} | {row['seeds']} | {row['machine']} |")
    return "\n".join(rows) + "\n"


def tuned(results):
    """What searches chose, and what that gains on the test over their own training of `default`."""
    rows = [
        "| data, minutes | seed | minutes taken | recipes tried | chosen | NDCG@10, `default` / chosen |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        data, both = f"{result['data']}, {result['budget']:g}", ("default", "tuned")
        for search in result["searches"]:
            chosen = _listed(search["changes"]) or "`default`"
            cells = " / ".join(f"{search[who]['ndcg@10']:.4f}" for who in both)
            rows.append(
                f"| {data} | {search['seed']} | {search['minutes']:.1f} | {search['trials']} | {chosen} | {cells} |"
            )
        cells = " / ".join(f"{result[who]['ndcg@10']:.4f}" for who in both)
        gain = _relative(result["gain"], result["default"]["ndcg@10"])
        rows.append(f"| {data} | all | {result['minutes']:.1f} |  |  | {cells}, {gain} |")
    machines = dict.fromkeys(result["machine"] for result in results)
    return "\n".join(rows) + f"\n\nOn {' or '.join(machines)}.\n"


def _gain(row):
    if row is None:
        return ""
    part = "test" if "test" in row else "valid"
    seeds = f", {row['seeds']}" if part == "test" else ", 1, validation"
    gain = row[part]["gain"]
    at = row[part]["ndcg@10"] - gain["ndcg@10"]  # of this row's own base, which may have fewer seeds
    return _relative(gain, at) + seeds


def _relative(gain, at):
    """A gain in NDCG@10 with its interval, in per cent of the base value `at`."""
    return _share({"mean": gain["ndcg@10"], "ci95": gain["ci95"]}, at + gain["ndcg@10"])


def _share(gain, now):
    """A gain with its interval, in per cent of the base; `now` is the value with the gain."""
    at = now - gain["mean"]
    low, high = (each / at for each in gain["ci95"])
    return f"{gain['mean'] / at:+.1%} ({low:+.1%} to {high:+.1%})"


def _bases(data):
    """What the trainings of each data set have in common."""

    def described(name, recipe, changes):
        return f"{DATA.get(name, name)} `{recipe}`" + (f" with {_listed(changes)}" if changes else "")

    return "; ".join(described(name, found["base"]["recipe"], found["base"]["changes"]) for name, found in data.items())


def _listed(changes):
    """The changes as `key=value`, separated by spaces."""
    return " ".join(f"`{key}={value}`" for key, value in parsing.flatten(changes).items())


def _machines(result, changes):
    """The machines that the trainings ran on: one for each change and its base, but maybe several for all changes."""
    own = [
        row.get("machine", result["machine"]) for found in result["data"].values() for row in found[changes].values()
    ]
    return " or ".join(dict.fromkeys(own))

"""Writes the tables of docs/results.md, other pages and the README from results/*.json.

The tables of docs/keys.md list the package's own keys.

    python -m benchmarks.tables [--check]

With --check, nothing is written, and the exit status says whether all pages are up to date.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks import beyond, readme
from benchmarks.gains import DATA, SECTIONS, context, continued, levers, new_items, precision, trained, tuned, unmet
from benchmarks.record import RESULTS
from jaxrec.config import reference

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- tables -->\n", "<!-- /tables -->"
PARTS = "", "model", "loss", "optim", "mesh"  # of a configuration, as docs/keys.md has them
MODELS = {"sasrec": "SASRec", "gru4rec": "GRU4Rec", "bert4rec": "BERT4Rec", "caser": "Caser"}


def quality(results, first, second):
    """Test metrics next to the published ones, of the results that have these two metrics."""
    names = [{"recall@20": "Recall@20"}.get(each, each.upper()) for each in (first, second)]
    rows = [
        "| model | data, protocol | {0} | {1} (95%) | published | {1} to it | seeds | epochs, best |".format(*names),
        "|---|---|---|---|---|---|---|---|",
    ]
    sessions = first == "recall@20"
    results = {name: result for name, result in results.items() if (result["protocol"] == "sessions") == sessions}
    labels = {}
    for name, result in results.items():
        config, mean, published = result["config"], result["mean"], result["published"]
        layers = (
            f"{config['layers']} {'layer' if config['name'] == 'gru4rec' else 'block'}{'s' * (config['layers'] > 1)}"
        )
        label = f"{MODELS[config['name']]}, {config['loss']}, d {config['dim']}, {layers}"
        labels[name] = f"{label}, {result['data']}"
        done = "" if all(each["complete"] for each in result["runs"]) else ", not finished"
        known = "|"  # both columns are empty
        if published:
            known = f"{published[first]:.4f} / {published[second]:.4f} | {mean[second] / published[second] - 1:+.1%}"
        rows.append(
            f"| [{label}](benchmarks/results/{name}.json) | {result['data']}, {result['protocol']} "
            f"| {mean[first]:.4f} | {mean[second]:.4f}{readme.interval(result, second)} | {known} | {result['seeds']} "
            f"| {span(result, 'epochs')}, {span(result, 'best_epoch')}{done} |"
        )
    notes = [f"{labels[name]}: {result['note'].rstrip('.')}." for name, result in results.items() if result["note"]]
    if not results:
        return ""
    return "\n".join(rows) + ("\n\n" + "\n".join(notes) if notes else "")


def span(result, key):
    """The lowest and the highest value of the runs, or one value if they are equal."""
    values = sorted({round(run[key]) for run in result["runs"]})
    return f"{values[0]}" if len(values) == 1 else f"{values[0]} to {values[-1]}"


def floors(result):
    """The baselines, next to the values computed elsewhere."""
    rows = ["| baseline, test, full | HR@10 / NDCG@10 | computed elsewhere |", "|---|---|---|"]
    for name, row in result["rows"].items():
        data, baseline = name.rsplit(" ", 1)
        hr, ndcg = row["metrics"]["hr@10"], row["metrics"]["ndcg@10"]
        rows.append(
            f"| {baseline}, {data} | {hr:.4f} / {ndcg:.4f} | {row['expected'][0]:.4f} / {row['expected'][1]:.4f} |"
        )
    why = "Where ours is lower, items of equal count and popularity tie with the target, and ties count against it."
    return "\n".join([*rows, "", why])


def rates(results):
    """Speed of training and of evaluation."""
    rows = ["| configuration | machine | real targets/s | questions | evaluation, s |", "|---|---|---|---|---|"]
    for name, result in results.items():
        checked = result["evaluation"]
        rows.append(
            f"| [{' '.join([result['config'], *map('='.join, result['changes'].items())])}]"
            f"(benchmarks/results/{name}.json) | {result['machine']} "
            f"| {result['targets_per_second']:,.0f} | {checked['questions']:,} | {checked['seconds']:.2f} |"
        )
    return "\n".join(rows)


def speed(result, other):
    """How many times as fast as each peer each of ours is, with the C library's allocator and with another one."""
    given = {"": result}
    if other:
        given[f", {Path(other['preload']).name.partition('.')[0].removeprefix('lib')}"] = other
    rows = [
        f"On {result['machine']}, medians of {result['rounds']} turns of {result['seconds']:g} s, ours / the peer's:",
        "",
        "| task | peer | real targets/s | s per epoch | of the limit | peak GiB |"
        + "".join(f" times as fast{allocator} |" for allocator in given),
        "|---|---|---|---|---|---|" + "---|" * len(given),
    ]
    for task, found in result["tasks"].items():
        for label, row in found["rows"].items():
            for peer in row.get("ratio", {}):
                both = row, found["rows"][peer]
                share = ""
                if "share" in row:
                    share = " / ".join(f"{each['share']:.1%}" for each in both)
                elif found["limit"] and label == "jaxrec":  # the limit is that of the configuration unchanged
                    share = " / ".join(f"{each['targets_per_second'] / found['limit']:.0%}" for each in both)
                cells = [
                    task + label.removeprefix("jaxrec"),
                    peer,
                    " / ".join(f"{each['targets_per_second']:,.0f}" for each in both),
                    " / ".join(f"{each['epoch_seconds']:,.1f}" for each in both),
                    share,
                    " / ".join(f"{each.get('device_bytes', each['peak_gib'] * 2**30) / 2**30:.2f}" for each in both),
                ]
                for each in given.values():
                    median, low, high = each["tasks"][task]["rows"][label]["ratio"][peer]
                    cells.append(f"{median:.1f} [{low:.1f}..{high:.1f}]")
                rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def compared(result):
    """Models and baselines under one protocol, the best first."""
    seeds = f"{result['seeds']} seed{'s' * (result['seeds'] > 1)}"
    data = DATA.get(result["data"], result["data"])
    rows = [
        f"Trained for this comparison, and evaluated by one protocol, on {result['machine']}:",
        "",
        f"| {data}, test, full, {seeds} | HR@10 | NDCG@10 (95%) | MRR | parameters | minutes | targets/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in sorted(result["rows"].items(), key=lambda item: -item[1]["metrics"]["ndcg@10"]):
        hr, ndcg, mrr = (f"{row['metrics'][each]:.4f}" for each in ("hr@10", "ndcg@10", "mrr"))
        low, high = row["ci95"]["ndcg@10"]
        cost = "| | |"
        if "parameters" in row:
            cost = f"{row['parameters']:,.0f} | {row['minutes']:.0f} | {row['targets_per_second']:,.0f} |"
        rows.append(f"| {MODELS.get(name, name)} | {hr} | {ndcg} ({low:.4f} to {high:.4f}) | {mrr} | {cost}")
    if versus := result["paired"]:
        first, second = (MODELS.get(versus[each], versus[each]) for each in ("first", "second"))
        low, high = versus["ci95"]
        rows += [
            "",
            f"{first} minus {second}, on the same users: NDCG@10 {versus['ndcg@10']:.4f} ({low:.4f} to {high:.4f})",
        ]
        rows[-1] += f", p = {versus['p']:.4f}."
    return "\n".join(rows)


def latency(engine, service):
    """One request at a time from Python, then many over HTTP."""
    lines = []
    if engine:
        lines += [f"Answers from Python, on {engine['machine']}:", ""]
        lines += ["| one request, history of 100 items | p50, ms | p99, ms |", "|---|---|---|"]
        for items, found in engine["milliseconds"].items():
            lines += [f"| {items}, {label} | {row['p50']:.2f} | {row['p99']:.2f} |" for label, row in found.items()]
        lines += ["", f"With a million items, recall@100 of the approximate answers is {engine['recall@100']:.4f}.", ""]
    if service:
        lines += [
            f"Answers of the service, on {service['machine']}:",
            "",
            "| HTTP, 54,000 items, requests per second | p50, ms | p99, ms | not answered |",
            "|---|---|---|---|",
        ]
        for row in service["loads"]:
            lost = 1 - row["statuses"].get("200", 0) / sum(row["statuses"].values())
            lines.append(
                f"| {row['rate']} | {row['milliseconds']['p50']:.1f} | {row['milliseconds']['p99']:.1f} | {lost:.1%} |"
            )
        over, after = (each[-1] for each in zip(*(each.values() for each in service["overload"]), strict=True))
        lines += [
            "",
            f"At {over['rate']:.0f} per second it answers {over['answered_a_second']:.0f}, others with 503;",
        ]
        lines.append(f"just after, at {after['rate']:.0f} per second, p99 is {after['milliseconds']['p99']:.1f} ms.")
        if hours := service.get("soak"):
            done, asked = hours["statuses"].get("200", 0), sum(hours["statuses"].values())
            lines.append(
                f"In {hours['seconds'] / 60:.0f} minutes at {hours['rate']:.0f} per second, a new checkpoint every "
                f"20 s, {done:,} of {asked:,} requests were answered (p99 {hours['milliseconds']['p99']:.0f} ms), "
                f"{hours['taken']} of {hours['checkpoints']} checkpoints were loaded."
            )
        if killed := service.get("kills"):
            lines.append(
                f"{killed['kills']} SIGKILLs lost {killed['lost']} of {killed['acknowledged']:,} acknowledged events."
            )
    return "\n".join(lines)


def robustness(results):
    """Whole trainings, kills, devices and preparing, grouped by machine."""
    said = {}
    say = lambda result, line: said.setdefault(result["machine"], []).append(f"- {line}")
    for name, whole in results.items():
        if whole["kind"] == "whole":
            ndcg = ", ".join(f"{label} {row['ndcg@10']:.3f}" for label, row in whole["rows"].items())
            say(
                whole,
                f"[{whole['config']}](benchmarks/results/{name}.json), {whole['epochs']:.0f} epochs: "
                f"train.py takes {whole['seconds']:,.0f} s, evaluations included; NDCG@10 on test: {ndcg}.",
            )
    if starting := results.get("starting"):
        until = {case: starting["now"][case]["step"]["seconds"] for case in ("cold", "seed", "warm")}
        say(
            starting,
            f"[The first step](benchmarks/results/starting.json) of {starting['config']} ends {until['warm']:.1f} s "
            f"after train.py starts, {until['seed']:.1f} s with another seed, {until['cold']:.1f} s the first time, "
            "when the program is compiled.",
        )
    if kills := results.get("resume"):
        same = "after resuming, parameters, optimiser state and metrics (except times) are bit-identical"
        same = same if kills["identical"] else "DIFFERENT"
        names = {
            "kill": "SIGKILL",
            "term": "SIGTERM",
            "full": "a full disk",
            "moved": "its workdir moved",
            "locked": "a lock",
        }
        ways = ", ".join(names[way] for way in kills.get("ways", ["kill"]))
        times = f"{kills['kills']} times at random moments, by {ways}"
        say(kills, f"[Interrupted](benchmarks/results/resume.json) {times}: {same}.")
    if devices := results.get("simulated_devices"):
        worst = max(row["largest_difference_of_a_loss"] for row in devices["rows"].values())
        say(
            devices,
            "[1, 2, 4 and 8 simulated devices](benchmarks/results/simulated_devices.json), by pmap and by shard_map: "
            f"over {devices['steps']} steps with dropout and negatives, no loss differs by more than {worst:.1e}.",
        )
    if prepared := results.get("prepare"):
        cost = {
            who: "; ".join(
                f"{name} {each[who]['seconds']:.1f} s, {each[who]['peak_gib']:.1f} GiB"
                for name, each in prepared["formats"].items()
            )
            for who in ("jaxrec", "pandas")
        }
        rows = f"{prepared['rows'] // 10**6} million rows"
        say(
            prepared,
            f"[Prepared](benchmarks/results/prepare.json), {rows}: {cost['jaxrec']}. "
            "A plain [pandas script](benchmarks/prepare_pandas.py) without checks, summary or splits: "
            f"{cost['pandas']}.",
        )
    if scale := results.get("prepare_scale"):
        say(
            scale,
            f"[{scale['rows'] / 1e6:.0f} million rows](benchmarks/results/prepare_scale.json) of Parquet: "
            f"{scale['seconds'] / 60:.1f} minutes, {scale['peak_gib']:.1f} GiB; the prepared folder loads in "
            f"{scale['load_seconds']:.2f} s.",
        )
    for name in ("large", "large_300m"):
        if large := results.get(name):
            say(large, beyond.prepared(name, large))
    if large := results.get("large_train"):
        say(large, beyond.trained(large))
    return "\n\n".join("\n".join([f"On {machine}:", "", *lines]) for machine, lines in said.items())


def tables(results):
    """All tables under their titles, as docs/results.md shows them."""
    of = lambda kind: {name: result for name, result in results.items() if result["kind"] == kind}
    sections = {
        "Accuracy": [quality(of("quality"), "hr@10", "ndcg@10"), quality(of("quality"), "recall@20", "mrr@20")],
        "Models by one protocol": [
            compared(result) for name, result in of("compare").items() if name == f"compare_{result['data']}"
        ],
        "Baselines": [floors(result) for result in of("floors").values()],
        "Speed": [
            *([rates(of("rate"))] if of("rate") else []),
            *([speed(results["speed"], results.get("speed_libjemalloc"))] if "speed" in results else []),
            *(speed(result, None) for result in of("speed").values() if "peak_bfloat16" in result),
        ],
        "Answers": [
            latency(results.get("engine"), results.get("serving")),
            *(beyond.several(result) for result in of("serving").values() if result.get("workers", 1) > 1),
            *(beyond.states(result) for result in of("states").values()),
        ],
        "Whole trainings, resuming and preparing": [robustness(results)],
    }
    filled = {title: [part for part in parts if part] for title, parts in sections.items()}
    text = "\n\n".join("\n\n".join([f"## {title}", *parts]) for title, parts in filled.items() if parts)
    return text.replace("](benchmarks/", "](../benchmarks/") + "\n"


def keys(part):
    """The table of a part of the configuration's keys."""
    cell = lambda text: text.replace("|", "\\|").replace("*", "\\*")
    lines = ["| key | default | values | meaning |", "|---|---|---|---|"]
    for key in reference.listed():
        if (key.name.partition(".")[0] if "." in key.name else "") == part:
            of = f" ({', '.join(key.of)})" if key.of else ""
            default = key.default if key.default == "required" else f"`{key.default}`"
            lines.append(f"| `{key.name}` | {default} | {cell(key.values)} | {cell(key.meaning)}{of} |")
    return "\n".join(lines) + "\n"


def filled(text, written):
    """Returns the text of a page with these tables between its marks, in order."""
    head, *rest = text.split(BEGIN)
    return head + "".join(BEGIN + own + END + each.split(END)[1] for own, each in zip(written, rest, strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    flags = parser.parse_args()
    results, stale = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}, []
    pages = {"README.md": [readme.highest(results), readme.peers(results)], "docs/results.md": tables(results)}
    if "levers" in results:
        searched = [result for name, result in results.items() if name.startswith("tuned_")]
        pages["docs/recipes.md"] = [*([tuned(searched)] if searched else []), levers(results["levers"])]
    if "context" in results:
        cost = [beyond.everything(results["everything"])] if "everything" in results else []
        gained = [context(results["context"], section) for section in SECTIONS]
        cold = [result for name, result in results.items() if name.startswith("features_")]
        pages["docs/context.md"] = [*gained, trained(results["context"]), *cost, *([unmet(cold)] if cold else [])]
    if "new_items" in results:
        rolling = [result for name, result in results.items() if name.startswith("backtest_") and "-continued" in name]
        pages["docs/backtest.md"] = [continued(rolling), new_items(results["new_items"])]
    if "compiled" in results:
        measured = [precision(results["precision"])] if "precision" in results else []
        counted = results["compiled"]
        pages["docs/accelerators.md"] = [beyond.kernels(counted), beyond.compiled(counted), *measured]
    if "mesh_dense" in results:
        big = [beyond.largest(results["largest"])] if "largest" in results else []
        held = [beyond.softmax(results["softmax"])] if "softmax" in results else []
        pages["docs/scale.md"] = [*held, beyond.dense(results["mesh_dense"]), *big, beyond.together(results)]
    if "millions" in results:
        changing = [beyond.stocking(results["stocking"])] if "stocking" in results else []
        pages["docs/serving.md"] = [*changing, beyond.millions(results["millions"])]
    pages["docs/keys.md"] = [keys(part) for part in PARTS]
    for page, written in pages.items():
        text = (ROOT / page).read_text()
        if (fresh := filled(text, [written] if isinstance(written, str) else written)) == text:
            continue
        stale.append(page)
        if not flags.check:
            (ROOT / page).write_text(fresh)
    if flags.check and stale:
        sys.exit(f"not up to date with benchmarks/results: {', '.join(stale)}; run python -m benchmarks.tables")


if __name__ == "__main__":
    main()

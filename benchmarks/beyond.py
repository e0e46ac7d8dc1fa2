"""Makes tables of what goes beyond this machine: programs for other devices, wide layers, logs larger than memory."""

import functools
import statistics

MIB = 1 << 20
#: {recipe: the most kernels that a step on an H100 may launch}
BARS = {
    "sasrec_ml1m": 120,
    "sasrec_softmax_ml1m": 200,
    "sasrec_softmax_beauty_bert4rec": 150,
    "gsasrec_ml1m": 200,
    "bert4rec_ml1m": 200,
    "gru4rec_ml1m model.fused=True": 400,
    "gru4rec_rsc15": 50,
}


def kernels(result):
    """How many kernels a step launches on an H100 in both precisions, and how many it may."""
    rows = ["| recipe | at most | float32 | bfloat16 |", "|---|---|---|---|"]
    for label, most in BARS.items():
        found = [_steps(result, label, precision)["kernels"] for precision in ("", " precision=bfloat16")]
        told = (f"{number:,}" if number <= most else f"{number:,}, too many" for number in found)
        rows.append(f"| {label} | {most} | {' | '.join(told)} |")
    return "\n".join(rows) + "\n"


def _steps(result, label, precision):
    return result["rows"]["cuda:1x1x1"][label + precision]["train"]


def compiled(result):
    """What a round of each program costs, by the devices that it was compiled for, which need not be present."""
    rows = [
        f"By jax {result['jax']}, compiled on {result['machine']}:",
        "",
        "| devices | recipe | program | kernels | products, 10^9 | MB moved | MiB of temporaries | collectives, kB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for where, recipes in result["rows"].items():
        for label, programs in recipes.items():
            for name in ("train", "encode", "rank"):
                if row := programs.get(name):
                    number = sum(row["collectives"].values())
                    exchanged = f"{number}, {row['collective_bytes'] / 1e3:,.0f}" if number else ""
                    of = f" of {row['at_once']:,}" if "at_once" in row else ""
                    rows.append(
                        f"| {where} | {label} | {name}{of} | {row['kernels']:,} | {row['flops'] / 1e9:,.2f} "
                        f"| {row['bytes'] / 1e6:,.0f} | {row['temporaries'] / 2**20:,.0f} | {exchanged} |"
                    )
    return "\n".join(rows) + "\n"


def dense(result):
    """What a device holds and sends for wide layers, replicated or split over the devices that share a step's rows.

    On a ring of n devices, each sends 2 (n - 1) / n of the bytes of an all-reduce, half of that in a reduce-scatter,
    and the size of the other devices' parts in an all-gather, of which a step has two.
    """
    pairs = {}
    for row in result["rows"]:
        pairs.setdefault(tuple(row["mesh"]), {})[row["dense"]] = row
    held = {"params and optimiser": "state_bytes", "temporaries": "temporary_bytes"}
    head = [f"{name}, {how}" for name in held for how in ("replicated", "split")]
    head += [f"sent over `data` by a device, {how}" for how in ("replicated", "split")]
    rows = [f"| data x item | {' | '.join(head)} |", "|---|" + "---|" * len(head)]
    for (data, item), found in pairs.items():
        times = {"summed": 2 * (data - 1) / data, "put together": data - 1, "summed to parts": (data - 1) / data}
        sent = [
            sum(times[name] * given for name, given in found[how]["formula_bytes"].items())
            for how in ("replicated", "split")
        ]
        amounts = [found[how][key] for key in held.values() for how in ("replicated", "split")]
        cells = [f"{amount / MIB:,.0f} MiB" for amount in (*amounts, *sent)]
        rows.append(f"| {data} x {item} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def softmax(result):
    """The working memory of a step with the full softmax, one row per kind of device."""
    sizes = [row["items"] for row in next(iter(result["rows"].values()))]
    rows = [f"| | {' | '.join(f'{items:,} items' for items in sizes)} |", "|---" * (len(sizes) + 1) + "|"]
    for label, of in result["rows"].items():
        cells = [f"{row['work_bytes'] / MIB:,.0f} MiB" for row in of]
        rows.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def largest(result):
    """The largest catalogues that fit, one row for each kind and number of chips."""
    losses = list(dict.fromkeys(name for row in result["rows"].values() for name in row))
    rows = [f"| chips | memory of a chip, GiB | {' | '.join(losses)} |", "|---|---|" + "---|" * len(losses)]
    for label, found in result["rows"].items():
        room = next(iter(found.values()))["room"] >> 30
        cells = [_items(found[name]) if name in found else "" for name in losses]
        rows.append(f"| {label.replace('x', ' x ')} | {room} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _items(row):
    more = " and more" if row["bounded_by"] == "int32" else ""
    return f"{row['items'] / 1e6:,.0f} million{more}"


def prepared(name, large):
    """What preparing with little memory takes, by format, next to what it is compared with."""
    told = []
    for kind, each in large["formats"].items():
        cost = lambda which: f"{each[which]['seconds']:.0f} s, {each[which]['peak_gib']:.2f} GiB"  # noqa: B023
        also = {"plain": "without `--memory`", "duckdb": "DuckDB (only sorting the file, with as much memory)"}
        also["polars"] = "polars (only sorting it, streaming)"
        beside = "".join(f"; {words} {cost(which)}" for which, words in also.items() if which in each)
        told.append(f"{kind} {cost('memory')}{beside}")
    rows = f"{large['rows'] / 1e6:.0f} million rows"
    return (
        f"[{rows} by `prepare --memory {large['memory']}`](benchmarks/results/{name}.json), on a machine that "
        f"did other work too: {'. '.join(told)}."
    )


def trained(large):
    """What training from a log larger than memory takes, with its data sent from the host."""
    host, device = large["host"], large["device"]
    low, high = large["of_turns"]
    return (
        f"[Training](benchmarks/results/large_train.json) from a folder of {large['rows'] / 1e6:.0f} million rows "
        f"on this CPU: `feed=host` takes {host['anonymous_gib']:.1f} GiB beside mapped pages (`feed=device` "
        f"{device['anonymous_gib']:.1f}), at {large['host_over_device']:.2f} times the rate "
        f"({low:.2f} to {high:.2f} in single turns). [By size](benchmarks/results/large_train.png)."
    )


def together(results):
    """Several processes compared with one: how far their trainings differ, what kills cost, and what each reads."""
    makers = {"processes": _apart, "kills": _killed, "reads": _read}
    return "\n".join(line for name, made in makers.items() if name in results for line in (*made(results[name]), ""))


def _apart(result):
    yield (
        "[2 and 4 processes](../benchmarks/results/processes.json), compared with one that has as many "
        f"devices: three epochs of ml-100k, on {result['machine']} (`python -m benchmarks.processes`, "
        "[plot](../benchmarks/results/processes.png)):\n"
    )
    yield "| processes | largest relative difference of losses | validation | test | last params |"
    yield "|---|---|---|---|---|"
    for number, row in result["rows"].items():
        cells = [
            f"{row['apart'][name]:.1e}" if row["apart"][name] else "0" for name in ("loss", "valid", "test", "params")
        ]
        yield f"| {number} | {' | '.join(cells)} |"


def _killed(result):
    kills, apart = result["kills"], result["apart"]
    longest = max(row["others_ended_after_seconds"] for row in kills if row["had_met"])
    early = sum(row["processes"] > 1 and not row["had_met"] for row in kills)
    early = f" (except in {early}, whose processes had not met yet and waited for 5 minutes)" if early else ""
    lost = f"WRONG: {', '.join(result['wrong'])}" if result["wrong"] else "nothing saved was lost"
    yield (
        f"In [{len(kills)} jobs](../benchmarks/results/kills.json) of 1, 2 or 4 processes, one process was killed by "
        f"SIGKILL at a random moment (`python -m benchmarks.kills`, [plot](../benchmarks/results/kills.png)): {lost}, "
        f"each job resumed from the newest checkpoint, and the other processes of a job ended within {longest:.1f} s"
        f"{early}. In the end, losses differ from those of one process that was not killed by {apart['loss']:.1e} at "
        "most, relatively, and the test metrics " + (f"by {apart['test']:.1e}." if apart["test"] else "are the same.")
    )


def _read(result):
    yield (
        f"[What each process reads](../benchmarks/results/reads.json) of a folder of {result['events'] / 1e6:.0f} "
        f"million events ({result['items_mib']:.0f} MiB of items) with `feed=host`, in the same {result['steps']} "
        "steps of a training on four devices, and how much of the log of "
        f"{result['users'] / 1e6:.1f} million users it holds in memory before the first step, mapped pages aside "
        "(`python -m benchmarks.reads`, [plot](../benchmarks/results/reads.png)):\n"
    )
    yield "| processes | events that each gathers | pages of the file that each reads | held by each |"
    yield "|---|---|---|---|"
    for number, rows in result["rows"].items():
        units = {"events": "", "pages_mib": " MiB", "held_mib": " MiB"}
        least, most = ({name: of(row[name] for row in rows) for name in units} for of in (min, max))
        cells = [
            f"{least[name]:,}" + f" to {most[name]:,}" * (least[name] < most[name]) + unit
            for name, unit in units.items()
        ]
        yield f"| {number} | {' | '.join(cells)} |"


def stocking(result):
    """The 99th percentile of a service's latency, with and without items that come and go."""
    rows = [
        "| items | requests, changes per second | p99 before, ms | while items come and go | after |",
        "|---|---|---|---|---|",
    ]
    for items, row in result["rows"].items():
        loads, changes = row["loads"], row["changes"]
        way = ", `--approximate`" if row["approximate"] else ""
        wrong = f", {changes['failed']} FAILED" if changes["failed"] else ""
        latencies = " | ".join(f"{loads[name]['milliseconds']['p99']:.1f}" for name in loads)
        asked = f"{loads['before']['rate']:g}, {changes['a_second']:g}"
        rows.append(f"| {int(items):,}{way} | {asked}{wrong} | {latencies} |")
    return "\n".join(rows) + "\n"


def states(result):
    """The latency of one request to a recurrent model, with and without a kept state."""
    ways = {"whole": "from the whole history", "kept": "from a kept state", "begun": "and keeping the state"}
    lines = [
        f"Recurrent models, on {result['machine']}, p50 / p99 in ms:",
        "",
        f"| one request, history of {result['history']} items | {' | '.join(ways.values())} |",
        "|---" * (1 + len(ways)) + "|",
    ]
    for name, found in result["milliseconds"].items():
        cells = " | ".join(f"{found[way]['p50']:.2f} / {found[way]['p99']:.2f}" for way in ways)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def several(result):
    """The latency of the service under load, with several processes."""
    alone = f"{result['alone_milliseconds']['engine, k 10']['p50']:.1f}"
    lines = [
        f"The service with {result['workers']} processes, on {result['machine']} (the engine alone: {alone} ms):",
        "",
        f"| HTTP, {result['items']:,} items, requests per second | p50, ms | p99, ms | not answered |",
        "|---|---|---|---|",
    ]
    for row in result["loads"]:
        lost = 1 - row["statuses"].get("200", 0) / sum(row["statuses"].values())
        at = row["milliseconds"]
        lines.append(f"| {row['rate']} | {at['p50']:.1f} | {at['p99']:.1f} | {lost:.1%} |")
    return "\n".join([*lines, "", f"It answers at most {result['saturated_a_second']:.0f} requests per second."])


def everything(result):
    """What it costs to show a model everything that a log knows."""
    rate = result["training"]
    low, high = rate["ci95"]

    def over_http(which):
        found = [each["milliseconds"] for each in result["http"][which]]
        return " / ".join(f"{statistics.median(each[key] for each in found):.1f}" for key in ("p50", "p99"))

    def of_engine(which, key="engine_milliseconds"):
        return f"{result[key][which]['p50']:.1f} / {result[key][which]['p99']:.1f}"

    at_rate = functools.partial(of_engine, key="engine_at_rate_milliseconds")
    least = [of_engine("product", key) for key in ("engine_milliseconds", "engine_at_rate_milliseconds")]
    both = lambda cell: " | ".join(map(cell, ("ids", "everything")))
    rows = [
        f"| on {result['machine']} | ids only | everything |",
        "|---|---|---|",
        f"| training on {rate['data']}, relative rate (95%) | 1 | {rate['ratio']:.2f} ({low:.2f} to {high:.2f}) |",
        f"| an answer from Python, {result['items']:,} items, p50 / p99, ms | {both(of_engine)} |",
        f"| the same at 100 per second, with pauses between | {both(at_rate)} |",
        f"| the same over HTTP at 100 requests per second | {both(over_http)} |",
        "",
        f"A core is slow just after a pause: the scores of {result['items']:,} items as one NumPy product take "
        f"{least[0]} ms one after the other, and {least[1]} ms at 100 per second.",
    ]
    return "\n".join(rows) + "\n"


def millions(result):
    """Approximate answers from millions of items, by the number of parts of the index that are read."""
    served, step, training = result["served"], result["step"], result["training"]
    lines = [
        f"{result['items']:,} items, d 64, on {result['machine']}; vectors after {training['minutes']:g} minutes of "
        f"training on {result['log']['events'] / 1e6:.0f} million events "
        f"([measured](../benchmarks/results/millions.json) by `python -m benchmarks.millions`):",
        "",
        "| parts of the index that are read | recall@100 | p50, ms | p99, ms |",
        "|---|---|---|---|",
    ]
    for read, row in served["curve"].items():
        at = row["milliseconds"]
        own = " (the default)" if int(read) == served["read"] else ""
        lines.append(f"| {read}{own} | {row['recall@100']:.4f} | {at['p50']:.1f} | {at['p99']:.1f} |")
    exact, changed = served["exact"], served["changed"]
    cost = [f"{row['ratio']:.2f} times at {int(items):,}" for items, row in step.items()][1:]
    at = changed["milliseconds"]
    lines += [
        f"| exact answers | | {exact['p50']:.0f} | {exact['p99']:.0f} |",
        "",
        f"Building the index takes {served['build_seconds'] / 60:.1f} minutes. With {changed['added']:,} items added "
        f"and {changed['retired']:,} retired since, an answer takes {at['p50']:.1f} ms (p99 {at['p99']:.1f}), and "
        f"adding one more item {changed['seconds_of_one']:.1f} s. A step with 512 shared negatives and row-sparse "
        f"updates costs {', '.join(cost)}, relative to 10,000 items. Training and all of this took at most "
        f"{served['gib']:.1f} GiB. [By size](../benchmarks/results/millions.png).",
    ]
    return "\n".join(lines) + "\n"

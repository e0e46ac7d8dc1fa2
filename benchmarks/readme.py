"""Makes the README's tables: `default` next to the highest published numbers, and papers' recipes next to theirs."""

from statistics import fmean

#: recipe of a paper -> the metric, and the task of speed.json that trains the same
PAPERS = {
    "sasrec_ml1m": ("ndcg@10", "bce-ml1m"),
    "sasrec_softmax_ml1m": ("ndcg@10", "softmax-ml1m"),
    "gsasrec_ml1m": ("ndcg@10", "gbce-ml1m"),
    "bert4rec_ml1m": ("ndcg@10", "bert4rec-ml1m"),
    "gru4rec_rsc15": ("mrr@20", "gru4rec-rsc15"),
}
#: result of `default` -> the metric, and the highest that is published of these data by this protocol
HIGHEST = {
    "default_ml-1m": ("ndcg@10", "0.1857, SASRec with 3,000 negatives"),
    "default_beauty-5core": ("ndcg@10", "0.0610, BSARec, 5 seeds; 0.0623, KERec, one run"),
    "default_sports-5core": ("ndcg@10", "0.0348, BSARec, 5 seeds; 0.0369, KERec, one run"),
    "default_beauty-bert4rec": ("ndcg@10", "0.0359, RecTools' SASRec, one run"),
    "default_rsc15-100k": ("mrr@20", "0.3639, GRU4Rec's own code on this file"),
}


def interval(result, metric):
    """The mean of the seeds' 95% intervals, or nothing if a run has none."""
    bounds = [run.get("ci95", {}).get(metric) for run in result["runs"]]
    return "" if None in bounds else " ({:.4f} to {:.4f})".format(*map(fmean, zip(*bounds, strict=True)))


def highest(results):
    """What `default` reaches, next to the highest published numbers."""
    rows = ["| data, protocol | metric | `default` (95%) | seeds | highest published |", "|---|---|---|---|---|"]
    for name, (metric, published) in HIGHEST.items():
        if result := results.get(name):
            rows.append(
                f"| [{result['data']}](benchmarks/results/{name}.json), {result['protocol']} | {metric.upper()} "
                f"| {result['mean'][metric]:.4f}{interval(result, metric)} | {result['seeds']} | {published} |"
            )
    return "\n".join(rows) + "\n"


def peers(results):
    """Recipes, what they reach, and how many times as fast they train as the fastest peer."""
    timed = [results[name]["tasks"] for name in ("speed", "speed_libjemalloc") if name in results]
    rows = [
        "| recipe | data, protocol | metric | here (95%) | published | training, times as fast as |",
        "|---|---|---|---|---|---|",
    ]
    for name, (metric, task) in PAPERS.items():
        if name not in results:
            continue
        result = results[name]
        ratios = [(ratio[0], peer) for tasks in timed for peer, ratio in tasks[task]["rows"]["jaxrec"]["ratio"].items()]
        times, peer = min(ratios, default=(0, ""))
        rows.append(
            f"| [{name}](configs/{name}.py) | {result['data']}, {result['protocol']} | {metric.upper()} "
            f"| {result['mean'][metric]:.4f}{interval(result, metric)} | {result['published'][metric]:.4f} "
            f"| {f'{times:.1f}, {peer.split()[0]}' if peer else ''} |"
        )
    return "\n".join(rows) + "\n"

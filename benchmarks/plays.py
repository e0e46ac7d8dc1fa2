"""How long a track was played, and what that says about whether it is played again, on 30Music.

    python -m benchmarks.plays --dataset 30music-sample10

A play's type is "left" if it was shorter than nine tenths of the track's usual length, the median of its plays,
"longer" if it lasted more than one and a half times that, and "played" otherwise. The result is how often a user plays
a track again later, by type, and how much that differs from the mean over all plays of the same track.
"""

import argparse
import os
from pathlib import Path

import polars as pl

from benchmarks import record

LEFT, LONGER, USUAL = 0.9, 1.5, 0.1


def typed(folder):
    """The events of 30Music with their length as a share of the usual one, `share`, and their types, `done`."""
    share = pl.col("playtime") / pl.col("playtime").median().over("item_id")
    done = pl.when(share < LEFT).then(pl.lit("left")).when(share > LONGER).then(pl.lit("longer"))
    frame = pl.read_csv(Path(folder) / "interactions.csv.gz")
    return frame.with_columns(share.alias("share"), done.otherwise(pl.lit("played")).alias("done"))


def measure(folder):
    """Returns the number of plays by type, and the share after which the user plays the track again."""
    frame = typed(folder).with_row_index("at")
    again = (pl.col("at") < pl.col("at").max().over("user_id", "item_id")).cast(pl.Float64)
    frame = frame.with_columns(again.alias("again"))
    beside = pl.col("again") - pl.col("again").mean().over("item_id")
    rows = (
        frame.with_columns(beside.alias("beside"))
        .group_by("done")
        .agg(
            pl.len().alias("plays"),
            pl.col("again").mean(),
            pl.col("beside").mean(),
            (pl.col("beside").std() / pl.len().sqrt()).alias("standard_error"),
        )
    )
    usual = frame["share"].is_between(1 - USUAL, 1 + USUAL).mean()
    return {"kind": "plays", "within_a_tenth": usual, "types": rows.sort("done").to_dicts()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="folder of 30Music, or its name in $JAXREC_DATA")
    named = Path(parser.parse_args().dataset)
    record.write("plays", measure(named if named.is_dir() else Path(os.environ["JAXREC_DATA"]) / named))

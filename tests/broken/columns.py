"""Broken Parquet and Arrow."""

import polars as pl

from broken.logs import FIELDS, Broken, kind, log, put


def frame(chance, number=40):
    user, item, weight, time = zip(*log(chance, number), strict=True)
    columns = user, [int(each[1:]) for each in item], map(float, weight), map(int, time)
    return pl.DataFrame(dict(zip(FIELDS, map(list, columns), strict=True)))


def lists_of_lists(name):
    inner = pl.Int64 if name == "item_id" else pl.Float64
    return pl.col(name).map_elements(lambda value: [[value]], pl.List(pl.List(inner)))


COLUMNAR = {"log.parquet": pl.DataFrame.write_parquet, "log.arrow": pl.DataFrame.write_ipc}


def columns_spoiled(folder, chance, number, change, cure, **more):
    name = sorted(COLUMNAR)[number % 2]
    good, path = put(folder / "good" / name, ""), put(folder / "broken" / name, "")
    COLUMNAR[name](data := frame(chance), good)
    COLUMNAR[name](change(data), path)
    return Broken(good, path, cure, **more)


@kind("Parquet or Arrow that is cut")
def _(folder, chance, number):
    broken = columns_spoiled(folder, chance, number, lambda data: data, "fetch or write it again")
    broken.path.write_bytes(broken.path.read_bytes()[: -chance.randint(1, 400)])
    return broken


@kind("Parquet that is damaged")
def _(folder, chance, number):
    broken = columns_spoiled(folder, chance, 1, lambda data: data, "fetch or write it again")
    data = broken.path.read_bytes()
    at = [8, 30, len(data) - 200, 4, len(data) - 40][number % 5]
    broken.path.write_bytes(data[:at] + bytes([255]) * 24 + data[at + 24 :])
    return broken


@kind("Parquet or Arrow with floats as ids")
def _(folder, chance, number):
    floats = (pl.col("item_id") + [0.5, 2.0**53][number // 2 % 2]).cast([pl.Float64, pl.Float32][number // 2 % 2])
    return columns_spoiled(folder, chance, number, lambda data: data.with_columns(floats), "astype('Int64')")


@kind("Parquet or Arrow with a column of another type")
def _(folder, chance, number):
    column = [
        pl.concat_list("user_id").alias("user_id"),
        lists_of_lists("item_id"),
        pl.from_epoch("timestamp").alias("user_id"),
        (pl.col("rating") > 3).alias("item_id"),
        pl.from_epoch("timestamp").dt.date().alias("item_id"),
    ][number % 5]
    return columns_spoiled(
        folder, chance, number, lambda data: data.with_columns(column), "an id is an integer or a str"
    )


@kind("Parquet or Arrow with weights of another type")
def _(folder, chance, number):
    column = [
        pl.concat_list("rating"),
        lists_of_lists("rating"),
        pl.from_epoch("timestamp"),
        pl.lit(b"3.5"),
        pl.lit(1e300),  # beyond what is kept of it
    ][number % 5].alias("rating")
    cure = "is not a finite number" if number % 5 == 4 else "a weight is a number"
    return columns_spoiled(
        folder, chance, number, lambda data: data.with_columns(column), cure, both=("--weight", "rating")
    )


@kind("Parquet or Arrow with records")
def _(folder, chance, number):
    name = [*FIELDS, "item_id"][number % 5]
    records = pl.struct(pl.col(name).alias("inner")).alias(name)
    records = pl.concat_list(records) if number % 5 == 4 else records
    flag = {"user_id": "user", "item_id": "item", "rating": "weight", "timestamp": "time"}[name]
    flags = (f"--{flag}", name)
    cure = f"name one of their fields, as --{flag} {name}.inner"
    return columns_spoiled(folder, chance, number, lambda data: data.with_columns(records), cure, both=flags)


@kind("Parquet or Arrow with ids of bytes that are no text")
def _(folder, chance, number):
    column = pl.when(pl.int_range(pl.len()) != 3).then(pl.col("user_id").cast(pl.Binary)).otherwise(pl.lit(b"\xff"))
    change = lambda data: data.with_columns(column.alias("user_id"))
    return columns_spoiled(folder, chance, number, change, "user_id holds bytes that are not UTF-8: write it as text")


@kind("Parquet or Arrow with nulls")
def _(folder, chance, number):
    name = FIELDS[number % 4]
    at = chance.randrange(1, 40)
    null = pl.when(pl.int_range(pl.len()) != at).then(name).alias(name)
    both = ("--weight", "rating")
    broken = columns_spoiled(folder, chance, number, lambda data: data.with_columns(null), name, both=both)
    return broken._replace(named=f"{broken.path}, row {at + 1}")


@kind("Parquet or Arrow without the column")
def _(folder, chance, number):
    return columns_spoiled(folder, chance, number, lambda data: data.drop(FIELDS[number % 2]), "COLUMN")


@kind("Parquet or Arrow without rows")
def _(folder, chance, number):
    return columns_spoiled(folder, chance, number, lambda data: data.clear(), "no rows")

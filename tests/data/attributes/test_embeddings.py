"""Vectors beside a table of items: a column of the table, row by row, or a message that says what to correct."""

import gzip

import numpy as np
import polars as pl
import pytest

from jaxrec.data import prepared, reading
from jaxrec.data.attributes import features
from jaxrec.inference.attributes import Attributes
from jaxrec.serve.facets import facets
from jaxrec.system.errors import UserError

LOG = "user,item,time\n" + "".join(f"u{n % 5},i{n % 7},{n}\n" for n in range(60))
TABLE = "item_id,title\n" + "".join(f"i{v},Film {v}\n" for v in (3, 1, 0, 2, 9, 4, 6))
VECTORS = np.arange(14, dtype=np.float64).reshape(7, 2) ** 1.5


@pytest.fixture(params=["items.csv", "items.csv.gz", "items.parquet"])
def folder(request, tmp_path):
    """A log, a table of items in one of the formats, and an array beside it."""
    (tmp_path / "log.csv").write_text(LOG)
    if request.param.endswith(".gz"):
        (tmp_path / request.param).write_bytes(gzip.compress(TABLE.encode()))
    elif request.param.endswith(".csv"):
        (tmp_path / request.param).write_text(TABLE)
    else:
        pl.read_csv(TABLE.encode()).write_parquet(tmp_path / request.param)
    np.save(tmp_path / "items.image.npy", VECTORS)
    return tmp_path


def test_row_by_row_they_are_a_column_of_the_items(folder, tmp_path):
    said = []
    log = reading.read(str(folder), say=said.append)
    prepared.save(log, tmp_path / "out", {})
    for found in (log.catalogue, prepared.load(tmp_path / "out").catalogue):
        of = dict(zip(found.ids.tolist(), found.about["image"].to_list(), strict=True))
        for row, id in enumerate(("i3", "i1", "i0", "i2")):
            np.testing.assert_allclose(of[id], VECTORS[row], rtol=1e-6)
        assert of["i5"] is None  # it has no row in the table
        assert features.build(found, ["image"]).vectors.shape == (7, 2)
        assert Attributes(found.about).pools({"title": "Film 3"})[0].tolist() == [4]
        facets(found.about)
    assert any("image" in line for line in said)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (VECTORS[:5], r"items\.image\.npy: 5 rows where .* has 7: write one row for each row of the table"),
        (VECTORS[:, 0], r"holds float64 \[7\]: write one matrix of numbers"),
        (VECTORS.astype(str), r"holds <U\d+ \[7, 2\]: write one matrix"),
        (np.array([[{}]] * 7), r"items\.image\.npy: can't be read as an array of numbers"),
    ],
)
def test_other_arrays_are_refused_in_words(tmp_path, made, message):
    (tmp_path / "log.csv").write_text(LOG)
    (tmp_path / "items.csv").write_text(TABLE)
    np.save(tmp_path / "items.image.npy", made)
    with pytest.raises(UserError, match=message):
        reading.read(str(tmp_path))


def test_a_name_of_the_table_is_not_taken_twice(tmp_path):
    (tmp_path / "log.csv").write_text(LOG)
    (tmp_path / "items.csv").write_text(TABLE)
    np.save(tmp_path / "items.title.npy", VECTORS)
    with pytest.raises(UserError, match="has a column title already: rename one of them"):
        reading.read(str(tmp_path))

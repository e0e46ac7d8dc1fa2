"""Laws of data.tabular: what a table has is read or said."""

import polars as pl

from jaxrec.data.reading import read


def test_lists_of_items_beside_an_item_are_said(tmp_path):
    frame = pl.DataFrame({"user": [1, 2], "item_id_list": [[1, 2], [4]], "item_id": [9, 8]})
    frame.write_parquet(tmp_path / "a.parquet")
    said = []
    assert read(tmp_path / "a.parquet", say=said.append).catalogue.ids.tolist() == [8, 9]
    assert "item_id_list is not read: --item item_id_list takes its lists for histories" in said[0]
    data = read(tmp_path / "a.parquet", columns={"item": "item_id_list"}, say=said.append)
    assert data.catalogue.ids.tolist() == [1, 2, 4] and "not read" not in said[1]

"""Files of MovieLens and Amazon, as they are and as people write them anew."""

import pytest

from jaxrec.data.reading import read

ROWS = [
    ("1", "B00000000A", "5", "1300000001"),
    ("1", "B00000000B", "3", "1300000000"),
    ("2", "B00000000A", "4", "1300000002"),
]


@pytest.mark.parametrize("separator", ["\t", " ", "::", ",", ";"])
def test_the_fields_of_movielens_are_separated_by_any_usual_mark(tmp_path, separator):
    rows = [(user, item.removeprefix("B00000000"), *rest) for user, item, *rest in ROWS]
    path = tmp_path / "u.data"
    path.write_text("".join(f"{separator.join(row)}\n" for row in rows))
    data = read(path, "movielens")
    assert data.users.tolist() == [1, 2] and data.catalogue.ids[data.items - 1].tolist() == ["B", "A", "A"]
    assert data.weights.tolist() == [3, 5, 4]


@pytest.mark.parametrize("turned", [False, True])
def test_amazon_s_files_may_have_their_columns_in_two_orders_and_that_is_said(tmp_path, turned):
    for name, flipped in {"a.csv": turned, "b.csv": not turned}.items():
        rows = [(f"A{name[0]}{user}", item, *rest) for user, item, *rest in ROWS]
        rows = [(item, user, *rest) for user, item, *rest in rows] if flipped else rows
        (tmp_path / name).write_text("".join(f"{','.join(row)}\n" for row in rows))
    said = []
    data = read(tmp_path, "amazon", say=said.append)
    assert data.users.tolist() == ["Aa1", "Aa2", "Ab1", "Ab2"]
    assert data.catalogue.ids.tolist() == ["B00000000A", "B00000000B"]
    orders = ["item, user, rating, time", "user, item, rating, time"]
    first, second = orders if turned else orders[::-1]
    assert f"columns: {first}" in said and any(line.endswith(f"b.csv: columns: {second}") for line in said)

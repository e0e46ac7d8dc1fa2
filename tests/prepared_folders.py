"""Prepared folders in tests: loaded, and compared."""

from jaxrec.data import prepared


def same(one, other):
    for name in ("items", "offsets", "users", "times", "weights"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None), name
        assert a is None or (a.dtype == b.dtype and a.tolist() == b.tolist()), name
    assert one.catalogue.ids.dtype == other.catalogue.ids.dtype
    assert one.catalogue.ids.tolist() == other.catalogue.ids.tolist()
    assert (one.catalogue.about is None) == (other.catalogue.about is None)
    assert one.catalogue.about is None or one.catalogue.about.equals(other.catalogue.about)
    assert (one.sessions is None) == (other.sessions is None)
    assert one.sessions is None or [each.tolist() for each in one.sessions] == [e.tolist() for e in other.sessions]
    assert (one.types is None) == (other.types is None)
    assert one.types is None or (one.types.numbers.tolist(), one.types[1:]) == (
        other.types.numbers.tolist(),
        other.types[1:],
    )
    assert (one.relative, one.train_sessions) == (other.relative, other.train_sessions)


def loaded(path):
    """Loads the data in a prepared folder and verifies it."""
    data = prepared.load(path)
    prepared.verify(data)
    return data

"""The catalogue for people: ids in their written form, titles, and a search of titles."""

import copy
import unicodedata
from collections.abc import Sequence
from functools import reduce
from operator import and_

import numpy as np
import polars as pl

from jaxrec.data.interactions import Catalogue
from jaxrec.system import arguments


class Listing:
    """Ids, titles and popularity of a catalogue.

    A catalogue's ids are all integers or all text, and integers have a single decimal form. So 7 and "7" are the
    same item, and JSON requests may use either.
    """

    def __init__(self, catalogue: Catalogue):
        ids = catalogue.ids.tolist()
        titles = catalogue.titles or [""] * len(ids)
        self._kind = int if catalogue.ids.dtype.kind == "i" else str
        self._title = dict(zip(ids, titles, strict=True))
        self._later: dict = {}  # titles of items added later, so that `changed` need not copy the others
        self._order = _by_popularity(catalogue)
        self._ids = [ids[place] for place in self._order]
        self._texts = pl.Series([_fold(titles[place] or str(ids[place])) for place in self._order], dtype=pl.String)
        #: whether each item is found by a search, in the order of `_ids`; None: all
        self._offered: pl.Series | None = None

    def changed(self, catalogue: Catalogue, offered: np.ndarray) -> "Listing":
        """Returns the Listing of a catalogue with further items, all at its end.

        Args:
            catalogue: the catalogue.
            offered: [V] bool, whether each item is found by a search.
        """
        other, more = copy.copy(self), len(catalogue.ids) - len(self._ids)
        if more:
            about = None if catalogue.about is None else catalogue.about.tail(more)
            new = Listing(Catalogue(catalogue.ids[-more:], about))
            other._later, other._ids = self._later | new._title, self._ids + new._ids
            other._texts = pl.concat([self._texts, new._texts])
            other._order = np.append(self._order, len(self._order) + np.arange(more))
        other._offered = pl.Series(offered[other._order])
        return other

    def __len__(self):
        return len(self._ids) if self._offered is None else int(self._offered.sum())

    def __contains__(self, id):
        return id in self._title or id in self._later

    def title(self, id: str | int) -> str | None:
        """Returns the title of an item, None if it has none."""
        return self._title.get(id) or self._later.get(id) or None

    def popular(self, count: int) -> list:
        """Returns the ids of the most popular items in training."""
        if self._offered is None:
            return self._ids[:count]
        return [self._ids[place] for place in self._offered.arg_true()[:count]]

    def own(self, id: str | int) -> str | int:
        """Returns an id in the type of the catalogue, unchanged if it can't be one."""
        found = arguments.as_id(id, self._kind)
        return id if found is None else found

    def own_all(self, ids: Sequence) -> list:
        """Returns ids in the type of the catalogue."""
        if set(map(type, ids)) <= {self._kind}:  # the usual case, without Python code for each
            return list(ids)
        return [self.own(id) for id in ids]

    def search(self, text: str, count: int) -> list:
        """Returns up to `count` ids of items whose titles contain all words of a text.

        An item with this id comes first, then titles that begin with the text, then the others; each group is sorted by
        popularity. Case and accents are ignored, and an empty text matches all items. Items without a title are matched
        by id.
        """
        folded = _fold(text)
        found = [self._ids[place] for place in self._places(folded, count)] if folded else self.popular(count)
        exact = self.own(text.strip())
        if exact not in self or (self._offered is not None and not self._offered[self._ids.index(exact)]):
            return found
        return [exact, *(id for id in found if id != exact)][:count]

    def _places(self, folded, count):
        match = reduce(and_, (self._texts.str.contains(word, literal=True) for word in folded.split()))
        match = match if self._offered is None else match & self._offered
        begins = self._texts.str.starts_with(folded)
        first, second = (match & begins).arg_true()[:count], (match & ~begins).arg_true()[:count]
        return [*first, *second][:count]


def _by_popularity(catalogue):
    """Returns indices into the catalogue by descending popularity; unsorted without training counts."""
    counts = catalogue.counts
    return np.arange(len(catalogue.ids)) if counts is None else np.argsort(-counts, kind="stable")


def _fold(text):
    """Normalises case, accents and spaces."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join(plain.casefold().split())

"""External ids: detects missing and altered values, and numbers the others.

The rules:
- A value is missing if it is empty, null or a word of MISSING, such as NA, with or without blanks around it;
  `--keep-na-ids` accepts these words and blanks as ids.
- A column with ids that look like floats (`1.0`, `153.`, `1,0`, `1e+05`, `1.00878E+11`), in any of its files, is
  rejected if one has the same value as another id (`1.0` and `1`), or if fewer than half of the distinct ids are words.
  So `1.5` and `1e5` are names among names, but altered numbers among numbers, or alone. `1.23E+11` is never a name.
- A column is rejected if two of its ids, in one file or in two, are the same number or look the same: `0104` and
  `104`, `1,234` and `1234`, `+7` and `7`, `abc` with and without a no-break space. Without its counterpart, such an id
  is text. `0104` and `00104` are different ids, and so are words with and without spaces at their ends.
- `--ids integer` accepts integers only, in any of these spellings: `1.0` is 1, below 2^53; `1e+05`, one digit and a
  power of ten, is 100000. Everything else is a bad row, including other ids in scientific notation, which have lost
  digits. A column without any number in its first 64 MiB is treated as text throughout.
- `--ids text` accepts ids as they are written; for a column of floats or decimals, the shortest text of the same value.
- A column of floats or decimals becomes integers if all values are whole numbers that its type represents exactly.
"""

import bisect
import unicodedata
from collections.abc import Callable, Collection
from typing import NoReturn

import numpy as np
import polars as pl

from jaxrec.data.interactions import as_ids, to_array
from jaxrec.data.storage.ragged import distinct
from jaxrec.data.values import spellings
from jaxrec.data.values.codes import are_whole, text_of
from jaxrec.data.values.nested import is_opaque
from jaxrec.data.values.spellings import EXACT, FLOAT, INTEGER, MISSING, PADDED, ROUNDED, UNSEEN, as_seen, integers
from jaxrec.system.errors import UserError

WORD = 24  # bytes that a word takes besides its text
TABLE = 1 << 26  # numbers below it use a lookup table
CURES = "--ids integer takes 1.0 for 1, where every value is exact; --ids text takes ids as they stand"
VARIANTS = "programs write numbers and blanks in several ways"


def otherwise(role: str, roles: Collection[str]) -> str:
    """Returns another cure for missing ids of a role in a log with these roles; "" if there is none."""
    cures = {"user": "--user none reads the rows by session", "session": "--session none reads them without sessions"}
    if "user" in roles and "session" in roles:
        return cures.get(role, "")
    return "--user COLUMN, if another column has the users" if role == "user" else ""


class Ids:
    """A column's ids, numbered from 0 in order of appearance: small integers by a table, others interned by polars.

    Args:
        name: the column, for messages.
        kind: "", "integer" or "text".
        keep_na: whether the words of MISSING are ids.
        cure: another cure for missing ids, for messages.
    """

    def __init__(self, name: str, kind: str = "", keep_na: bool = False, cure: str = ""):
        self.name, self.kind, self.keep_na = name, kind, keep_na
        self._cure = f"; {cure}" if cure else ""
        self.count = 0
        self.whole = False  # whether floats were read as integers
        self._respelled = None  # an id that was read as an integer in another spelling
        self._integer = False  # whether there are numbers, for --ids integer
        self._table = np.zeros(0, np.int32)  # code + 1 of each number; 0 if it has none yet
        self._type = pl.Categorical(pl.Categories.random())
        self._of_word = np.zeros(0, np.int32)  # the code of each word, by polars' physical number
        self._numbers, self._words = [], []  # (codes, values), in the order of the codes
        self._text = 0  # bytes of the words
        self._files = []  # (first code, file) at each change of file

    def decide(self, integer: bool) -> None:
        """Sets, for kind "integer", whether the ids are integers; by default, the first of them decide."""
        self.kind, self._integer = "integer" if integer else "", integer

    def clean(
        self, values: pl.Series, file: object, place: Callable[[int], str] | None = None
    ) -> tuple[pl.Series, list[tuple[pl.Series, str]]]:
        """Converts a column to integers or text, and returns (mask, reason) pairs for the values that aren't ids.

        Args:
            values: the column as read.
            file: for messages.
            place: index of a value -> its place, as "row 7", for messages.

        Raises:
            UserError: if the column's type can't hold ids, or it holds floats that aren't integers.
        """
        if values.dtype.is_float() or values.dtype.is_decimal():
            return self._from_reals(values, file, place)
        if is_opaque(values.dtype) or values.dtype.is_temporal() or values.dtype == pl.Boolean:
            raise UserError(f"{file}: column {self.name} holds {values.dtype}: an id is an integer or a string")
        if values.dtype.is_integer():
            self._integer = True
            return values, [(values.is_null(), self._empty)]
        try:
            text = values.cast(pl.String)
        except pl.exceptions.PolarsError:
            text = None
        if text is None or (values.dtype == pl.Binary and text.str.contains("\0", literal=True).any()):  # a number
            raise UserError(f"{file}: column {self.name} holds bytes that are not UTF-8: write it as text")
        return self._from_text(text)

    @property
    def _empty(self):
        return f"{self.name} is empty{self._cure}"

    def _from_text(self, text: pl.Series) -> tuple[pl.Series, list[tuple[pl.Series, str]]]:
        numbers = text.cast(pl.Int64, strict=False).null_count() == 0
        bare = text if self.keep_na or numbers else text.str.strip_chars()
        wrong = [((bare == "").fill_null(True), self._empty)]
        if not self.keep_na:
            missing = bare.is_in(MISSING).fill_null(False)
            told = f"{self.name} is a missing value: prepare with --keep-na-ids to take such words as ids"
            wrong.append((missing, f"{told}{self._cure}"))
        if self.kind == "integer" and not self._integer:
            good = text.filter(~pl.Series(np.any([mask.to_numpy() for mask, _ in wrong], axis=0)))
            self._integer = as_seen(good).str.contains(f"{INTEGER}|{FLOAT}").any()
            self.kind = "integer" if self._integer or not len(good) else ""
        if self.kind == "integer":
            text, written = integers(text), text
            self._respelled = self._respelled or spellings.respelled(written, text)
            told = f"{self.name} is not exactly an integer"
            wrong.append(
                (text.is_null(), f"{told}: --ids text takes ids as they stand, --ids item=text those of items")
            )
        return text, wrong

    def _from_reals(self, values: pl.Series, file, place) -> tuple[pl.Series, list[tuple[pl.Series, str]]]:
        if values.dtype.is_float():
            values = values.fill_nan(None)
        missing = (values.is_null(), self._empty)
        if self.kind == "text":
            text = text_of(values)
            return values.cast(pl.String) if text is None else text, [missing]
        bound = EXACT.get(values.dtype, 2**63 if values.dtype.is_decimal() else 2**11)
        exact = (values == values.floor()) & (values.abs() < bound) if values.dtype.is_float() else are_whole(values)
        inexact = ~exact.fill_null(True)
        if self.kind != "integer" and inexact.any():
            at = inexact.arg_true()[0]
            where = f"{file}, {place(at)}" if place else file
            raise UserError(
                f"{where}: column {self.name} holds floats ({values[at]}): an id is an integer or a string; write it "
                "as integers (a pandas column with gaps: .astype('Int64')); --ids text takes them as they stand"
            )
        self.whole, self._integer = self.whole or exact.any(), True
        numbers = values.set(inexact, None).cast(pl.Int64, strict=False)
        return numbers, [missing, (inexact, f"{self.name} is not exactly an integer: --ids text takes it as it stands")]

    def number(self, tokens: pl.Series, file: object | None = None) -> np.ndarray:
        """Returns the codes of tokens, text or integers without nulls, [n] int32. A number equals its text."""
        if not self._files or self._files[-1][1] != file:
            self._files.append((self.count, file))
        numbers = _small_numbers(tokens)
        is_word = numbers.is_null().to_numpy()
        if not is_word.any():
            return self._code_numbers(numbers.to_numpy())
        codes = np.empty(len(tokens), np.int32)
        codes[is_word] = self._code_words(tokens.filter(pl.Series(is_word)).cast(pl.String))
        if not is_word.all():
            codes[~is_word] = self._code_numbers(numbers.drop_nulls().to_numpy())
        return codes

    def _code_numbers(self, numbers: np.ndarray) -> np.ndarray:
        most = int(numbers.max(initial=0))
        if most >= len(self._table):
            self._table = np.concatenate([self._table, np.zeros((1 << most.bit_length()) - len(self._table), np.int32)])
        codes = self._table[numbers]
        if (new := codes == 0).any():
            fresh = distinct(numbers[new])
            given = self._give(len(fresh))
            self._table[fresh] = given + 1
            self._numbers.append((given, fresh))
            codes = self._table[numbers]
        return codes - 1

    def _code_words(self, words: pl.Series) -> np.ndarray:
        coded = words.cast(self._type)
        self._alive = coded.clear()  # polars drops its numbering with the last series that uses it
        own = coded.unique(maintain_order=True)
        own = own.filter(own.to_physical() >= len(self._of_word))
        if len(own):
            place, given = own.to_physical().to_numpy(), self._give(len(own))
            self._of_word = np.concatenate(
                [self._of_word, np.zeros(int(place.max()) + 1 - len(self._of_word), np.int32)]
            )
            self._of_word[place] = given
            self._words.append((given, text := own.cast(pl.String)))
            self._text += text.estimated_size() + WORD * len(text)
        return self._of_word[coded.to_physical().to_numpy()]

    def _give(self, number: int) -> np.ndarray:
        self.count += number
        return np.arange(self.count - number, self.count, dtype=np.int32)

    @property
    def size(self) -> int:
        """Approximate bytes of memory that the ids take while they are sorted."""
        return int(self._table.nbytes + 40 * self.count + 4 * self._text)

    def words(self) -> pl.Series:
        """Returns the tokens that aren't small numbers."""
        return pl.concat([pl.Series([], dtype=pl.String), *(words for _, words in self._words)])

    def notes(self) -> list[str]:
        """Returns notes about the ids for people."""
        words = self.words()
        found = [f"{self.name}: floats, all of them whole numbers, read as integers"] if self.whole else []
        if self._respelled:
            one = f"{_cut(self._respelled)} is {integers(pl.Series([self._respelled]))[0]}"
            found.append(f"{self.name}: all spellings of an integer are one id: {one}")
        odd = words.filter(~words.str.contains(r"^-?\d+$"))
        if not self.kind and 0 < len(odd) < self.count // 2:  # if most ids are numbers
            found.append(f"{self.name}: ids are text, because of {odd[0]!r}")
        unseen = words.filter(words.str.contains(r"[^\x21-\x7e]"))
        if len(unseen := unseen.filter(unseen.str.contains(UNSEEN))):
            found.append(unseen_note(self.name, unseen[0]))
        parted = words.filter(words.str.contains(r"[\p{M}\u1100-\u11ff]"))
        whole = parted.str.normalize("NFC")
        if (alike := (whole != parted) & whole.is_in(words.implode())).any():
            two = f"{parted.filter(alike)[0]!a} and {whole.filter(alike)[0]!a}"
            found.append(f"{self.name}: {two} look alike but are two ids: one has an accent as a character of its own")
        return found

    def tokens(self) -> pl.Series:
        """Returns the tokens by code, as text."""
        numbers = [(codes, pl.Series(numbers).cast(pl.String)) for codes, numbers in self._numbers]
        codes = np.concatenate([np.zeros(0, np.int32), *(codes for codes, _ in numbers + self._words)])
        tokens = [each for _, each in numbers + self._words]
        return pl.concat([pl.Series([], dtype=pl.String), *tokens]).gather(np.argsort(codes))

    def order(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the sorted ids, and each code's index among them [count] int32.

        Raises:
            UserError: if some ids look like floats, or two may be one.
        """
        if not self.kind:
            self._check_floats()
            self._check_spellings()
        if self.kind == "text":
            ids = to_array(self.tokens())
        elif self._words:
            ids = as_ids(self.tokens())
        else:
            ids = np.concatenate([np.zeros(0, np.int64), *(numbers for _, numbers in self._numbers)])
        order = np.argsort(ids, kind="stable")
        place = np.empty(len(ids), np.int32)
        place[order] = np.arange(len(ids), dtype=np.int32)
        return ids[order], place

    def _check_floats(self) -> None:
        words = self.words()
        is_float = words.str.contains(FLOAT)
        if not is_float.any():
            return
        floats, whole = words.filter(is_float), words.str.contains(INTEGER)
        values = floats.str.replace(",", ".", literal=True).cast(pl.Float64)
        small = [pl.Series(numbers).cast(pl.Float64) for _, numbers in self._numbers]
        integers = pl.concat([words.filter(whole).cast(pl.Float64), *small])
        numbers = len(floats) + len(integers)
        rounded = floats.str.contains(ROUNDED).any()
        one_value = rounded or values.n_unique() < len(values) or values.is_in(integers.implode()).any()
        if numbers <= self.count - numbers and not one_value:
            return
        code_of = np.concatenate([codes for codes, _ in self._words])
        written = floats.str.contains("[eE]")
        shown = floats.filter(floats.str.contains(ROUNDED) if rounded else written)
        example = (shown if len(shown) else floats)[0]
        file = self._file_of(int(code_of[(words == example).arg_true()[0]]))
        if written.any():
            raise UserError(
                f"{file}: column {self.name} holds ids in scientific notation ({_cut(example)}), which may have lost "
                f"digits, so that different ids are now one: write them in full; {CURES}"
            )
        codes = [*(codes[:1] for codes, _ in self._numbers), code_of[whole.to_numpy()][:1]]
        codes = np.concatenate(codes) if len(integers) else []
        beside = ""
        if len(codes):
            other = self._file_of(codes[0])
            token = self.tokens()[int(codes[0])]
            beside = f" beside {_cut(token)}" + (f" (in {other})" if other != file else "")
        raise UserError(
            f"{file}: column {self.name} holds floats ({_cut(example)}){beside}: an id is an integer or a string, and "
            f"here different ids may have become one, or one two; {CURES}"
        )

    def _check_spellings(self) -> None:
        """Checks that no two ids are the same number or look the same."""
        words = self.words()
        looks = as_seen(words)
        changed = (looks != words) & ((looks != words.str.strip_chars(" ")) | looks.str.contains(INTEGER))
        padded = looks.str.contains(PADDED)
        if not (changed | padded).any():
            return
        tokens, written = self.tokens(), pl.DataFrame({"id": words, "other": looks})
        zeros = written.filter(padded).with_columns(pl.col("other").str.replace("^(-?)0+([0-9])", "${1}${2}"))
        twins = written.filter(changed)
        first = twins.unique("other", keep="first", maintain_order=True)
        again = twins.join(first, on="other", maintain_order="left").select("id", other="id_right")
        for found, why in (
            (
                zeros.filter(zeros["other"].is_in(tokens.implode())),
                "programs that read ids as numbers drop leading zeros",
            ),
            (twins.filter(twins["other"].is_in(tokens.implode())), VARIANTS),
            (again.filter(again["id"] != again["other"]), VARIANTS),
        ):
            if len(found):
                self._refuse_twins(found["id"][0], found["other"][0], why, tokens)

    def _refuse_twins(self, long: str, bare: str, why: str, tokens: pl.Series) -> NoReturn:
        file, other = self.file_of(long), self.file_of(bare)
        beside = _cut(bare) + (f" (in {other})" if other != file else "")
        cures = "--ids text takes ids as they stand"
        if integers(tokens).null_count() == 0:
            cures = f"--ids integer takes {_cut(long)} for {integers(pl.Series([long]))[0]}; {cures}"
        raise UserError(
            f"{file}: column {self.name} holds {_cut(long)} beside {beside}: one id may have become two, since {why}: "
            f"write it in one way; {cures}"
        )

    def file_of(self, token: str) -> object:
        """Returns the file where an id occurred first."""
        return self._file_of(int((self.tokens() == token).arg_true()[0]))

    def _file_of(self, code: int):
        return self._files[bisect.bisect_right([first for first, _ in self._files], code) - 1][1]


def _small_numbers(tokens: pl.Series) -> pl.Series:
    """Returns as Int64 the tokens that are numbers below TABLE in plain decimal form; null for the others."""
    numbers = tokens.cast(pl.Int64, strict=False)
    fits = numbers.is_between(0, TABLE, closed="left")
    if tokens.dtype == pl.String:
        fits &= ~tokens.str.contains("^[-+]|^0.")
    return numbers if fits.all(ignore_nulls=False) else numbers.set(~fits.fill_null(False), None)


def unseen_note(name: str, id: str) -> str:
    """Returns the note for a column of ids with characters that a person can't see."""
    return f"{name}: spaces at the ends of ids, and invisible characters, are part of them, as in {id!r}"


def _cut(token: str, most: int = 40) -> str:
    """Returns an id for a message, shortened; in quotes with escapes if a person wouldn't see all of it."""
    cut = token if len(token) <= most else token[:most] + " ..."
    seen = token.isprintable() and " " not in token and unicodedata.is_normalized("NFC", token)
    return cut if seen else ascii(cut)

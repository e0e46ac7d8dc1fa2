"""External ids: detects missing and altered values, and numbers the others.

The rules:
- An empty field, null, or a word of MISSING is a missing value; `--keep-na-ids` accepts these words as ids.
- A column in which ids look like floats (`1.0`, `153.`, `1e+05`, `1.00878E+11`), over all files together, is rejected
  if one has the same value as another id (`1.0` and `1`), or if fewer than half of the distinct ids are words. So
  `1.5` and `1e5` are names among names, but altered numbers among numbers, or alone.
- A column in which an id begins with zeros and another is the same number without them (`0104` and `104`), over all
  files together, is rejected. Ids with zeros alone are text.
- `--ids integer` accepts integers only: `1.0` is 1, below 2^53; `1e+05`, one digit and a power of ten, is 100000.
  Other ids in scientific notation have lost digits, and are bad rows, as is everything else. A column that begins
  without any number (in its first 64 MiB) is treated as text throughout.
- `--ids text` accepts ids as they are written; for a column of floats, the shortest text of the same value.
- A column of floats or decimals becomes integers if all values are whole numbers that its type represents exactly.
"""

import bisect
import re
from collections.abc import Callable
from decimal import Decimal

import numpy as np
import polars as pl

from jaxrec.data.interactions import as_ids, to_array
from jaxrec.data.ragged import distinct
from jaxrec.system.errors import UserError

KINDS = ("integer", "text")  # values of --ids
WORD = 24  # bytes that a word takes beside its text
TABLE = 1 << 26  # numbers below it use a lookup table
MISSING = ("NA", "N/A", "NaN", "nan", "NULL", "null", "None", r"\N", "<NA>")
FLOAT = r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$|^[-+]?[0-9]+[eE][-+]?[0-9]+$"
INTEGER = r"^[-+]?[0-9]+$"
PADDED = "^-?0+[0-9]+$"
EXACT = {pl.Float32: 2**24, pl.Float64: 2**53}  # integers below these are exact as floats
CURES = "--ids integer takes 1.0 for 1, where every value is exact; --ids text takes ids as they stand"


class Ids:
    """A column's ids, numbered from 0 in order of appearance: small integers by a table, others interned by polars.

    Args:
        name: the column, for messages.
        kind: "", "integer" or "text".
        keep_na: whether the words of MISSING are ids.
    """

    def __init__(self, name: str, kind: str = "", keep_na: bool = False):
        self.name, self.kind, self.keep_na = name, kind, keep_na
        self.count = 0
        self.whole = False  # whether floats were read as integers
        self._integer = False  # whether there are numbers, for --ids integer
        self._table = np.zeros(0, np.int32)  # code + 1 of each number; 0 if it has none yet
        self._type = pl.Categorical(pl.Categories.random())
        self._of_word = np.zeros(0, np.int32)  # the code of each word, by polars' physical number
        self._numbers, self._words = [], []  # (codes, values), in the order of the codes
        self._text = 0  # bytes of the words
        self._files = []  # (first code, file) at each change of file

    def decide(self, integer: bool) -> None:
        """Says, for kind "integer", whether the ids are integers; otherwise the first of them show it."""
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
        if values.dtype.is_nested() or values.dtype.is_temporal() or values.dtype == pl.Boolean:
            raise UserError(f"{file}: column {self.name} holds {values.dtype}: an id is an integer or a string")
        if values.dtype.is_integer():
            self._integer = True
            return values, [(values.is_null(), f"{self.name} is empty")]
        try:
            text = values.cast(pl.String)
        except pl.exceptions.PolarsError:
            raise UserError(f"{file}: column {self.name} holds bytes that are not UTF-8: write it as text") from None
        return self._from_text(text)

    def _from_text(self, text: pl.Series) -> tuple[pl.Series, list[tuple[pl.Series, str]]]:
        empty = text.is_null() | (text == "").fill_null(True)
        wrong = [(empty, f"{self.name} is empty")]
        if not self.keep_na:
            if text.str.starts_with(" ").any():
                empty |= (text.str.strip_chars(" ") == "").fill_null(True)
                wrong = [(empty, f"{self.name} is empty")]
            missing = text.is_in(MISSING).fill_null(False)
            wrong.append((missing, f"{self.name} is a missing value: --keep-na-ids takes such words as ids"))
        if self.kind == "integer" and not self._integer:
            good = text.filter(~pl.Series(np.any([mask.to_numpy() for mask, _ in wrong], axis=0)))
            self._integer = good.str.contains(f"{INTEGER}|{FLOAT}").any()
            self.kind = "integer" if self._integer or not len(good) else ""
        if self.kind == "integer":
            text = integers(text)
            wrong.append((text.is_null(), f"{self.name} is not exactly an integer: --ids text takes ids as they stand"))
        return text, wrong

    def _from_reals(self, values: pl.Series, file, place) -> tuple[pl.Series, list[tuple[pl.Series, str]]]:
        if values.dtype.is_float():
            values = values.fill_nan(None)
        missing = (values.is_null(), f"{self.name} is empty")
        if self.kind == "text":
            return values.cast(pl.String), [missing]
        bound = EXACT.get(values.dtype, 2**63 if values.dtype.is_decimal() else 2**11)
        exact = (values == values.floor()) & (values.abs() < bound) if values.dtype.is_float() else _whole(values)
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
        """About how many bytes of memory the ids take while they are sorted."""
        return int(self._table.nbytes + 40 * self.count + 4 * self._text)

    def words(self) -> pl.Series:
        """Returns the tokens that aren't small numbers."""
        return pl.concat([pl.Series([], dtype=pl.String), *(words for _, words in self._words)])

    def notes(self) -> list[str]:
        """Returns notes about the ids for people."""
        words = self.words()
        found = [f"{self.name}: floats, all of them whole numbers, read as integers"] if self.whole else []
        odd = words.filter(~words.str.contains(r"^-?\d+$"))
        if not self.kind and 0 < len(odd) < self.count // 2:  # if most ids are numbers
            found.append(f"{self.name}: ids are text, because of {odd[0]!r}")
        if len(padded := words.filter(words.str.starts_with(" ") | words.str.ends_with(" "))):
            found.append(f"{self.name}: spaces at the ends of ids are parts of them, as of {padded[0]!r}")
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
            UserError: if some ids look like floats, or have lost leading zeros.
        """
        if not self.kind:
            self._check_floats()
            self._check_zeros()
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
        values = floats.cast(pl.Float64)
        small = [pl.Series(numbers).cast(pl.Float64) for _, numbers in self._numbers]
        integers = pl.concat([words.filter(whole).cast(pl.Float64), *small])
        numbers = len(floats) + len(integers)
        one_value = values.n_unique() < len(values) or values.is_in(integers.implode()).any()
        if numbers <= self.count - numbers and not one_value:
            return
        code_of = np.concatenate([codes for codes, _ in self._words])
        written = floats.str.contains("[eE]")
        example = floats.filter(written)[0] if written.any() else floats[0]
        file = self._file_of(int(code_of[(words == example).arg_true()[0]]))
        if written.any():
            raise UserError(
                f"{file}: column {self.name} holds ids in scientific notation ({_cut(example)}), which may have lost "
                f"digits, so that different ids are one: write them in full; {CURES}"
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

    def _check_zeros(self) -> None:
        """Checks that no id is another one with zeros before it."""
        words = self.words()
        padded = words.filter(words.str.contains(PADDED))
        if not len(padded):
            return
        tokens, plain = self.tokens(), padded.str.replace("^(-?)0+([0-9])", "${1}${2}")
        both = plain.is_in(tokens.implode())
        if not both.any():
            return
        long, bare = padded.filter(both)[0], plain.filter(both)[0]
        file, other = self.file_of(long), self.file_of(bare)
        beside = _cut(bare) + (f" (in {other})" if other != file else "")
        cures = "--ids text takes ids as they stand"
        if tokens.str.contains(INTEGER).all():
            cures = f"--ids integer takes {_cut(long)} for {_cut(bare)}; {cures}"
        raise UserError(
            f"{file}: column {self.name} holds {_cut(long)} beside {beside}: one id may have become two, since a "
            f"program that reads ids as numbers drops leading zeros; {cures}"
        )

    def file_of(self, token: str) -> object:
        """Returns the file where an id occurred first."""
        return self._file_of(int((self.tokens() == token).arg_true()[0]))

    def _file_of(self, code: int):
        return self._files[bisect.bisect_right([first for first, _ in self._files], code) - 1][1]


def integers(text: pl.Series) -> pl.Series:
    """Converts text to Int64 where it is an integer, a whole float below 2^53, or like 1e+05; null elsewhere."""
    whole = text.str.strip_prefix("+").cast(pl.Int64, strict=False).set(~text.str.contains(INTEGER), None)
    if whole.null_count() == text.null_count():
        return whole
    stem = text.str.replace(r"^\+?(-?[0-9]+)\.0*$", "${1}").set(text.str.contains(INTEGER), None)
    floats = stem.cast(pl.Int64, strict=False)
    floats = floats.set(floats.abs() >= 2**53, None)
    whole = whole.fill_null(floats)
    rest = text.filter(whole.is_null() & text.is_not_null()).unique()
    exact = {token: number for token in rest.to_list() if (number := _scientific(token)) is not None}
    if exact:
        whole = whole.fill_null(text.replace_strict(exact, default=None, return_dtype=pl.Int64))
    return whole


def _scientific(token: str) -> int | None:
    """Returns the integer of a token in scientific notation, None if digits were lost."""
    if not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d{1,3}", token, re.ASCII):
        return None
    number = Decimal(token)
    if abs(number) >= 2**53 or number != number.to_integral_value():
        return None
    exponent = number.as_tuple().exponent
    hidden = isinstance(exponent, int) and exponent > 0 and len(number.normalize().as_tuple().digits) > 1
    return None if hidden else int(number)


def _whole(values: pl.Series) -> pl.Series:
    """Returns where decimals are 64-bit integers, [n]; null where they are null."""
    text = values.cast(pl.String).str.replace(r"\.0*$", "")
    return pl.select(pl.when(text.is_not_null()).then(text.cast(pl.Int64, strict=False).is_not_null())).to_series()


def _small_numbers(tokens: pl.Series) -> pl.Series:
    """Returns Int64 where a token is a number below TABLE in plain decimal form; null elsewhere."""
    numbers = tokens.cast(pl.Int64, strict=False)
    fits = numbers.is_between(0, TABLE, closed="left")
    if tokens.dtype == pl.String:
        fits &= ~tokens.str.contains("^[-+]|^0.")
    return numbers if fits.all(ignore_nulls=False) else numbers.set(~fits.fill_null(False), None)


def _cut(token: str, most: int = 40) -> str:
    return token if len(token) <= most else token[:most] + " ..."

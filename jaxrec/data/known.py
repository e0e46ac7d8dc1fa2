"""Recognises published data sets by their histories, whatever the file format."""

import hashlib
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from jaxrec.data.interactions import Interactions, fingerprint

BESIDE = ("times", "weights", "types", "sessions", "train_sessions")  #: what is known of histories besides their items


class Known(NamedTuple):
    """A published data set: its counts and fingerprints."""

    users: int
    items: int
    interactions: int
    histories: str  #: as from `histories`
    pattern: str  #: as from `pattern`


class Identity(NamedTuple):
    """The result of `identify`."""

    histories: str  #: fingerprint of the histories
    name: str | None  #: the known data set with these counts, or None
    same: bool  #: whether the data equal that data set
    words: str  #: a line for people


def histories(interactions: Interactions) -> str:
    """Returns the fingerprint of histories and ids only, without times, weights, types and sessions."""
    return fingerprint(replace(interactions, **dict.fromkeys(BESIDE), relative=False, digest=None))


def pattern(interactions: Interactions) -> str:
    """Returns a SHA-256 (hex) that is invariant under renumbering of users and items.

    It hashes how often each item of a history occurs in the data, in the order of the history.
    """
    items = np.asarray(interactions.items)
    counts = np.bincount(items)[items].astype("<i8").tobytes()
    ends = interactions.offsets * 8
    users = zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)
    digests = sorted(hashlib.sha256(counts[start:end]).digest() for start, end in users)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def identify(interactions: Interactions) -> Identity:
    """Identifies the data as a known data set, or as one in another order or with other ids.

    >>> from jaxrec.data.interactions import from_sequences
    >>> identify(from_sequences([[1, 2, 3]])).name is None
    True
    """
    own, total = histories(interactions), len(interactions.items)
    counts = len(interactions.users), len(interactions.catalogue.ids), total
    said = f"data {own[:12]}: {counts[0]:,} users, {counts[1]:,} items, {total:,} interactions"
    alike = {name: each for name, each in KNOWN.items() if each[:3] == counts}
    if not alike:
        return Identity(own, None, False, f"{said}: none of the files that papers share ({', '.join(KNOWN)})")
    same = next((name for name, each in alike.items() if each.histories == own), None)
    shape = alike[same].pattern if same else pattern(interactions)
    others = [name for name, each in alike.items() if name != same and each.pattern == shape]
    if same:
        also = f", the histories of {' and '.join(others)} with other ids: the numbers compare" if others else ""
        return Identity(own, same, True, f"{said}: {same}{also}")
    words = f"{said}: the counts of {' and '.join(others or alike)} in another order or with other ids"
    if others:
        words += ": the same histories, so only the ids differ: its numbers compare"
    else:
        words += ": other items may be the last ones, and its numbers do not compare"
    return Identity(own, (others or list(alike))[0], False, words)


#: the sets of `sources.PUBLIC` that have no entry in KNOWN, since their files were not at hand
UNKNOWN = (
    "ml-10m",
    "ml-20m",
    "ml-25m",
    "ml-32m",
    "ml-latest-small",
    "amazon-beauty",
    "amazon-sports",
    "steam",
)

#: the other sets of `sources.PUBLIC`, and files that papers share
KNOWN: dict[str, Known] = {
    "30music-sample10": Known(
        14_262,
        9_999,
        343_183,
        "1f7a1d8a7db7557ef6d01bee32823c3b070546f0e3c35627cf2f54e019ff107d",
        "ff7a4e0f12129000499e6b4269d648d5ce8dd7cebd5c43490b7c2c421768f280",
    ),
    "beauty-5core": Known(
        22_363,
        12_101,
        198_502,
        "b19a2783352843b8da227bcb602517a10d6765a0822e60daa3c159b6881ed4ce",
        "b1d8ba7356a55d792210b19a16783d48b12632fa38c17f5ce0146696afcc63ef",
    ),
    "beauty-bert4rec": Known(
        40_226,
        54_542,
        353_962,
        "2727503cb68bec0645934f000d2a694e62ca81ad919409956d6c7881dc618142",
        "d628b6cfbb82285b221a638c3876f3545fe9aa7f01910ee295d669809f828fd8",
    ),
    "diginetica": Known(
        202_633,
        43_097,
        982_961,
        "050104dcd30bbcba6cf1cb20f03fa051b648c1da23ad7145cf2232c67c198f6d",
        "97f1dab3c7b24b7bc438cbc3e1cf014c15169548aa9f4e9022c765a64ce630e3",
    ),
    "games-sasrec": Known(  # data/Video.txt of kang205/SASRec
        31_013,
        23_715,
        287_107,
        "8189145b732f81444e958a45d3a5b847366b41250b5ba790ebf22ac1844a0b99",
        "75625ca3575a5cd3fc874c933bfaccdb3ba78c2ffcbaa7dee460ead56ad1e929",
    ),
    "lastfm-s3rec": Known(
        1_090,
        3_646,
        52_551,
        "c8e735be5c9ca90a08f6d207d77499fd15acf4d7cbef5ba8e8522c8f5e7a8cc7",
        "da00b0e57983ddbe5bdcf50e11bf00c4cd663145a2076e9621f5579801a51704",
    ),
    "ml-100k": Known(
        943,
        1_682,
        100_000,
        "f99a240b2b851009c517a949e140a2324ebbc3d036b79d47a43b4845a09a76e3",
        "0083bc09e9215b4dce483dd6e0c1c925c795e3213fa9bb180e6efd928b564d0c",
    ),
    "ml-1m": Known(  # ratings.dat by time, ties in the order of the file
        6_040,
        3_416,
        999_611,
        "0b6494236191ccee0a49251acd06a6b5156882ff0af3c6532b4aa7167e2c843f",
        "601dc3bab47fcbf14715e2cc5cf8ce98a4afe03f8fc69eebf8da45cc4e37dca3",
    ),
    "ml-1m-iclrec": Known(  # ml-1m-sasrec without its last user
        6_039,
        3_416,
        999_572,
        "26a9894e24fa3d10c9fe7f3ae0817f83358f05509c124d0db6130413655e3cee",
        "b7ed90a4bb7dcf04223f05296134fec7ec1b8fcf23f4148f710ce24bced64606",
    ),
    "ml-1m-sasrec": Known(
        6_040,
        3_416,
        999_611,
        "69b7c33c136bac7751682e0b98a24a95b14383b4234364cf7558dd8d98f817d2",
        "601dc3bab47fcbf14715e2cc5cf8ce98a4afe03f8fc69eebf8da45cc4e37dca3",
    ),
    "rsc15-100k": Known(
        21_210,
        2_933,
        83_846,
        "e54a77d67bdd20a7354075298d30f73eb1158d26b1718aff73c9c66d63827c09",
        "00c7975e9c79490fd3ea0dd06ddf283951f904c46547a5feca3d9dc7c56edbe5",
    ),
    "sports-5core": Known(
        35_598,
        18_357,
        296_337,
        "dce1cc1a856531e94c8dba954d9a78f367564b59cb3e0c5169f8d629c03f2cff",
        "c238523731b5f5aa05888e2a23fa7d5e427b28a5f20572501c9651e8a8405880",
    ),
    "toys-5core": Known(
        19_412,
        11_924,
        167_597,
        "99b3c84a04bdd4998888ae14f6af4deb1514ceff2f38121c04de1ad0da4affeb",
        "dc0d854b80ec5a221b991842d33d2cfecdb19018c688448298d3628c0e48dbce",
    ),
    "yelp-s3rec": Known(
        30_431,
        20_033,
        316_354,
        "2dbed7dddc4398ec1a35bb3f5ba52cf583d9bf37931e65d0d68f8059317e64fd",
        "f424daeebe51cb85ae51b9e7336a68e2a5938b15c07184c009d7f19169449bdc",
    ),
    "yoochoose1_64": Known(
        131_491,
        17_745,
        557_248,
        "ac00d9d01daf94bc1b59655022d48b907846cde825db24d5831326326330789a",
        "d50312ae098f232b236b1a9189555e1c239edea0f06797762351a44e4d7d5ac9",
    ),
}

"""A log of visits for tests, with column names of its own."""

import datetime
import random

FIELDS = ("visitor", "thing", "grade", "when", "visit")
COLUMNS = ("--user", "visitor", "--item", "thing", "--weight", "grade", "--time", "when", "--session", "visit")
APRIL = int(datetime.datetime(2014, 4, 1, tzinfo=datetime.UTC).timestamp())
NUMBERS = {"users": 24, "items": 12}


def made_rows():
    """Rows (user, item, grade, time, session) by user and time: a few visits per user, with some immediate repeats."""
    chance, rows = random.Random(0), []
    for user in range(NUMBERS["users"]):
        now = APRIL + chance.randrange(20 * 86_400)
        for visit in range(chance.randint(1, 4)):
            for _ in range(chance.randint(1, 6)):
                item = rows[-1][1] if rows and chance.random() < 0.2 else f"i{chance.randrange(NUMBERS['items'])}"
                rows.append((f"u{user}", item, chance.randint(1, 5), now, f"{user}-{visit}"))
                now += chance.randint(1, 1_000)
            now += chance.randrange(86_400)
    return rows


ROWS = made_rows()

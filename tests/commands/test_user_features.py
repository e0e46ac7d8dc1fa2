"""Columns of users by command: prepared, trained on, and refused if they have changed."""

import numpy as np
import polars as pl
import pytest
from workdirs import write_workdir

from jaxrec import cli
from jaxrec.data import sources
from jaxrec.inference.loading import load
from jaxrec.system.errors import UserError
from jaxrec.training import assembly
from jaxrec.training.workdirs import workdir

USERS = 20


def write_users(file, genders):
    pl.DataFrame({"user": range(USERS), "gender": [genders[user % 2] for user in range(USERS)]}).write_csv(file)


@pytest.mark.slow
def test_a_training_goes_on_with_the_users_it_was_shown(tmp_path, capsys):
    random = np.random.default_rng(0)
    columns = {"user": np.repeat(np.arange(USERS), 6), "item": random.integers(0, 15, USERS * 6)}
    pl.DataFrame(columns).write_csv(tmp_path / "log.csv")
    write_users(tmp_path / "people.csv", "FM")
    asked = ["prepare", "--input", str(tmp_path / "log.csv"), "--output", str(tmp_path / "log")]
    assert cli.main([*asked, "--users", str(tmp_path / "people.csv")]) == 0
    assert "people.csv: gender" in capsys.readouterr().out.replace("\n", "")
    write_workdir(tmp_path / "run", tmp_path / "log", user_features="gender")
    write_workdir(tmp_path / "bare", tmp_path / "log")
    found = load(tmp_path / "run")
    assert {name: len(table) for name, table in found.engine.params["context"].items()} == {"user gender": 2}
    assert found.recommend([1, 2], user_columns={"gender": "X"}).unknown == ["X"]
    with pytest.raises(UserError, match="does not use 'age': it uses gender"):
        found.recommend([1, 2], user_columns={"age": 3})
    assert load(tmp_path / "bare").recommend([1, 2], user_columns={"age": 3}).unknown == []
    assert cli.main(["evaluate", "--workdir", str(tmp_path / "run")]) == 0
    write_users(tmp_path / "people.csv", "FW")
    assert cli.main([*asked, "--users", str(tmp_path / "people.csv")]) == 0
    capsys.readouterr()
    assert cli.main(["evaluate", "--workdir", str(tmp_path / "run")]) == 2
    assert "the table of users is not what it was" in capsys.readouterr().err
    assert cli.main(["evaluate", "--workdir", str(tmp_path / "bare")]) == 0
    with pytest.raises(UserError, match="users: gender of the table of users is not what it was"):
        write_again(tmp_path / "run", tmp_path / "log")


def write_again(path, place):
    config, data = workdir.read(path).config, sources.load(str(place))
    workdir.claim(path, config, data, str(place), asked=assembly.split_of(config, data).interactions)

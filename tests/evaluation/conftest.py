"""What several tests of evaluation use."""

import numpy as np
import pytest
from workdirs import write_workdir

from jaxrec import cli


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with a log, a workdir, and the files that the commands write for its test."""
    folder, random = tmp_path_factory.mktemp("referee"), np.random.default_rng(0)
    rows = [f"u{user},i{item},{at}" for user in range(60) for at, item in enumerate(random.permutation(130)[:9])]
    (folder / "log.csv").write_text("user,item,time\n" + "\n".join(rows) + "\n")
    write_workdir(folder / "run", folder / "log.csv")
    asked = ["--workdir", str(folder / "run"), "--split", "test", "--output"]
    assert cli.main(["vectors", *asked, str(folder / "vectors")]) == 0
    assert cli.main(["recommend", "--users", "all", "--k", "20", *asked, str(folder / "lists.csv")]) == 0
    return folder

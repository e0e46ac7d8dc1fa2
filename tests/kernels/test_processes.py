"""What processes exchange: all get the first one's values, and rows from whichever process has them."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jobs import Job

from jaxrec.kernels import processes
from jaxrec.system.errors import UserError


@pytest.fixture
def patched():
    """A monkeypatch that Hypothesis tests may use for every example."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@settings(deadline=None, max_examples=30)
@given(st.binary(max_size=40), st.integers(2, 4), st.integers(1, 9))
def test_all_have_the_bytes_of_the_first(data, number, part):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "PART", part)
        job = Job(number, patch)
        assert job.run(lambda: processes.bytes_from_first(data if processes.leads() else b"other")) == [data] * number


def test_all_have_what_each_has(patched):
    said = lambda: processes.from_all("ä" * processes.jax.process_index())
    assert Job(3, patched).run(said) == [["", "ä", "ää"]] * 3


def test_what_the_first_alone_does_all_learn(patched):
    done = []
    work = lambda: done.append(1) or {"found": [1, None]}
    assert Job(3, patched).run(lambda: processes.of_first(work)) == [{"found": [1, None]}] * 3
    assert done == [1]


def test_what_the_first_can_not_do_ends_all(patched):
    def work():
        raise UserError("no such thing")

    def caught():
        with pytest.raises(UserError, match="no such thing"):
            processes.of_first(work)
        return True

    assert all(Job(3, patched).run(caught))


@settings(deadline=None, max_examples=30)
@given(st.data(), st.integers(1, 4), st.integers(0, 9))
def test_rows_come_from_whoever_has_them(data, number, rows):
    whose = np.array(data.draw(st.lists(st.integers(-1, number - 1), min_size=rows, max_size=rows)), int)
    wanted = np.arange(1, rows + 1) * (whose >= 0)
    with pytest.MonkeyPatch.context() as patch:
        job = Job(number, patch)

        def work():
            own = whose == processes.jax.process_index()
            one = (np.arange(1, rows + 1) * own).astype(np.int32)
            return processes.merged((one, np.stack([one, -one], 1).astype(np.float32)), own)

        for (one, two), any_has in job.run(work):
            np.testing.assert_array_equal(one, wanted)
            np.testing.assert_array_equal(two, np.stack([wanted, -wanted], 1))
            np.testing.assert_array_equal(any_has, whose >= 0)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=1, max_size=5))
def test_the_latest_of_several_is_the_largest_of_the_round_before(number, rounds):
    with pytest.MonkeyPatch.context() as patch:
        job = Job(number, patch)

        def work():
            latest, own = processes.Latest(), processes.jax.process_index()
            return [latest.after(said[own]) for said in rounds]

        known = [max(said[:number]) for said in rounds]
        assert job.run(work) == [[0, *known][: len(rounds)] if number > 1 else known] * number


def test_the_largest_of_all_is_not_read_by_whoever_says_one():
    assert isinstance(found := processes._largest_of_all()(7), processes.jax.Array) and int(found) == 7


@given(st.lists(st.integers()), st.integers(1, 5))
def test_shares_are_everything_once(these, number):
    with pytest.MonkeyPatch.context() as patch:
        shares = []
        for index in range(number):
            patch.setattr(processes.jax, "process_count", lambda: number)
            patch.setattr(processes.jax, "process_index", lambda: index)  # noqa: B023
            shares += processes.shared_out(these)
    assert sorted(shares) == sorted(these)


def nodes(data):
    """Returns (the tasks of each node, the same as SLURM writes them)."""
    runs = data.draw(st.lists(st.tuples(st.sampled_from([1, 2, 4, 8]), st.integers(1, 3)), min_size=1, max_size=3))
    told = ",".join(f"{tasks}(x{times})" if times > 1 else str(tasks) for tasks, times in runs)
    return [tasks for tasks, times in runs for _ in range(times)], told


@given(st.data(), st.sampled_from([8, 16]), st.booleans())
def test_the_processes_of_a_machine_share_all_of_its_gpus(data, gpus, slurm):
    tasks, told = nodes(data)
    node = data.draw(st.integers(0, len(tasks) - 1))
    number, found = tasks[node], []
    for task in range(number):
        own = {"SLURM_STEP_TASKS_PER_NODE": told, "SLURM_NODEID": str(node), "SLURM_LOCALID": str(task)}
        mpi = {"OMPI_COMM_WORLD_LOCAL_RANK": str(task), "OMPI_COMM_WORLD_LOCAL_SIZE": str(number)}
        environment = own if slurm else mpi
        visible = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(gpus)))}
        own = processes.own_gpus(environment | visible)
        found += range(gpus) if own == ["all"] else own
        # GPUs given to one task alone, numbered from 0
        for said in ({"SLURM_GPUS_PER_TASK": "h100:2"}, {"SLURM_TRES_PER_TASK": "cpu=4,gres/gpu=2"}):
            own = processes.own_gpus(environment | {"CUDA_VISIBLE_DEVICES": "0,1"} | said)
            assert own == (["all"] if slurm or number != 2 else [task])
        for said in ("none", "verbose,none", "verbose", ""):  # every task sees all GPUs
            own = processes.own_gpus(environment | visible | {"SLURM_GPU_BIND": said, "SLURM_GPUS_PER_TASK": "1"})
            assert own == processes.own_gpus(environment | visible)
        if slurm and number > 1:
            assert processes.own_gpus(environment | visible | {"SLURM_GPU_BIND": "verbose,per_task:2"}) == ["all"]
            assert processes.own_gpus(environment | visible | {"SLURM_GPU_BIND": "closest"}) is None
        assert processes.own_gpus(environment) == (["all"] if number == 1 else None)
        assert processes.own_gpus(environment | visible | {"JAX_LOCAL_DEVICE_IDS": "3"}) is None
    assert found == list(range(gpus))


def test_gpus_that_processes_do_not_divide_are_shared_equally_as_far_as_they_go():
    told = {"SLURM_TASKS_PER_NODE": "3", "CUDA_VISIBLE_DEVICES": ",".join("01234567")}
    shares = [processes.own_gpus(told | {"SLURM_LOCALID": str(task)}) for task in range(3)]
    assert shares == [[0, 1], [2, 3], [4, 5]]
    assert processes.own_gpus({}) == ["all"] and processes.own_gpus({"CUDA_VISIBLE_DEVICES": "2,3"}) == ["all"]
    for place in ("SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK"):  # the number of processes isn't known
        told = {place: "0", "CUDA_VISIBLE_DEVICES": "0,1", "SLURM_GPUS_PER_TASK": ""}
        assert processes.own_gpus(told) is None

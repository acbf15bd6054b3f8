"""Runners and workers that are killed, told to end, stopped, or that work at once: 1, 2, 3, 7, 8, 9."""

import os
import random
import signal
import subprocess
import time

import pytest

from prunebench.system.signals import interruptible
from tests.faults.toys import INTERRUPTED, SMALL, TOY, differing, finished, send, wait_until

fault = pytest.mark.fault
pytestmark = pytest.mark.timeout(1200)


def kill_runner(place, spawn, count, moment):
    """Kill the runner at a moment, count what is lost; return whether it was still running then."""
    before = place.stored()
    run = spawn(place.line(), **place.faulty, PRUNEBENCH_LEASE="100000")  # the dead are not waited for
    moment(run)
    killed = run.poll() is None
    run.kill()  # the runner alone: its workers notice
    run.wait()
    count.times += killed
    count.lost += len(before - place.stored())
    return killed


def finish(place, undisturbed, spawn, count):
    """Run the same command to its end, and count what is not as in an undisturbed run."""
    run = spawn(place.line(), **place.faulty)
    errors = finished(run)
    assert run.returncode == 0, errors
    count.lost += len(differing(place, undisturbed))
    count.repeated += place.repeated()


@fault(1, "SIGKILL to the runner of a small matrix")
def test_a_killed_runner_loses_nothing(small, undisturbed, spawn, count):
    for stages in (1, 12):
        kill_runner(
            small, spawn, count, lambda run, n=stages: wait_until(lambda: len(small.manifests()) >= n, run)
        )
    finish(small, undisturbed(SMALL), spawn, count)
    assert count.repeated <= 2 * count.times  # at most one of each worker


@pytest.mark.slow
@fault(1, "SIGKILL to the runner at a random moment")
def test_nor_does_one_that_is_killed_again_and_again(toy_place, undisturbed, spawn, count):
    rng, trial = random.Random(1), 0
    place = toy_place("0")
    while count.times < 50:
        if not kill_runner(place, spawn, count, lambda run: time.sleep(rng.uniform(0.5, 6.0))):
            finish(place, undisturbed(TOY), spawn, count)
            trial += 1
            place = toy_place(str(trial))
    finish(place, undisturbed(TOY), spawn, count)
    assert count.repeated <= 2 * count.times


def busy(place):
    """Return the stages that are being made, each with its worker."""
    ended = place.ended()
    begun = [words[1:] for words in place.noted() if words[0] == "begin"]
    return {key: int(worker) for key, worker in begun if key not in ended}


def kill_in_stages(place, run, count, times):
    """Kill workers in a stage each, another stage every time."""
    struck = set()

    def at_another():
        return busy(place).keys() - struck

    while count.times < times and wait_until(at_another, run):
        stages = busy(place)
        for key in sorted(stages.keys() - struck)[:1]:
            struck.add(key)
            send(stages[key], signal.SIGKILL)
            count.times += 1


@fault(2, "SIGKILL to a worker in a stage")
def test_the_stage_of_a_killed_worker_is_made_by_the_next(small, undisturbed, spawn, count):
    run = spawn(small.line(), **small.faulty, FAULT_SLOW="0.1")
    kill_in_stages(small, run, count, 3)
    errors = finished(run)
    assert run.returncode == 0, errors
    count.lost += len(differing(small, undisturbed(SMALL)))
    count.repeated += small.repeated()
    assert count.repeated == 3


@pytest.mark.slow
@fault(2, "SIGKILL to a worker in a stage of the toy matrix")
def test_so_it_is_twenty_times_over(toy_place, undisturbed, spawn, count):
    place = toy_place("killed")
    run = spawn(place.line(), **place.faulty, FAULT_SLOW="0.2")
    kill_in_stages(place, run, count, 20)
    errors = finished(run)
    assert run.returncode == 0, errors
    count.lost += len(differing(place, undisturbed(TOY)))
    count.repeated += place.repeated()
    assert count.repeated == count.times == 20


@pytest.mark.slow
@fault(2, "SIGKILL to a worker at a random moment, its start included")
def test_workers_killed_at_any_time_cost_a_second_command_at_most(toy_place, undisturbed, spawn, count):
    place, rng = toy_place("killed"), random.Random(2)
    while count.times < 20:
        run = spawn(place.line(), **place.faulty, FAULT_SLOW="0.2")
        while run.poll() is None and count.times < 20:
            time.sleep(rng.uniform(0.2, 2.0))
            workers = [int(words[1]) for words in place.noted() if words[0] == "worker"]
            if workers and run.poll() is None:
                send(workers[-rng.choice([1, 2]) :][0], signal.SIGKILL)
                count.times += 1
        finished(run)
    finish(place, undisturbed(TOY), spawn, count)


# Told to end


SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


def stopped(place, spawn, tell):
    """Start an endless run, tell it to end once something is stored, and return the seconds it took."""
    run = spawn(place.line().replace("epochs=2", "epochs=5000"), **place.faulty)
    assert wait_until(lambda: len(place.manifests()) >= 3, run)
    begun = time.monotonic()
    tell(run)
    errors = finished(run, 30)
    assert (run.returncode, errors) == (130, INTERRUPTED)
    assert place.litter() == []
    return time.monotonic() - begun


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("name", SIGNALS)
@fault(3, "a signal to the whole group in the middle of a run")
def test_a_run_told_to_end_ends_soon_in_one_line(small, spawn, count, name):
    seconds = stopped(small, spawn, lambda run: os.killpg(run.pid, getattr(signal, name)))
    count.times += 1
    assert seconds < 5


@pytest.mark.usefixtures("heard")
@fault(3, "Ctrl-C twice")
def test_a_second_ctrl_c_ends_it_in_one_line_too(small, spawn, count):
    def twice(run):
        os.killpg(run.pid, signal.SIGINT)
        time.sleep(0.05)
        os.killpg(run.pid, signal.SIGINT)

    assert stopped(small, spawn, twice) < 5
    count.times += 1


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(
    ("name", "module"),
    [
        *[
            ("SIGINT", name)
            for name in ("typer", "pydantic", "prunebench.suites.resolve", "prunebench.runs.run")
        ],
        *[("SIGTERM", "prunebench.parts.registry"), ("SIGHUP", "prunebench.pipeline.matrix")],
    ],
)
@fault(3, "a signal while modules are imported")
def test_so_does_one_that_has_hardly_begun(small, spawn, count, name, module):
    run = spawn(small.line(), **small.faulty, FAULT_SIGNAL=f"{name} {module}")
    errors = finished(run, 60)
    count.times += 1
    assert (run.returncode, errors) == (130, INTERRUPTED)


def test_a_polite_end_is_like_ctrl_c():
    """As batch systems ask for one."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interruptible():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


# At once


@fault(7, "two runners on one store")
def test_two_runners_make_every_stage_once_and_a_share_each(small, spawn, count):
    longer = {"FAULT_SLOW": "0.3", "FAULT_TOGETHER": "yes"}  # than runners take to see what others made
    both = [spawn(small.line(workers=1), **small.faulty, **longer) for _ in range(2)]
    told = [finished(run) for run in both]
    count.times += len(both)
    assert [run.returncode for run in both] == [0, 0], told
    assert set(small.ended().values()) == {1}
    shares = small.shares()
    assert len(shares) == 2 and min(shares.values()) >= shares.total() // 4
    assert not (small.folder / "store" / "quarantine").exists()


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
@fault(7, "eight runners on one store, in one of two runs one of them killed in a stage")
def test_eight_runners_make_every_stage_once(toy_place, undisturbed, spawn, count, killed):
    place = toy_place("eight")
    runs = [spawn(place.line(workers=1), **place.faulty, FAULT_SLOW="0.1") for _ in range(8)]
    if killed:
        assert wait_until(lambda: len(place.begun()) > 20, runs[0], 200)
        os.killpg(runs[0].pid, signal.SIGKILL)
    told = [finished(run, 500) for run in runs]
    count.times += len(runs)
    assert [run.returncode for run in runs[killed:]] == [0] * (8 - killed), told
    assert set(place.ended().values()) == {1}
    count.repeated += place.repeated()
    assert count.repeated <= killed
    count.lost += len(differing(place, undisturbed(TOY)))


@fault(8, "SIGSTOP to a worker in a stage until another runner has done without it")
def test_a_worker_that_stands_still_is_not_waited_for_for_ever(small, undisturbed, spawn, count):
    slow = {"FAULT_SLOW": "0.3", "PRUNEBENCH_LEASE": "4"}
    first = spawn(small.line(workers=1), **small.faulty, **slow)
    assert wait_until(lambda: busy(small), first)
    key, worker = busy(small).popitem()
    os.kill(worker, signal.SIGSTOP)
    count.times += 1
    try:
        second = spawn(small.line(workers=1), **small.faulty, PRUNEBENCH_LEASE="4")
        errors = finished(second)
        assert second.returncode == 0, errors
        assert f"waiting for process {worker}" in errors
        made = (small.store.path(key) / "manifest.json").read_bytes()
    finally:
        os.kill(worker, signal.SIGCONT)
    finished(first)
    assert first.returncode == 0
    assert (small.store.path(key) / "manifest.json").read_bytes() == made  # not merged twice
    count.repeated += small.repeated()
    assert count.repeated == 1


OWN_PROCESSES = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


@pytest.fixture
def apart():
    """What starts a command as on a machine of its own: it sees no process but those that it starts."""
    try:
        subprocess.run([*OWN_PROCESSES, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this system lets us make no namespace of processes")
    return OWN_PROCESSES


@fault(
    8, "SIGSTOP to a runner and its workers, for longer than a lease, beside one that sees other processes"
)
def test_a_machine_that_stands_still_stores_nothing_again(small, undisturbed, spawn, count, apart):
    """Both number their processes from 1. So neither can tell by a number whether the other is there."""
    first = spawn(small.line(workers=1), apart, **small.faulty, FAULT_SLOW="0.3", PRUNEBENCH_LEASE="4")
    assert wait_until(lambda: busy(small), first)
    os.killpg(first.pid, signal.SIGSTOP)
    count.times += 1
    try:
        (key,) = busy(small)
        second = spawn(small.line(workers=1), apart, **small.faulty, PRUNEBENCH_LEASE="4")
        errors = finished(second)
        assert second.returncode == 0, errors
        assert "waiting for process" in errors
        made = {path: path.read_bytes() for path in small.manifests()}
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    errors = finished(first)
    assert first.returncode == 0, errors
    assert {path: path.read_bytes() for path in small.manifests()} == made  # none merged twice
    assert small.store.path(key) / "manifest.json" in made
    assert not (small.folder / "store" / "quarantine").exists()
    count.lost += len(differing(small, undisturbed(SMALL)))
    count.repeated += small.repeated()
    assert count.repeated == 1


DAY = 86400


@pytest.mark.slow
@fault(9, "a clock that is a day ahead or behind, and a kill")
def test_a_clock_that_jumps_loses_nothing(toy_place, undisturbed, spawn, count):
    place = toy_place("clock")
    for ahead, stages in ((DAY, 20), (-DAY, 60)):
        run = spawn(place.line(), **place.faulty, FAULT_CLOCK=str(ahead))
        assert wait_until(lambda n=stages: len(place.manifests()) >= n, run)
        run.kill()
        run.wait()
        count.times += 1
    finish(place, undisturbed(TOY), spawn, count)
    assert count.repeated <= 4


@pytest.mark.parametrize("ahead", [pytest.param(DAY, marks=pytest.mark.slow), -DAY])
@fault(9, "two runners at once, the clock of one of them a day ahead or behind")
def test_clocks_that_differ_make_no_stage_twice(small, spawn, count, ahead):
    runs = [
        spawn(small.line(workers=1), **small.faulty, FAULT_CLOCK=str(clock), FAULT_SLOW="0.1")
        for clock in (ahead, 0)
    ]
    told = [finished(run) for run in runs]
    count.times += 1
    assert [run.returncode for run in runs] == [0, 0], told
    assert set(small.ended().values()) == {1}

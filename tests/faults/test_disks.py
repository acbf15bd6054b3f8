"""Disks that are full or have no locks; files torn, changed, gone, of another version: 4, 5, 6, 23, 26."""

import fcntl
import io
import json
import os
import random
import shutil
import signal

import pytest

from prunebench.errors import MissingArtefactError
from prunebench.parts.artefacts import Scores
from prunebench.pipeline.store import SCHEMA, Store
from prunebench.results.rows import line, path_of, read, suites
from tests.faults.injected import sitecustomize as injected
from tests.faults.make_store import KINDS, STORES, plain
from tests.faults.toys import MINI, SMALL, add, differing, finished, put, summary, wait_until
from tests.readme_blocks import ROOT

fault = pytest.mark.fault
pytestmark = pytest.mark.timeout(1200)


# 4. Full


POINTS = 12


@fault(4, "no space left on the disk, at points from the first byte to the last")
def test_a_full_disk_is_one_line_and_a_second_command(mini, undisturbed, cli, monkeypatch, tmp_path, count):
    plenty = injected.Disk(2**30, tmp_path)
    run_on(plenty, mini("plenty"), cli, monkeypatch)
    whole = 2**30 - plenty.room
    for point in range(POINTS):
        place = mini(f"full{point}")
        ran = run_on(injected.Disk(whole * point // POINTS, tmp_path), place, cli, monkeypatch)
        count.times += 1
        assert ran.code in (1, 2) and "free space" in ran.err and "Traceback" not in ran.err
        assert all(place.store.verify(key) for key in place.stored())
        assert [path for path in place.litter() if path.is_file()] == []
        assert cli(place.line(workers=0)).code == 0
        count.lost += len(differing(place, undisturbed(MINI)))


@fault(4, "no space left for a page that is there already")
def test_an_old_page_outlives_a_full_disk(mini, cli, monkeypatch, tmp_path, count):
    place = mini("full")
    assert cli(place.line(workers=0)).code == 0
    page = place.folder / "toy.md"
    before = page.read_bytes()
    for room in (0, len(before) // 2, len(before) - 1):
        with monkeypatch.context() as patch:
            patch.setattr(io, "open", injected.Disk(room, tmp_path).open)
            ran = cli(f"leaderboard --results {place.folder}")
        count.times += 1
        assert ran.code == 2 and "free space" in ran.err
        count.lost += page.read_bytes() != before


def run_on(disk, place, cli, monkeypatch):
    """Run on a disk."""
    with monkeypatch.context() as patch:
        patch.setattr(io, "open", disk.open)
        return cli(place.line(workers=0))


# 5. Damaged


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


PAYLOAD, MANIFEST = "payload.safetensors", "manifest.json"
WAYS = {
    "payload changed": lambda entry: flip(entry / PAYLOAD),
    "manifest changed": lambda entry: flip(entry / MANIFEST),
    "both empty": lambda entry: (empty(entry / PAYLOAD), empty(entry / MANIFEST)),
    "payload cut": lambda entry: cut(entry / PAYLOAD),
    "manifest cut": lambda entry: cut(entry / MANIFEST),
    "payload gone": lambda entry: (entry / PAYLOAD).unlink(),
    "manifest gone": lambda entry: (entry / MANIFEST).unlink(),
    "entry deleted": shutil.rmtree,
}
STAGES = (
    *("known_labels", "embeddings", "labels", "quality", "dynamics", "scores"),
    *("candidate", "validation", "choice", "subset", "accuracy"),
)


def key_of(entry):
    return entry.parent.name + entry.name


def below(place, key):
    """Return all stored entries that rest on this one."""
    found, rest = [], [key]
    inputs = {
        path.parent: [key for *_, key in json.loads(path.read_text())["inputs"]] for path in place.manifests()
    }
    while rest:
        above = rest.pop()
        for entry in (entry for entry, keys in inputs.items() if above in keys and entry not in found):
            found.append(entry)
            rest.append(key_of(entry))
    return found


def healed(place, undisturbed, cli, kind, ways, rng, count):
    """Damage an entry of a kind in each way, with and without what rests on it: one command heals it."""
    for number, way in enumerate(ways):
        shutil.rmtree(place.folder, ignore_errors=True)
        shutil.copytree(undisturbed(SMALL).folder, place.folder)
        entry = rng.choice(place.kinds()[kind])
        key, resting = key_of(entry), below(place, key_of(entry))
        WAYS[way](entry)
        for other in resting if number % 2 else ():
            shutil.rmtree(other)
        count.times += 1
        ran = cli(place.line(workers=0))
        assert (ran.code, ran.err) == (0, ""), (kind, way)
        unread = {key} if not number % 2 and not place.store.verify(key) else set()
        count.lost += len(set(differing(place, undisturbed(SMALL))) - unread)


@pytest.mark.parametrize("kind", STAGES)
@fault(5, "one artefact damaged")
def test_a_damaged_artefact_is_healed_by_one_command(small, undisturbed, cli, count, kind):
    place = STAGES.index(kind)
    ways = [list(WAYS)[(place + shift) % len(WAYS)] for shift in (0, 3)]
    healed(small, undisturbed, cli, kind, ways, random.Random(place), count)


@pytest.mark.slow
@pytest.mark.parametrize("kind", STAGES)
@fault(5, "one artefact damaged, in every way")
def test_in_whatever_way(small, undisturbed, cli, count, kind):
    healed(small, undisturbed, cli, kind, WAYS, random.Random(STAGES.index(kind) + 100), count)


@fault(5, "all artefacts damaged at once")
def test_all_at_once_too(small, undisturbed, cli, count):
    shutil.copytree(undisturbed(SMALL).folder, small.folder)
    for number, path in enumerate(small.manifests()):
        list(WAYS.values())[number % len(WAYS)](path.parent)
        count.times += 1
    ran = cli(small.line(workers=0))
    assert (ran.code, ran.err) == (0, "")
    unread = {key for key in small.stored() if not small.store.verify(key)}
    assert set(differing(small, undisturbed(SMALL))) <= unread
    assert cli(small.line(workers=0)).code == 0  # now that they are known as damaged
    count.lost += len(differing(small, undisturbed(SMALL)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@fault(5, "an artefact deleted or emptied while a run is under way")
def test_even_while_a_run_is_under_way(small, undisturbed, spawn, count, seed):
    rng = random.Random(seed)
    run = spawn(small.line(), **small.faulty, FAULT_SLOW="0.1")
    for stages in range(4, 40, 6):
        if wait_until(lambda n=stages: len(small.manifests()) >= n, run):
            entry = rng.choice(small.manifests()).parent
            empty(entry / PAYLOAD) if stages % 4 else shutil.rmtree(entry, ignore_errors=True)
            count.times += 1
    errors = finished(run)
    assert run.returncode == 0, errors
    rows = summary(undisturbed(SMALL))["rows"]
    assert summary(small)["rows"] == rows


# 6. Rows


@pytest.fixture
def journal(row, tmp_path):
    """Three rows on record, and the file that holds them."""
    rows = [row(seed=seed) for seed in range(3)]
    for one in rows:
        add(tmp_path, one)
    return rows, path_of(tmp_path, rows[0])


@fault(6, "a row cut at every byte")
def test_a_torn_row_is_the_only_one_that_is_lost(journal, tmp_path, count):
    rows, path = journal
    content = path.read_bytes()
    last = len(content) - len(content.splitlines(keepends=True)[-1])
    for size in range(last + 1, len(content) - 1):
        path.write_bytes(content[:size])
        count.times += 1
        found, complaints = read(tmp_path, "toys")
        assert (found, len(complaints)) == (rows[:2], 1)
    assert add(tmp_path, rows[2])
    assert read(tmp_path, "toys") == (rows, [])


@fault(6, "one bit of a row changed")
def test_a_changed_row_is_noticed(journal, tmp_path, count):
    (rows, path), rng = journal, random.Random(0)
    content = path.read_bytes()
    for _ in range(400):
        changed = bytearray(content)
        changed[rng.randrange(content.index(b"\n"))] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        count.times += 1
        found, _complaints = read(tmp_path, "toys")
        count.lost += found not in (rows, rows[1:])
    assert count.lost == 0


# 23. Other versions


def test_the_present_version_has_a_store_for_later_ones_to_read():
    """Else run: python -m tests.faults.make_store."""
    assert (STORES / f"schema{SCHEMA}" / "written.json").is_file()


@pytest.mark.parametrize("folder", sorted(STORES.glob("schema*")), ids=lambda folder: folder.name)
@fault(23, "a store of each version that was ever in use")
def test_a_store_is_read_or_set_aside(folder, tmp_path, count):
    """What this version reads is what was written; nothing is taken for something else."""
    shutil.copytree(folder, tmp_path / "store")
    store = Store(tmp_path / "store")
    written = json.loads((folder / "written.json").read_text())
    for key, (kind, values) in written.items():
        count.times += 1
        if folder.name == f"schema{SCHEMA}":
            assert plain(store.read(key, KINDS[kind])) == values
        else:
            with pytest.raises(MissingArtefactError):
                store.read(key, KINDS[kind])


@fault(23, "an artefact that says it is of another version")
def test_an_artefact_of_another_version_is_not_read_as_ours(store, monkeypatch, count):
    monkeypatch.setattr("prunebench.pipeline.store.SCHEMA", SCHEMA + 1)
    put(store, "ab" * 32, Scores(values=[1.0]), {"kind": "scores"})
    monkeypatch.undo()
    count.times += 1
    with pytest.raises(MissingArtefactError):
        store.read("ab" * 32, Scores)


@pytest.mark.parametrize("suite", list(suites(ROOT / "leaderboard")))
@fault(23, "a row that was committed here")
def test_rows_that_were_committed_stay_readable(count, suite):
    rows, complaints = read(ROOT / "leaderboard", suite)
    count.times += len(rows)
    assert rows and complaints == []


@fault(23, "a row with a field of a later version")
def test_a_row_of_a_later_version_is_told_and_kept(row, tmp_path, count):
    add(tmp_path, row(seed=0))
    path = path_of(tmp_path, row())
    later = line({**row(seed=0).model_dump(), "later": 1})
    path.write_bytes(later)
    count.times += 1
    rows, complaints = read(tmp_path, "toys")
    assert rows == [] and len(complaints) == 1
    add(tmp_path, row(seed=1))
    assert path.read_bytes().startswith(later)


# 26. No locks


ERRNOS = ("ENOSYS", "ENOLCK", "EOPNOTSUPP", "EIO")


@pytest.mark.parametrize("name", ERRNOS)
@fault(26, "flock fails, from the start or in a store that was used with it before")
def test_a_disk_without_locks_works_as_any(mini, undisturbed, cli, monkeypatch, count, name):
    place = mini(name)
    assert cli(place.line(workers=0) + " --ratios 80").code == 0
    monkeypatch.setattr(fcntl, "flock", fcntl.flock)  # to be put back
    injected.no_flock(name)
    for where in (place, mini(f"{name}-from-the-start")):
        ran = cli(where.line(workers=0))
        count.times += 1
        assert (ran.code, ran.err) == (0, "")
        count.lost += len(differing(where, undisturbed(MINI)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ERRNOS)
@fault(26, "flock fails for two runners at once, of which one is killed")
def test_runners_keep_apart_without_locks(small, undisturbed, spawn, count, name):
    environment = {**small.faulty, "FAULT_FLOCK": name, "FAULT_SLOW": "0.1"}
    runs = [spawn(small.line(workers=1), **environment) for _ in range(2)]
    assert wait_until(lambda: len(small.manifests()) > 8, runs[0])
    os.killpg(runs[0].pid, signal.SIGKILL)
    errors = finished(runs[1])
    count.times += 2
    assert runs[1].returncode == 0, errors
    assert set(small.ended().values()) == {1}
    count.repeated += small.repeated()
    assert count.repeated <= 1
    count.lost += len(differing(small, undisturbed(SMALL)))

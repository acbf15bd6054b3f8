"""Files, archives, downloads, names and photos that are hostile or broken: 17, 18, 19, 20, 28."""

import gzip
import hashlib
import io
import json
import os
import pickle
import re
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from prunebench import Method
from prunebench.errors import MissingArtefactError, PrunebenchError
from prunebench.parts.artefacts import Scores
from prunebench.parts.registry import Registry
from prunebench.results.rows import read
from prunebench_plugins.columns import read_array, read_table
from prunebench_plugins.datasets.io.archives import download, unpack
from prunebench_plugins.datasets.io.pickles import unpickle
from prunebench_plugins.selectors.random import Random
from tests.faults.toys import add, put
from tests.photo_folders import write_labels, write_photos
from tests.plugins.test_archives import HOSTILE, PHOTOS, SPECIAL, entry, tarred
from tests.readme_blocks import ROOT

fault = pytest.mark.fault


# 17. Files that are programs


class Program:
    """What leaves a mark when somebody unpickles it."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def object_array(program):
    file = io.BytesIO()
    np.save(file, np.array([program], object), allow_pickle=True)
    return file.getvalue()


def saved(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


FORMS = {
    "a .npy": (object_array, "values.npy", read_array),
    "a .npy that is a pickle": (pickle.dumps, "values.npy", read_array),
    "a .pt": (saved, "values.pt", read_array),
    "a .pt that is a pickle": (pickle.dumps, "values.pt", read_array),
    "a .pt with a dictionary": (
        lambda p: saved({"scores": p}),
        "values.pt",
        lambda f: read_array(f, "scores"),
    ),
    "a .csv that is a pickle": (pickle.dumps, "values.csv", lambda file: read_table(file, "label")),
    "a batch of CIFAR": (lambda p: pickle.dumps({"data": p}), "batch", lambda f: unpickle(f.read_bytes())),
}


@pytest.mark.parametrize("form", FORMS)
@fault(17, "a file that runs a command when it is unpickled")
def test_no_file_of_others_is_run(tmp_path, count, form):
    write, name, read = FORMS[form]
    mark = tmp_path / "run"
    (tmp_path / name).write_bytes(write(Program(mark)))
    count.times += 1
    with pytest.raises((PrunebenchError, ValueError)) as error:
        read(tmp_path / name)
    assert "\n" not in str(error.value)
    assert not mark.exists()


@pytest.mark.parametrize("form", [object_array, saved, pickle.dumps])
@fault(17, "a stored artefact or checkpoint that runs a command when it is unpickled")
def test_nothing_in_a_store_is_run(store, tmp_path, count, form):
    mark, key = tmp_path / "run", "ab" * 32
    put(store, key, Scores(values=[1.0]), {"kind": "scores"})
    payload = store.path(key) / "payload.safetensors"
    payload.write_bytes(form(Program(mark)))
    checkpoint = store.checkpoint(key)
    checkpoint.path.parent.mkdir(exist_ok=True)
    checkpoint.path.write_bytes(form(Program(mark)))
    count.times += 2
    assert checkpoint.load() is None
    with pytest.raises(MissingArtefactError):
        store.read(key, Scores)
    assert not mark.exists()


UNSAFE = re.compile(
    r"\b(pickle|dill|joblib|marshal|shelve)\.(loads?|open)\(|yaml\.(unsafe_)?load\(|allow_pickle=True|weights_only=False"
)


@fault(17, "a source file of ours that might load one")
def test_no_source_loads_what_could_run(count):
    """Of the tests, those write programs to show that they are not run."""
    for folder in ("prunebench", "plugins", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            count.times += 1
            assert not UNSAFE.search(path.read_text(encoding="utf-8")), path


# 18. Archives

BOMBS = {
    "zeros": (gzip.compress(bytes(2**27), 9), PHOTOS),
    "many": (tarred([entry(f"photos/{n}") for n in range(20_000)]), replace(PHOTOS, size=2**30)),
    "large": (tarred([entry("photos/large", content=bytes(2**20))]), PHOTOS),
}
ARCHIVES = {
    **{
        kind: (tarred([entry("photos/1"), *members]), PHOTOS) for kind, members in (HOSTILE | SPECIAL).items()
    },
    **BOMBS,
}


@pytest.mark.parametrize("kind", ARCHIVES)
@fault(18, "an archive that leads out, links, makes devices or swells")
def test_a_hostile_archive_is_refused_whole(tmp_path, count, kind):
    content, archive = ARCHIVES[kind]
    folder = tmp_path / "inside" / "data"
    folder.mkdir(parents=True)
    (folder / archive.name).write_bytes(content)
    count.times += 1
    with pytest.raises(PrunebenchError) as error:
        unpack(archive, folder / archive.name)
    assert "\n" not in str(error.value)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == [folder / archive.name]


# 19. Downloads

GOOD = tarred()
ANSWERS = {
    "a page": (200, b"<html>Sorry</html>", None),
    "nothing": (200, b"", None),
    "another file": (200, tarred({"photos/x": b"?"}), None),
    "too little": (200, GOOD[: len(GOOD) // 2], len(GOOD)),
    "not found": (404, b"no", None),
    "out of order": (500, b"no", None),
}


@pytest.fixture
def server():
    """A server on this machine: it answers with the first of its `answers`, or else with GOOD."""
    answers = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, content, length = answers[0] if answers else (200, GOOD, None)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) if length is None else length))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        found.answers = answers
        yield found
        found.shutdown()


@pytest.mark.parametrize("kind", ANSWERS)
@fault(19, "a server that answers with something else")
def test_a_failed_download_leaves_nothing_and_the_next_succeeds(server, tmp_path, count, kind):
    url = f"http://127.0.0.1:{server.server_port}/{PHOTOS.name}"
    archive = replace(PHOTOS, url=url, digest=hashlib.md5(GOOD).hexdigest())
    server.answers.append(ANSWERS[kind])
    count.times += 1
    with pytest.raises(Exception):  # noqa: B017 - of torchvision's; datasets turn all into one line
        download(archive, tmp_path)
    assert list(tmp_path.iterdir()) == []
    server.answers.clear()
    assert download(archive, tmp_path).read_bytes() == GOOD


@fault(19, "a download stopped in the middle")
def test_a_download_that_is_stopped_leaves_nothing(server, tmp_path, monkeypatch, count):
    url = f"http://127.0.0.1:{server.server_port}/{PHOTOS.name}"
    archive = replace(PHOTOS, url=url, digest=hashlib.md5(GOOD).hexdigest())

    def stopped(_url, folder, name, _digest):
        (Path(folder) / name).write_bytes(GOOD[:10])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("torchvision.datasets.utils.download_url", stopped)
        count.times += 1
        with pytest.raises(KeyboardInterrupt):
            download(archive, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert download(archive, tmp_path).read_bytes() == GOOD


# 20. Names

NAMES = {
    "a step up": "../../evil",
    "dots": "..",
    "a slash": "a/b",
    "a backslash": "a\\b",
    "a new line": "a\nb",
    "a control letter": "a\x1b[2Jb",
    "markup": "<script>alert(1)</script>",
    "a long one": "x" * 300,
    "nothing": "",
    "a blank": " ",
    "an option": "--store",
    "a hidden file": ".hidden",
    "zero": "a\0b",
    "a script": "данные",
}


@pytest.mark.parametrize("table", ["dataset", "method"])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@fault(20, "a suite that names a dataset or a method so")
def test_a_suite_with_a_hostile_name_is_refused(cli, suite_file, tmp_path, count, name, table):
    own = {"dataset": 'of = "digits"', "method": 'selector = "random"'}[table]
    text = f"\n[{table}.{json.dumps(name)}]\n{own}\n"
    before = set(tmp_path.iterdir())
    path = suite_file(more=text)
    ran = cli(f"plan --suite {path}")
    count.times += 1
    assert ran.code == 2 and ran.err.startswith("Error: ") and ran.err.count("\n") == 1
    assert "\x1b" not in ran.err
    assert {path.name for path in set(tmp_path.iterdir()) - before} <= {"toys.toml", "store", "cache"}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@fault(20, "a plugin that registers such a name")
def test_a_plugin_with_a_hostile_name_is_refused(count, name):
    count.times += 1
    with pytest.raises((TypeError, PrunebenchError)):
        Registry().add("stranger", {"methods": [Method(name, title="M", selector=Random())]})


@fault(20, "rows of methods whose names are long, of any script, or differ in case alone")
def test_rows_of_any_method_are_found_again(row, tmp_path, count):
    variants = ["a{x.y=1/2}", "a{x.y=../..}", "é" * 300, "x" * 300, "x" * 301, "Aum", "aum", "a%2Fb", "a/b"]
    rows = [row(method=name) for name in variants]
    for one in rows:
        add(tmp_path, one)
        count.times += 1
    found, complaints = read(tmp_path, "toys")
    assert complaints == []
    assert sorted(one.method for one in found) == sorted(variants)
    top = tmp_path / "results" / "toys" / "toy"
    assert all(path.parent == top for path in tmp_path.rglob("*.jsonl"))


# 28. Photos

GRAY16 = np.arange(144, dtype=np.uint16).reshape(12, 12) * 400


def jpeg(**options):
    file = io.BytesIO()
    Image.new(options.pop("mode", "RGB"), (12, 12)).save(file, "JPEG", **options)
    return file.getvalue()


def tiff16():
    file = io.BytesIO()
    Image.fromarray(GRAY16).save(file, "TIFF")
    return file.getvalue()


BAD_PHOTOS = {
    "cut.jpg": jpeg()[:200],
    "empty.jpg": b"",
    "text.png": b"This is no picture.",
    "page.jpg": b"<html></html>",
    "zeros.png": bytes(1000),
    "cut.png": b"\x89PNG\r\n\x1a\n" + bytes(20),
    "bomb.ppm": b"P6 60000 60000 255\n",
}
ODD_PHOTOS = {"cmyk.jpg": jpeg(mode="CMYK"), "deep.tif": tiff16(), "named.png": jpeg()}


def with_files(folder, files):
    truth = write_photos(folder)
    write_labels(folder.with_name("labels.csv"), dict(list(truth.items())[::5]))
    for name, content in files.items():
        (folder / name).write_bytes(content)


PRUNE = (
    "prune photos --known labels.csv --ratio 50 --method probe_aum --backbone pixels --set recipe.epochs=2 "
    "--side 8 --device cpu --workers 0 --yes"
)


@fault(28, "a photo that cannot be read, beside links that lead nowhere")
def test_bad_photos_are_listed_up_front_or_skipped(cli, tmp_path, count):
    folder = tmp_path / "photos"
    with_files(folder, BAD_PHOTOS | ODD_PHOTOS)
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "round").symlink_to(folder, target_is_directory=True)
    count.times += len(BAD_PHOTOS) + 3
    ran = cli(f"{PRUNE} --output kept.csv")
    passed_over, error = ran.err.splitlines()
    assert ran.code == 2 and passed_over.endswith("1 link(s) to folders")
    assert error.startswith(f"Error: {len(BAD_PHOTOS) + 2} of the 72 images") and "--on-bad skip" in error
    ran = cli(f"{PRUNE} --output kept.csv --on-bad skip")
    assert ran.code == 0, ran.err
    kept = (tmp_path / "kept.csv").read_text()
    assert not [name for name in BAD_PHOTOS if f"{name}," in kept]


@pytest.mark.parametrize("name", ODD_PHOTOS)
@fault(28, "a photo in four colors, of 16 bits, or with the ending of another kind")
def test_odd_photos_are_photos(cli, tmp_path, count, name):
    with_files(tmp_path / "photos", {name: ODD_PHOTOS[name]})
    count.times += 1
    ran = cli(f"{PRUNE} --output kept.csv")
    assert (ran.code, "Error" in ran.err) == (0, False), ran.err
    assert name in (tmp_path / "kept.csv").read_text()


def test_the_bombs_are_small():
    assert all(len(content) < 2**20 for content, _ in BOMBS.values())
    assert not Path("/tmp/prunebench-evil.jpg").exists()

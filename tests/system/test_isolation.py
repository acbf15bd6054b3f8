"""Settings that all code of a process shares reach no artefact, and parts reach neither images nor truth."""

import importlib
import json
import operator
import os
import random
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from prunebench import PrunebenchError
from prunebench.parts import conformance, registry
from prunebench.parts.base import Backbone, Labeler, Scorer, Selector
from prunebench.parts.method import Method
from prunebench.pipeline.store import Store
from prunebench.system import isolation
from prunebench.system.isolation import check_not_at_work, isolated, python
from prunebench_plugins.selectors.random import Random
from prunebench_plugins.selectors.top import Top

PRUNEBENCH = Path(sys.executable).with_name("prunebench")


@pytest.fixture(autouse=True)
def told_anew():
    isolation._warned.clear()
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# Settings

DISTURB = {
    "torch.set_grad_enabled": lambda: torch.set_grad_enabled(False),
    "torch.set_default_dtype": lambda: torch.set_default_dtype(torch.float64),
    "torch.set_num_threads": lambda: torch.set_num_threads(2),
    "torch.set_deterministic_debug_mode": lambda: torch.use_deterministic_algorithms(True),
    "torch.set_float32_matmul_precision": lambda: torch.set_float32_matmul_precision("medium"),
    "torch.autocast on cpu": lambda: torch.set_autocast_enabled("cpu", True),
    "torch.backends.mkldnn.enabled": lambda: setattr(torch.backends.mkldnn, "enabled", False),
    "torch.backends.cudnn.benchmark": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "PIL.ImageFile.LOAD_TRUNCATED_IMAGES": lambda: setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True),
    "PIL.Image.MAX_IMAGE_PIXELS": lambda: setattr(Image, "MAX_IMAGE_PIXELS", None),
    "numpy.seterr": lambda: np.seterr(divide="raise"),
    "os.environ": lambda: os.environ.update(OMP_NUM_THREADS="7"),
    "sys.stdout": lambda: setattr(sys, "stdout", None),
    "sys.path": lambda: sys.path.reverse(),
    "the umask": lambda: os.umask(0o027),
    "the working folder": lambda: os.chdir("/"),
}


def states():
    """Return the settings of which a change is told, as they are; of the environment what steers results."""
    found = {s.name: s.read() for s in isolation.SETTINGS if not s.quiet and s.module in sys.modules}
    return found | {"os.environ": {name: os.environ.get(name) for name in isolation.STEERING}}


@pytest.mark.parametrize("name", DISTURB)
def test_what_a_part_changes_is_put_back_and_told(name, capsys):
    before = states()
    with isolated("scorer 'x' of y"):
        DISTURB[name]()
    assert states() == before
    assert capsys.readouterr().err == (
        f"warning: scorer 'x' of y changed {name}; all is put back, so that no other stage rests on it\n"
    )


@pytest.mark.parametrize("name", [name for name in DISTURB if name.startswith(("torch", "PIL", "numpy"))])
def test_what_a_user_changed_reaches_no_stage_and_is_back_afterwards(name, capsys):
    with isolated("x"):
        resting = states()
    with isolated("what this test changes"):
        DISTURB[name]()
        own = states()
        with isolated("x"):
            assert states()[name] == resting[name]
            assert torch.ones(1).dtype == torch.float32
        assert states() == own
    assert "x changed" not in capsys.readouterr().err


NEWER = {
    "backends": ["torch.set_float32_matmul_precision", "torch.backends.cudnn.allow_tf32"],
    "backends.cudnn": ["torch.set_float32_matmul_precision", "torch.backends.cudnn.allow_tf32"],
    "backends.cudnn.conv": ["torch.backends.cudnn.allow_tf32"],
    "backends.cuda.matmul": ["torch.set_float32_matmul_precision"],
}


def float32():
    return {name: operator.attrgetter(name)(torch).fp32_precision for name in isolation.FLOAT32}


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="torch 2.9 brought it")
@pytest.mark.parametrize("name", NEWER)
def test_the_newer_way_to_set_tf32_is_put_back_too(name, capsys):
    """Where torch knows both ways and they contradict, it raises for whoever asks in the older way."""
    owner = operator.attrgetter(name)(torch)
    with isolated("another x"):
        resting = float32()
    before = float32()
    with isolated("x"):
        owner.fp32_precision = "tf32"
    told = f"x changed {', '.join(NEWER[name])}; all is put back"
    assert float32() == before and told in capsys.readouterr().err
    with isolated("what this test changes"):
        owner.fp32_precision = "tf32"
        own = float32()
        with isolated("x"):
            assert float32() == resting and not torch.backends.cudnn.allow_tf32
            assert torch.get_float32_matmul_precision() == "highest"
        assert float32() == own
    assert float32() == before


@pytest.mark.parametrize("name", ["torch.set_grad_enabled", "torch.set_default_dtype"])
def test_no_setting_of_a_script_changes_a_result(matrix, make, name, tmp_path):
    alone = make(matrix("random")).rows[0]
    with isolated("what this test changes"):
        DISTURB[name]()
        again = make(replace(matrix("random"), store=Store(tmp_path / "again"))).rows[0]
    assert (again.accuracy, again.subset_key) == (alone.accuracy, alone.subset_key)


@dataclass(frozen=True, kw_only=True)
class Unsettling(Scorer):
    name = "unsettling"

    def score(self, images):
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        return np.arange(float(len(images)))


def test_a_part_that_changes_settings_is_named_once_and_no_result_but_its_own_rests_on_it(
    matrix, make, offer, capsys
):
    offer(Unsettling)
    method = Method("m", title="M", scorer=Unsettling(), selector=Top())
    made = make(matrix(method, "random", ratios=(30, 50)))
    assert made.failures == {} and len(made.rows) == 4
    assert capsys.readouterr().err == (
        "warning: scorer 'unsettling' of stranger changed torch.set_grad_enabled, torch.set_default_dtype; "
        "all is put back, so that no other stage rests on it\n"
    )


def cut_short(path):
    path.write_bytes(path.read_bytes()[:400])
    ImageFile.LOAD_TRUNCATED_IMAGES = True


def too_large(path):
    Image.new("L", (20_000, 10_000)).save(path)
    Image.MAX_IMAGE_PIXELS = None


def too_large_for_a_user(path):
    Image.MAX_IMAGE_PIXELS = 10  # all photos are


@pytest.mark.parametrize(
    ("change", "bad"), [(cut_short, True), (too_large, True), (too_large_for_a_user, False)]
)
def test_a_photo_is_bad_or_good_whoever_asks(tmp_path, change, bad):
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in "abcd":
            path = tmp_path / "photos" / split / name / "1.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(rng.integers(256, size=(20, 20, 3), dtype=np.uint8)).save(path)
    with isolated("what this test changes"):
        change(tmp_path / "photos/train/a/1.png")
        dataset = registry.load().dataset(f"folder:{tmp_path}/photos@16")
        if bad:
            with pytest.raises(PrunebenchError, match=r"a/1\.png"):
                dataset.load(tmp_path / "data", "train")
        else:
            assert len(dataset.load(tmp_path / "data", "train")[0]) == 4


def test_a_stage_can_train_within_the_inference_mode_of_its_caller():
    with torch.inference_mode():
        with isolated("x"):
            torch.ones(1, requires_grad=True).sum().backward()
        assert torch.is_inference_mode_enabled()


def test_random_numbers_are_the_same_in_every_stage_and_untouched_outside():
    def draws():
        return random.random(), np.random.rand(), torch.rand(1).item()

    before = random.getstate()
    with isolated("x"):
        first = draws()
    random.seed(7)
    with isolated("x"):
        assert draws() == first
    random.setstate(before)


def test_what_was_added_to_the_search_path_stays_behind_all_else(monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", ["a", "b"])
    with isolated("x"):
        sys.path.append("vendored")
    assert (sys.path, capsys.readouterr().err) == (["a", "b", "vendored"], "")
    with isolated("x"):
        sys.path.insert(0, "front")
    assert sys.path == ["a", "b", "vendored", "front"]


def test_a_part_reads_nothing_and_prints_to_standard_error(capsys):
    with isolated("x"):
        sys.stdout.write("of the part")
        assert sys.stdin.read() == ""
    assert capsys.readouterr() == ("", "of the part")


@pytest.mark.parametrize(
    "error", [SystemExit("now"), GeneratorExit("now"), type("Own", (BaseException,), {})("now")]
)
def test_what_is_no_exception_becomes_one_and_names_who_raised_it(error):
    with pytest.raises(PrunebenchError, match=f"x raised {type(error).__name__}: now"), isolated("x"):
        raise error


def test_ctrl_c_passes():
    with pytest.raises(KeyboardInterrupt), isolated("x"):
        raise KeyboardInterrupt


IMPORT = ("import os, sys", "from prunebench.system.isolation import isolated")


def test_no_library_is_imported_to_be_set():
    lines = (*IMPORT, "with isolated('x'): pass", "print('torch' in sys.modules)")
    assert subprocess.check_output([sys.executable, "-c", "\n".join(lines)], text=True) == "False\n"


def test_a_copy_that_a_part_forks_ends_with_it():
    lines = (*IMPORT, "with isolated('x'): os.fork()", "print('once')")
    assert subprocess.check_output([sys.executable, "-c", "\n".join(lines)], text=True) == "once\n"


# Images


def zeroed_slice(images):
    images[0 : len(images)].zero_()


def zeroed_base(images):
    images.array.base.setflags(write=True)
    images.array.base[:] = 0


def zeroed_storage(images):
    torch.from_numpy(images.array).zero_()


def zeroed_source(images):
    images[:1]
    images._source.untyped_storage().fill_(0)


def moved_mean(images):
    images.mean = (0.9,)


HARMLESS = (zeroed_slice, moved_mean)
HARMFUL = (zeroed_base, zeroed_storage, zeroed_source)
does = {function.__name__: function for function in (*HARMLESS, *HARMFUL)}


@dataclass(frozen=True, kw_only=True)
class Careless(Scorer):
    name = "careless"
    what: str

    def score(self, images):
        does[self.what](images)
        return np.arange(float(len(images)))


@dataclass(frozen=True, kw_only=True)
class CarelessBackbone(Backbone):
    name = "careless"

    def embed(self, images):
        zeroed_storage(images)
        return np.ones((len(images), 2))


@dataclass(frozen=True, kw_only=True)
class Near(Scorer):
    name = "near"
    backbone: str | Backbone = "pixels"

    def score(self, embeddings):
        return embeddings[:, 0]


@dataclass(frozen=True, kw_only=True)
class CarelessLabeler(Labeler):
    name = "careless"

    def label(self, images):
        zeroed_storage(images)
        raise ValueError("and then it failed")


@dataclass(frozen=True, kw_only=True)
class CarelessSelector(Selector):
    name = "careless"

    def select(self, scores, keep):
        torch.from_numpy(scores).zero_()
        return np.arange(keep)


@pytest.mark.parametrize(("what", "told"), [("zeroed_slice", True), ("moved_mean", False)])
def test_a_part_that_writes_to_its_copy_is_named_once(offer, matrix, make, capsys, monkeypatch, what, told):
    monkeypatch.setattr(isolation, "_warned", set())
    offer(Careless)
    method = Method("m", title="M", scorer=Careless(what=what), selector=Top())
    assert make(matrix(method)).failures == {}
    line = "warning: scorer 'careless' of stranger writes to the images it is handed; they are copies, so "
    assert (line in capsys.readouterr().err) == told


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writ")
@pytest.mark.parametrize("what", does)
def test_a_part_that_changes_images_in_place_touches_no_other(matrix, make, offer, what):
    alone = make(matrix("random")).rows[0].accuracy
    offer(Careless)
    method = Method("m", title="M", scorer=Careless(what=what), selector=Top())
    both = make(matrix(method, "random", ratios=(30,)))
    assert list(both.failures) == ([] if does[what] in HARMLESS else ["m toy 30% seed 0"])
    assert make(matrix("random")).rows[0].accuracy == alone
    assert both.rows[-1].accuracy > 60  # it learns from pictures, not from zeros


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writ")
@pytest.mark.parametrize(
    ("method", "who"),
    [
        (Method("m", title="M", scorer=Careless(what="zeroed_base"), selector=Top()), "scorer"),
        (Method("m", title="M", scorer=Near(backbone=CarelessBackbone()), selector=Top()), "backbone"),
        (Method("m", title="M", labeler=CarelessLabeler(), selector=Random(per_class=True)), "labeler"),
    ],
)
def test_who_changed_the_images_is_named_and_nothing_of_it_stored(matrix, make, offer, method, who):
    offer(Careless, CarelessBackbone, CarelessLabeler, CarelessSelector, Near)
    made = make(matrix(method))
    assert made.stages == [] or [stage.kind for stage in made.stages] == ["known_labels"]
    assert made.failures == {
        "m toy 50% seed 0": f"{who} 'careless' of stranger changed its input images, which is shared; "
        f"change a copy (toy). This is a bug in {__name__}."
    }


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writ")
def test_any_input_is_watched(matrix, make, offer):
    offer(Careless, CarelessSelector)
    method = Method("m", title="M", scorer=Careless(what="moved_mean"), selector=CarelessSelector())
    (message,) = make(matrix(method)).failures.values()
    assert message.startswith("selector 'careless' of stranger changed its input scores")


# Truth


@dataclass(frozen=True, kw_only=True)
class Spy(Scorer):
    name = "spy"
    data: str

    def score(self, images):
        return registry.load().dataset("toy").load(Path(self.data), "train")[1].astype(float)


def test_a_part_cannot_load_a_dataset(matrix, make, offer, tmp_path):
    offer(Spy)
    method = Method("m", title="M", scorer=Spy(data=str(tmp_path / "data")), selector=Top())
    assert make(matrix(method)).failures == {
        "m toy 50% seed 0": "scorer 'spy' of stranger loads the dataset toy, and with it the truth. "
        "Truth reaches a part only as `known_labels`; ask for that, or for images and names"
    }
    check_not_at_work("toy")  # afterwards anybody may


# The working folder


@dataclass(frozen=True, kw_only=True)
class Wanderer(Scorer):
    name = "wanderer"
    to: str

    def score(self, images, checkpoint):
        os.chdir(self.to)
        checkpoint.save({"way": 1})
        assert checkpoint.load() == {"way": 1}
        return np.arange(float(len(images)))


def test_a_part_that_goes_elsewhere_takes_nothing_along(matrix, make, offer, tmp_path, monkeypatch):
    offer(Wanderer)
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    cells = matrix(Method("m", title="M", scorer=Wanderer(to=str(elsewhere)), selector=Top()))
    cells.store, cells.data = Store(Path("relative")), Path("data")
    assert make(cells).failures == {}
    assert list(elsewhere.iterdir()) == [] and Path.cwd() == tmp_path


def test_the_contract_asks_that_settings_are_left_alone():
    @dataclass(frozen=True, kw_only=True)
    class Loud(Scorer):
        name = "loud"

        def score(self, images):
            np.seterr(all="raise")
            return np.arange(float(len(images)))

    found = {check.name: check.error for check in conformance.check(Loud())}
    assert found["settings untouched"] == "changed numpy.seterr"


# The code of another process


@pytest.mark.parametrize(
    "name",
    ["random", "queue", "types", "signal", "json", "numpy", "torch", "prunebench"],
)
def test_a_file_in_the_working_folder_is_no_module(tmp_path, monkeypatch, name):
    (tmp_path / f"{name}.py").write_text("raise SystemExit('taken from the working folder')")
    monkeypatch.chdir(tmp_path)
    command = python(f"import {name}; print({name}.__file__)")
    found = subprocess.check_output(command, text=True).strip()
    assert found == importlib.import_module(name).__file__


def test_the_standard_library_comes_first_whatever_the_search_path_of_this_process(tmp_path, monkeypatch):
    (tmp_path / "random.py").write_text("")
    (tmp_path / "of_my_own.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])  # as in a notebook
    command = python(
        "import json, random, of_my_own; print(json.dumps([random.__file__, of_my_own.__file__]))"
    )
    assert json.loads(subprocess.check_output(command)) == [random.__file__, str(tmp_path / "of_my_own.py")]


def test_a_command_works_beside_scripts_that_are_called_like_modules(tmp_path):
    for name in ("random", "numpy", "torch", "prunebench"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('my own little script')")
    line = "run --suite quickstart --methods random --ratios 90 --seeds 1 --set recipe.epochs=1 --workers 1"
    ran = subprocess.run([PRUNEBENCH, *line.split()], cwd=tmp_path, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")

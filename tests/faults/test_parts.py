"""Memory that runs out, losses that diverge, plugins that are bad or merely installed: 10, 11, 12, 13, 14."""

from dataclasses import dataclass

import pytest

from prunebench import Method, Scorer
from prunebench.parts.conformance import check
from prunebench_plugins.selectors.top import Top
from tests.faults.toys import MINI, SMALLER, differing

fault = pytest.mark.fault
pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True, kw_only=True)
class Hungry(Scorer):
    name = "hungry"

    def score(self, images):
        import torch

        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


# 10. A GPU without memory


@fault(10, "a scorer that always raises torch.OutOfMemoryError")
def test_out_of_memory_fails_the_cells_that_need_it_alone(offer, matrix, make, count):
    offer(Hungry)
    ran = make(matrix(Method("hungry", title="H", scorer=Hungry(), selector=Top()), "random"))
    count.times += 1
    assert [row.method for row in ran.rows] == ["random"]
    ((cell, message),) = ran.failures.items()
    assert cell.startswith("hungry") and "memory" in message


@pytest.mark.parametrize("fits", [8, 4])
@fault(10, "a training that finds no memory for more than so many images at once")
def test_a_training_goes_on_with_less_at_once_and_says_so(matrix, make, monkeypatch, count, fits):
    """Of a batch of 16 a half, or a quarter, fits."""
    import torch

    convolve = torch.nn.functional.conv2d

    def short_of_memory(images, *rest):
        if torch.is_grad_enabled() and len(images) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return convolve(images, *rest)

    monkeypatch.setattr(torch.nn.functional, "conv2d", short_of_memory)
    ran = make(matrix("random"))
    count.times += 1
    assert ran.failures == {}
    assert SMALLER.search(ran.rows[0].model_dump_json())


# 11. A machine without memory

DYING = """
from dataclasses import dataclass
import numpy as np
from prunebench import Method, Scorer, hookimpl
from prunebench_plugins.selectors.top import Top

@dataclass(frozen=True, kw_only=True)
class Part(Scorer):
    name = "{name}"

    def score(self, images):
        {body}
        return np.arange(float(len(images)))

@hookimpl
def register_scorers():
    return [Part]

@hookimpl
def register_methods():
    return [Method("{name}", title="{name}", scorer=Part(), selector=Top())]
"""
KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
# What a process near its end is like: whatever it allocates from now on, there is no room for.
CRIPPLED = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**27, -1)); np.ones(2**27)"


def plugin(install, name, body, source=DYING):
    """Install a package whose one scorer does something bad."""
    install(name, source.format(name=name, body=body))


@pytest.mark.parametrize(("name", "body"), [("killed", KILLED), ("crippled", CRIPPLED)])
@fault(11, "a worker that the system kills, or that gets no more memory, at the same stage every time")
def test_a_worker_without_memory_harms_no_other_cell(mini, undisturbed, install, process, count, name, body):
    plugin(install, name, body)
    place = mini("memory")
    ran = process(place.line(workers=1) + f" --methods {name},random")
    count.times += 2
    assert ran.code == 1
    failed = [line for line in ran.err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 2 and all(name in line and "memory" in line for line in failed)
    assert len([line for line in ran.out.splitlines() if "random" in line and " % " in line]) >= 2
    status = process(place.line("status") + f" --methods {name},random").out
    header, *rows = [line.split() for line in status.splitlines() if line][:3]
    states = {row[1].partition("{")[0]: dict(zip(header, row, strict=False)) for row in rows}
    assert states[name]["failed"] == "2" and states["random"]["done"] == "2"


# 12. Losses and scores


@pytest.mark.parametrize("rate", ["1e12", "1e308"])
@fault(12, "a learning rate at which the loss is no number")
def test_a_training_that_diverges_is_told_and_not_stored(mini, process, count, rate):
    place = mini("diverged")
    ran = process(place.line(workers=0) + f" --set recipe.lr={rate}")
    count.times += 2
    assert ran.code == 1
    failed = [line for line in ran.err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 2 and all("step" in line and "learning rate" in line for line in failed)
    assert "accuracy" not in place.kinds()
    assert "diverged" in ran.out or "failed" in ran.out or "·" in ran.out  # missing, and shown


@pytest.mark.parametrize("rate", ["inf", "nan", "-1"])
@fault(12, "a learning rate that is no number")
def test_a_learning_rate_that_is_none_is_refused(mini, cli, count, rate):
    ran = cli(mini("refused").line(workers=0) + f" --set recipe.lr={rate}")
    count.times += 1
    assert ran.code == 2 and ran.err.startswith("Error: ") and ran.err.count("\n") == 1


@dataclass(frozen=True, kw_only=True)
class Same(Scorer):
    name = "same"
    value: float = 0.0

    def score(self, images):
        import numpy as np

        return np.full(len(images), self.value)


@pytest.mark.parametrize(
    ("value", "broken"), [("nan", "finite"), ("inf", "finite"), ("3.0", "tells images apart")]
)
@fault(12, "scores that are not finite, or all the same")
def test_scores_that_say_nothing_break_the_contract(count, value, broken):
    count.times += 1
    assert broken in [found.name for found in check(Same(value=float(value))) if found.error]


# 13. Bad plugins

GOOD = DYING.format(name="good", body="pass")
BAD_IMPORTS = {
    "absent": "import nothing_of_this_name",
    "syntax": "def (",
    "exits": "import sys; sys.exit(0)",
    "clash": GOOD,
    "signature": GOOD.replace("register_scorers()", "register_scorers(who)"),
    "base": "class Odd(BaseException): ...\nraise Odd('odd')",
    "ends": "import os; os._exit(7)",
    "strikes": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "divides": "1 / 0",
    "stranger": GOOD.replace("return [Part]", "return [object()]").replace("good", "stranger"),
    "hangs": "import time\nwhile True: time.sleep(1)",
}


@fault(13, "a plugin that cannot be imported, or ends or stops whoever does")
def test_bad_imports_are_named_and_harm_nothing(install, process, mini, count, monkeypatch):
    monkeypatch.setenv("PRUNEBENCH_IMPORT_TIMEOUT", "4")  # one of them hangs in each of four commands
    install("agood", GOOD)
    for name, source in BAD_IMPORTS.items():
        install(name, source)
    plugins = {line.split()[0]: line for line in process("list plugins").out.splitlines()}
    for name in BAD_IMPORTS:
        count.times += 1
        assert "broken: " in plugins[name], name
    assert "broken" not in plugins["agood"]
    listed = process("list scorers")
    assert listed.code == 0 and "good" in listed.out and "aum" in listed.out
    assert process("doctor").code == 0
    assert process(mini("bad").line(workers=0)).code == 0


@fault(13, "a broken plugin, and --strict or PRUNEBENCH_PLUGINS")
def test_strangers_can_be_insisted_on_or_left_out(install, process, mini, count):
    install("absent", BAD_IMPORTS["absent"])
    install("agood", GOOD)
    count.times += 2
    strict = process("--strict " + mini("strict").line(workers=0))
    assert strict.code == 2 and "absent" in strict.err and strict.err.count("\n") == 1
    alone = process("list scorers", PRUNEBENCH_PLUGINS="none")
    assert (alone.code, alone.err) == (0, "") and "agood" not in alone.out
    chosen = process("list scorers", PRUNEBENCH_PLUGINS="agood")
    assert (chosen.code, chosen.err) == (0, "") and "agood" in chosen.out


BAD_SCORES = {
    "short": "return np.zeros(3)",
    "text": "return np.array(['a'] * len(images))",
    "notfinite": "return np.full(len(images), np.nan)",
    "raises": "raise RuntimeError('odd')",
    "changes": "images[0 : len(images)].zero_(); images.array.setflags(write=True); images.array[:] = 0",
    "dies": "import os; os._exit(9)",
    "neverends": "import time; time.sleep(10**6)",
}
ODD_SCORES = {
    "reads": "import sys; assert sys.stdin.read() == ''",
    "wanders": "import os; os.chdir('/')",
    "seeds": "import torch, random; torch.manual_seed(1); np.random.seed(1); random.seed(1)",
    "precision": "import torch; torch.set_default_dtype(torch.float64); torch.set_grad_enabled(False)",
    "prints": "print('{\"done\": true}', flush=True)",
    "forks": "import os; os.fork() or os._exit(0)",
    "searches": "import sys; sys.path.insert(0, '/nowhere')",
}


@fault(13, "a scorer that breaks its contract, never returns or ends its worker")
def test_bad_scorers_are_named_and_harm_no_other_cell(install, process, mini, undisturbed, count):
    for name, body in BAD_SCORES.items():
        plugin(install, name, body)
    place = mini("bad")
    names = ",".join(BAD_SCORES)
    ran = process(
        place.line(workers=2) + f" --stage-timeout 8 --ratios 80,90 --methods {names},random",
        PYTHONWARNINGS="",
    )
    assert ran.code == 1
    for name in BAD_SCORES:
        failed = [line for line in ran.err.splitlines() if line.startswith(f"failed: {name}")]
        count.times += 1
        assert len(failed) == 2, (name, ran.err)
    assert process(place.line(workers=0)).code == 0
    count.lost += len([one for one in differing(place, undisturbed(MINI)) if one.startswith("random")])


@fault(13, "a scorer that changes what its process shares")
def test_odd_scorers_change_nothing_for_others(install, process, mini, undisturbed, count):
    for name, body in ODD_SCORES.items():
        plugin(install, name, body)
    place = mini("odd")
    process(place.line(workers=1) + f" --methods {','.join(ODD_SCORES)},random")
    count.times += len(ODD_SCORES)
    assert process(place.line(workers=0)).code == 0
    count.lost += len([one for one in differing(place, undisturbed(MINI)) if one.startswith("random")])


BAD_SELECTORS = {
    "tooshort": "return np.arange(keep - 1)",
    "twice": "return np.zeros(keep, int)",
    "outside": "return np.arange(keep) + len(images)",
    "negative": "return -1 - np.arange(keep)",
    "halves": "return np.arange(keep) + 0.5",
}
SELECTING = """
from dataclasses import dataclass
import numpy as np
from prunebench import Method, Selector, hookimpl

@dataclass(frozen=True, kw_only=True)
class Part(Selector):
    name = "{name}"

    def select(self, images, keep):
        {body}

@hookimpl
def register_selectors():
    return [Part]

@hookimpl
def register_methods():
    return [Method("{name}", title="{name}", selector=Part())]
"""


@fault(13, "a selector that returns something else than so many images")
def test_bad_selectors_are_named_too(install, cli, mini, count):
    for name, body in BAD_SELECTORS.items():
        plugin(install, name, body, SELECTING)
    ran = cli(mini("bad").line(workers=0) + f" --methods {','.join(BAD_SELECTORS)} --ratios 80")
    assert ran.code == 1
    for name in BAD_SELECTORS:
        count.times += 1
        assert f"failed: {name}" in ran.err


# 14. Trust


@pytest.mark.parametrize("line", ["--help", "--version", "run --help", "list suites --help"])
@fault(14, "a command that needs no plugin, beside one that leaves a mark when it is imported")
def test_what_needs_no_plugin_imports_none(install, process, tmp_path, count, line):
    mark = tmp_path / "imported"
    install("marks", f"open({str(mark)!r}, 'w').close()")
    assert process(line).code == 0
    count.times += 1
    assert not mark.exists()

"""From entry points to parts by name, and what becomes of plugins that are broken."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from prunebench.errors import PrunebenchError
from prunebench.parts import hookspecs, registry, trial
from prunebench.parts.base import Backbone, Draw, Labeler, Scorer, Selector
from prunebench.parts.dataset import Dataset
from prunebench.parts.identity import identity
from prunebench.parts.method import Method
from prunebench.system import isolation
from prunebench_plugins.backbones.pixels import Pixels
from prunebench_plugins.scorers.aum import Aum
from prunebench_plugins.selectors.beta import Beta
from prunebench_plugins.selectors.random import Random

# Hooks


def test_hook_register_datasets(offer):
    @dataclass(frozen=True, kw_only=True)
    class Birds(Dataset):
        name: str = "birds"

    assert offer(Birds()).dataset("birds") == Birds()


def test_hook_register_datasets_with_a_class_that_takes_a_path(offer):
    @dataclass(frozen=True, kw_only=True)
    class Cards(Dataset):
        name: str = "cards"
        path: str
        side: int

    found = offer(Cards).dataset("cards:/my photos/2024 b@64")
    assert found == Cards(name="cards-2024_b-64-7f69bd5e", path="/my photos/2024 b", side=64)


def test_hook_register_backbones(offer):
    @dataclass(frozen=True, kw_only=True)
    class Flat(Backbone):
        name = "flat"

        def embed(self, images): ...

    assert offer(Flat).part("backbone", "flat") == Flat()


def test_hook_register_labelers(offer):
    @dataclass(frozen=True, kw_only=True)
    class Guess(Labeler):
        name = "guess"

        def label(self, images): ...

    assert offer(Guess).part("labeler", {"part": "guess", "label_fraction": 0.1}) == Guess(label_fraction=0.1)


def test_hook_register_scorers(offer):
    @dataclass(frozen=True, kw_only=True)
    class Near(Scorer):
        name = "near"
        backbone: str | Backbone = "pixels"

        def score(self, embeddings): ...

    spelled = {"part": "near", "backbone": {"part": "pixels", "components": 2}}
    assert offer(Near).part("scorer", spelled) == Near(backbone=Pixels(components=2))


def test_hook_register_selectors(offer):
    @dataclass(frozen=True, kw_only=True)
    class First(Selector):
        name = "first"

        def select(self, images, keep): ...

    assert offer(First).owners["selectors", "first"] == "stranger"


def test_hook_register_draws(offer):
    @dataclass(frozen=True, kw_only=True)
    class Any(Draw):
        name = "any"

        def draw(self, names, count): ...

    assert offer(Any).part("draw", "any") == Any()


def test_hook_register_methods(offer):
    method = Method("mine", title="Mine", selector=Random())
    assert offer(method).get("methods", "mine") is method


def test_hook_cell_finished(install):
    install("nosy", "from prunebench import hookimpl\n@hookimpl\ndef cell_finished(row): row.append(7)\n")
    [(owner, listener)] = registry.load().listeners
    told: list[int] = []
    listener(row=told)
    assert (owner, told) == ("nosy", [7])


def test_hook_register_executors(install):
    source = "from prunebench import hookimpl\n@hookimpl\ndef register_executors(): return {'mine': print}\n"
    install("far", source)
    assert registry.load().executors == {"mine": ("far", print)}
    install("further", source)
    assert [plugin.error for plugin in registry.load().plugins if plugin.error] == [
        "TypeError: executor 'mine' is offered by further and by far"
    ]


HOOKS = [name for name, value in vars(hookspecs).items() if hasattr(value, "prunebench_spec")]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_test(hook):
    assert f"test_hook_{hook}" in globals()


# Names


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("scorers", "aumm", "no scorer named 'aumm'. Did you mean 'aum'? See: prunebench list scorers"),
        (
            "selectors",
            "zz",
            "no selector named 'zz'. Known: annotated, beta, cutoff, d2, draw, facility_location, file, "
            "herding, include, k_center, random, stratified, top. See: prunebench list selectors",
        ),
    ],
)
def test_an_unknown_name_is_answered_with_what_exists(kind, name, message):
    with pytest.raises(PrunebenchError) as error:
        registry.load().get(kind, name)
    assert str(error.value) == message


def test_an_unknown_name_points_to_broken_plugins(install):
    install("sick", "import nothing_of_this_name")
    with pytest.raises(PrunebenchError, match=r"\(broken plugins: sick; see: prunebench list plugins\)"):
        registry.load().get("scorers", "from_the_sick_one")


def test_a_part_that_no_method_uses_is_no_method(offer):
    @dataclass(frozen=True, kw_only=True)
    class Lone(Scorer):
        name = "lone"

        def score(self, images): ...

    offer(Lone)
    with pytest.raises(
        PrunebenchError, match=r"no method named 'lone'\. It is a scorer that no method uses yet; "
    ):
        registry.load().get("methods", "lone")
    offer(Method("loner", title="Loner", labeler=None, scorer=Lone(), selector=Random()), owner="another")
    with pytest.raises(PrunebenchError, match=r"no method named 'lone'\. Did you mean 'loner'"):
        registry.load().get("methods", "lone")


def test_a_part_is_written_as_a_name_or_a_table():
    assert registry.load().part("selector", {"part": "beta"}) == Beta()
    with pytest.raises(PrunebenchError, match=r"a selector is written as a name or as \{part = NAME, ...\}"):
        registry.load().part("selector", {"stream": 1})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("folder", "write it as folder:PATH@PIXELS, such as folder:photos@64"),
        ("folder:", "write it as folder:PATH@PIXELS"),
        ("folder:photos", "write it as folder:PATH@PIXELS"),
        ("folder:@8", "write it as folder:PATH@PIXELS"),
        ("folder:a@\xb2", "write it as folder:PATH@PIXELS"),
        ("digits:/no/such/place@64", "digits takes no path; write digits alone"),
        ("cifar10:/mnt@32", "cifar10 takes no path; write cifar10 alone"),
        ("digits:", "digits takes no path; write digits alone"),
        ("fashion_mnist_lt:a@28", "fashion_mnist_lt takes no path; write fashion_mnist_lt alone"),
        ("digits@8", "no dataset named 'digits@8'. Did you mean 'digits'?"),
        ("fodler:a@8", "no dataset named 'fodler'. Did you mean 'folder'?"),
        ("folder:caf\udce9@8", "cannot be used: 'utf-8' codec can't encode"),
        ("folder:a\0b@8", "cannot be used: embedded null byte"),
    ],
)
def test_a_path_stands_where_a_dataset_takes_one_and_nowhere_else(spec, message):
    with pytest.raises(PrunebenchError) as told:
        registry.load().dataset(spec)
    assert message in str(told.value)


def test_no_two_paths_share_the_name_of_their_dataset(tmp_path, monkeypatch):
    paths = [
        "set-1",
        "set_1",
        "Set_1",
        "снимки",
        "кошки",
        "写真",
        "a b",
        "a  b",
        "é",
        "e\u0301",
        "...",
        "x/a b",
    ]
    paths += ["a" * 60, "a" * 61, "日" * 60, "/", f"{tmp_path}/set"]
    names = [registry.load().dataset(f"folder:{path}@16").name for path in paths]
    assert len({name.casefold() for name in names}) == len(paths)
    assert all(re.fullmatch(r"folder(-[\w-]+)?-16-[0-9a-f]{8}", name) for name in names)
    assert max(len(name.encode()) for name in names) < 70
    monkeypatch.chdir(tmp_path)
    assert registry.load().dataset("folder:set-1@16").name not in names  # another working folder
    assert registry.load().dataset("folder:set@16").name == names[-1]  # the same, spelled otherwise


def test_a_path_and_a_link_to_it_are_one_dataset(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to("photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    specs = ["photos", "./photos", "link", "~/photos", str(tmp_path / "photos"), "photos/../link/"]
    found = {registry.load().dataset(f"folder:{path}@8") for path in specs}
    assert found == {registry.load().dataset(f"folder:{tmp_path}/photos@8")}
    table = {"family": "folder", "name": "mine", "path": "link", "side": 8}
    assert registry.load().dataset({"of": table, "on_bad": "skip"}).path == str(tmp_path / "photos")
    assert registry.anchored({"of": "folder:link@8"}) == {"of": f"folder:{tmp_path}/photos@8"}
    assert registry.anchored("digits") == "digits"


def test_a_part_is_rebuilt_from_its_identity():
    part = Aum()
    assert registry.load().rebuild(identity(part)) == part


@pytest.mark.parametrize("name", ["a/b", "..", "", "ä", "x" * 65, "a b", "a,b"])
def test_a_name_that_is_no_file_name_is_refused(offer, name):
    found = offer(Method(name, title="T", selector=Random()))
    assert "cannot be a name" in found.plugins[-1].error


# Broken plugins

GOOD = """
import re
from dataclasses import dataclass
from prunebench import Method, Scorer, hookimpl

@dataclass(frozen=True, kw_only=True)
class Fine(Scorer):
    name = "fine"
    def score(self, labels): ...

@hookimpl
def register_scorers():
    return [Fine]
"""


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("def register_scorers(:", "SyntaxError: "),
        ("raise SystemExit('not here')", "importing sick raised SystemExit: not here"),
        ("raise GeneratorExit", "importing sick raised GeneratorExit: "),
        ("class Own(BaseException): ...\nraise Own('mine')", "importing sick raised Own: mine"),
        ("import os; os._exit(7)", "importing sick ends the process (exit code 7)"),
        ("import os; os.kill(os.getpid(), 11)", "importing sick ends the process (SIGSEGV)"),
        ("HOOK register_methods(): import os; os._exit(0)", "importing sick ends the process (exit code 0)"),
        ("class Peek(Scorer):\n def score(self, truth): ...", "TypeError: Peek.score() asks for ['truth']"),
        ("HOOK register_scorer(): return []", "PluginValidationError: unknown hook 'register_scorer'"),
        ("HOOK register_methods(name): return []", "PluginValidationError: Plugin "),
        ("HOOK cell_finished(cell): pass", "PluginValidationError: Plugin "),
        ("HOOK register_executors(): return {'a b': print}", "TypeError: register_executors returned 'a b'"),
        (
            "HOOK register_executors(): return {'a': 1}",
            "TypeError: register_executors returned 'a': 1, expec",
        ),
        ("HOOK register_executors(): return [print]", "TypeError: register_executors returned [<built-in"),
        ("HOOK register_methods(): raise ValueError('no')", "ValueError: no"),
        ("HOOK register_methods(): pass", "TypeError: register_methods returned None, expected a list"),
        ("HOOK register_methods(): return Fine", "TypeError: 'type' object is not iterable"),
        ("HOOK register_methods(): return [1]", "TypeError: register_methods returned 1, expected Method"),
        ("HOOK register_selectors(): return [Fine]", "TypeError: register_selectors returned <class"),
    ],
)
def test_a_broken_plugin_is_listed_with_its_reason_and_harms_nothing(install, more, reason):
    install("sick", GOOD + more.replace("HOOK", "@hookimpl\ndef"))
    found = registry.load()
    *others, sick = found.plugins
    assert (sick.distribution, sick.release, sick.module) == ("sick", "1.0", "sick")
    assert sick.error.startswith(reason) and "\n" not in sick.error
    assert "fine" not in found.found["scorers"]  # a broken plugin gives nothing at all
    assert "aum" in found.found["scorers"] and not any(plugin.error for plugin in others)


def test_a_name_taken_twice_names_both_owners(offer):
    method = Method("twice", title="T", selector=Random())
    offer(method, owner="first")
    found = offer(method, Method("other", title="O", selector=Random()), owner="second")
    assert found.plugins[-1].error == "TypeError: method 'twice' is offered by second and by first"
    assert "other" not in found.found["methods"]


def test_a_stranger_cannot_replace_what_is_built_in(offer):
    found = offer(Aum)
    assert found.plugins[-1].error == "TypeError: scorer 'aum' is offered by stranger and by prunebench"
    assert found.owners["scorers", "aum"] == "prunebench"


def test_an_import_that_hangs_is_given_up_and_named(install, monkeypatch):
    monkeypatch.setenv("PRUNEBENCH_IMPORT_TIMEOUT", "2")
    install("sick", GOOD + "import time; time.sleep(1000)")
    assert registry.load().plugins[-1].error == (
        "importing sick takes more than 2 s; "
        "if it is only slow, set PRUNEBENCH_IMPORT_TIMEOUT to more seconds"
    )
    assert "aum" in registry.load().found["scorers"]


def test_a_healthy_plugin_is_tried_once_and_again_after_an_edit(install, monkeypatch, tmp_path):
    tried = []
    real = trial.subprocess.run
    monkeypatch.setattr(
        trial.subprocess, "run", lambda *given, **more: tried.append(1) or real(*given, **more)
    )
    path = install("healthy", GOOD)
    for _ in range(2):
        registry.load.cache_clear()
        assert "fine" in registry.load().found["scorers"]
    assert len(tried) == 1
    path.write_text(GOOD + "import time; time.sleep(1000)")
    monkeypatch.setenv("PRUNEBENCH_IMPORT_TIMEOUT", "0.1")
    registry.load.cache_clear()
    assert "takes more than 0.1 s" in registry.load().plugins[-1].error


def test_what_an_import_changes_is_put_back_and_told(install, capsys, monkeypatch):
    folder = Path.cwd()
    install("moving", GOOD + "import os; os.chdir('/'); print('hello')")
    assert "fine" in registry.load().found["scorers"]
    assert Path.cwd() == folder
    out, err = capsys.readouterr()
    assert out == ""
    assert "hello\nwarning: importing moving changed the working folder; all is put back" in err


def test_metadata_that_nobody_can_read_is_a_broken_plugin(install):
    path = install("garbled", GOOD)
    path.with_name("garbled-1.0.dist-info").joinpath("entry_points.txt").write_bytes(b"\xff\xfe[prune")
    *_, last = registry.load().plugins
    assert (last.distribution, last.error.partition(":")[0]) == ("garbled", "its metadata cannot be read")
    assert "aum" in registry.load().found["scorers"]


def test_strict_ends_on_a_broken_plugin(install, cli):
    install("sick", "import nothing_of_this_name")
    assert cli("list scorers").code == 0
    refused = cli("--strict list scorers")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        "Error: --strict: broken plugins: sick "
        "(ModuleNotFoundError: No module named 'nothing_of_this_name'). "
        "Uninstall or mend them\n"
    )


# Which plugins


@pytest.mark.parametrize(
    ("allowed", "taken"),
    [
        *((None, True), ("healthy_one", True), ("Healthy-One", True), ("other, healthy.one", True)),
        *(("other", False), ("", False), ("none", False), ("NONE", False)),
    ],
)
def test_prunebench_plugins_restricts_strangers(install, monkeypatch, allowed, taken):
    install("healthy_one", GOOD)
    if allowed is not None:
        monkeypatch.setenv("PRUNEBENCH_PLUGINS", allowed)
    assert ("fine" in registry.load().found["scorers"]) is taken
    assert "aum" in registry.load().found["scorers"]


def test_a_plugin_that_is_left_out_is_listed_but_not_loaded(install, monkeypatch, cli):
    install("sick", "raise SystemExit('never imported')")
    monkeypatch.setenv("PRUNEBENCH_PLUGINS", "none")
    listed = cli("list plugins")
    (line,) = [line for line in listed.out.splitlines() if line.startswith("sick")]
    assert line.split()[:4] == ["sick", "1.0", "parts", "sick"]
    assert line.endswith("not loaded: PRUNEBENCH_PLUGINS leaves it out")


def test_a_name_that_matches_no_plugin_is_told(install, monkeypatch, capsys):
    install("healthy", GOOD)
    monkeypatch.setenv("PRUNEBENCH_PLUGINS", "healthy, heathly")
    isolation._warned.clear()
    registry.load()
    assert capsys.readouterr().err == (
        "warning: PRUNEBENCH_PLUGINS names heathly, but no such plugin is installed. "
        "See: prunebench list plugins\n"
    )

"""What stages rest on of the state that all code of a process shares, and the processes that run stages.

Libraries keep switches that decide results: whether Pillow takes a file that is cut short, which type of
number torch makes. `isolated` sets each to one value before a stage, so that neither a user's script nor
another part can reach an artefact. Afterwards it puts everything back and names who changed what.
"""

from __future__ import annotations

import io
import operator
import os
import random
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from prunebench.errors import PrunebenchError

# On a CPU the number of threads changes results. Libraries read these when they are loaded.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Idle threads sleep rather than spin, which matters as soon as cores are shared.
    "OMP_WAIT_POLICY": "PASSIVE",
}
STEERING = (*ONE_THREAD, "CUDA_VISIBLE_DEVICES", "PYTHONPATH", "PRUNEBENCH_PLUGINS")
MOST_PIXELS = 1024**3 // 4 // 3  # Pillow's own limit
NUMPY_REACTION = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}  # NumPy's own
_at_work: ContextVar[str | None] = ContextVar("part at work", default=None)
_said: set[str] = set()


def warn(line: str) -> None:
    """Say a line on standard error, once per process."""
    if line not in _said:
        _said.add(line)
        sys.stderr.write(f"warning: {line}\n")
        sys.stderr.flush()


@dataclass(frozen=True, eq=False)
class Setting:
    """One piece of state that all code of a process shares.

    module: it is looked at only once this is imported. wanted: returns what stages rest on; None: what they
    find. changed: tells the state before from that after. quiet: put back without a word, because libraries
    change it rightly.
    """

    name: str
    module: str
    read: Callable[[], Any]
    write: Callable[[Any], object]
    wanted: Callable[[], Any] | None = None
    changed: Callable[[Any, Any], bool] = operator.ne
    quiet: bool = False


def _attribute(module: str, name: str, wanted: Callable[[], Any] | None = None) -> Setting:
    """Return the setting that is an attribute of a module."""

    def read() -> Any:
        return getattr(sys.modules[module], name)

    def write(value: Any) -> None:
        setattr(sys.modules[module], name, value)

    return Setting(f"{module}.{name}", module, read, write, wanted)


def _function(
    module: str, getter: str, setter: str, wanted: Callable[[], Any], quiet: bool = False
) -> Setting:
    """Return the setting that two functions of a module read and write; it goes by the name of the second."""

    def read() -> Any:
        return getattr(sys.modules[module], getter)()

    def write(value: Any) -> None:
        getattr(sys.modules[module], setter)(value)

    return Setting(f"{module}.{setter}", module, read, write, wanted, quiet=quiet)


def _autocast(device: str) -> Setting:
    def read() -> Any:
        return sys.modules["torch"].is_autocast_enabled(device)

    def write(value: Any) -> None:
        sys.modules["torch"].set_autocast_enabled(device, value)

    return Setting(f"torch.autocast on {device}", "torch", read, write, lambda: False)


def _numpy_seed() -> Any:
    return sys.modules["numpy.random"].RandomState(0).get_state()


def _torch_seed() -> Any:
    return sys.modules["torch"].Generator().manual_seed(0).get_state()


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - as a text, which is all that is compared
    except FileNotFoundError:
        return None


def _go_to(folder: str | None) -> None:
    if folder is not None:
        os.chdir(folder)


def _umask() -> int:
    current = os.umask(0o077)  # nothing else tells it
    os.umask(current)
    return current


def _search_path(before: list[str]) -> None:
    """Put the search path back; what was added stays, behind all else, where it shadows nothing."""
    sys.path[:] = before + [entry for entry in sys.path if entry not in before]


def _shadowed(before: list[str], after: list[str]) -> bool:
    return after[: len(before)] != before


def _set_environment(before: Mapping[str, str]) -> None:
    for name in _altered(before, os.environ):
        if name in before:
            os.environ[name] = before[name]
        else:
            del os.environ[name]


def _steered(before: Mapping[str, str], after: Mapping[str, str]) -> bool:
    return bool(_altered(before, after))


def _altered(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return the variables that changed; a new one counts only where it steers results."""
    names = {*before, *(name for name in STEERING if name in after)}
    return [name for name in names if before.get(name) != after.get(name)]


def _one_thread() -> dict[str, str]:
    return {**os.environ, **ONE_THREAD}


def _locale() -> Any:
    module = sys.modules["locale"]
    return module.setlocale(module.LC_ALL)


def _set_locale(value: str) -> None:
    module = sys.modules["locale"]
    module.setlocale(module.LC_ALL, value)


def _filters() -> list[Any]:
    return list(warnings.filters)


def _set_filters(filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]


def _reaction() -> dict[str, str]:
    return dict(sys.modules["numpy"].geterr())


def _set_reaction(reaction: Mapping[str, str]) -> None:
    sys.modules["numpy"].seterr(**reaction)


SETTINGS = (
    Setting("the working folder", "os", _folder, _go_to),
    Setting("the umask", "os", _umask, os.umask),
    Setting("sys.path", "sys", lambda: list(sys.path), _search_path, changed=_shadowed),
    Setting("os.environ", "os", lambda: dict(os.environ), _set_environment, _one_thread, _steered),
    Setting("the locale", "locale", _locale, _set_locale),
    Setting("the warning filters", "warnings", _filters, _set_filters, quiet=True),
    _attribute("sys", "stdin", lambda: io.StringIO()),
    _attribute("sys", "stdout", lambda: sys.stderr),  # results are printed there, and nothing else
    _attribute("sys", "stderr"),
    # Whoever draws from these streams is no offender, but has the same numbers in every run.
    _function("random", "getstate", "setstate", lambda: random.Random(0).getstate(), quiet=True),
    _function("numpy.random", "get_state", "set_state", _numpy_seed, quiet=True),
    _function("torch", "get_rng_state", "set_rng_state", _torch_seed, quiet=True),
    Setting("numpy.seterr", "numpy", _reaction, _set_reaction, lambda: NUMPY_REACTION),
    _attribute("PIL.ImageFile", "LOAD_TRUNCATED_IMAGES", lambda: False),
    _attribute("PIL.Image", "MAX_IMAGE_PIXELS", lambda: MOST_PIXELS),
    _function("torch", "is_grad_enabled", "set_grad_enabled", lambda: True),
    _function("torch", "get_default_dtype", "set_default_dtype", lambda: sys.modules["torch"].float32),
    _function("torch", "get_num_threads", "set_num_threads", lambda: 1),
    _function("torch", "get_deterministic_debug_mode", "set_deterministic_debug_mode", lambda: 0),
    _function("torch", "get_float32_matmul_precision", "set_float32_matmul_precision", lambda: "highest"),
    _autocast("cpu"),
    _autocast("cuda"),
    _attribute("torch.backends.mkldnn", "enabled", lambda: True),
    _attribute("torch.backends.cudnn", "enabled", lambda: True),
    _attribute("torch.backends.cudnn", "benchmark", lambda: False),
    _attribute("torch.backends.cudnn", "deterministic", lambda: False),
)


@contextmanager
def isolated(who: str, *, resting: bool = True) -> Iterator[list[str]]:
    """Run code of `who` on the settings that stages rest on, and put all back as it was before.

    Yield a list that in the end names the settings that the code changed, which are told once, too. A copy
    of this process that the code forked and forgot ends here. With `resting` false nothing is set but only
    kept, which is what an import needs.

    Raise PrunebenchError for what is no Exception, such as SystemExit; Ctrl-C alone passes.
    """
    process = os.getpid()
    changed: list[str] = []
    with ExitStack() as stack:
        if resting and "torch" in sys.modules:
            stack.enter_context(sys.modules["torch"].inference_mode(False))
        before = {setting: setting.read() for setting in SETTINGS if setting.module in sys.modules}
        expected = dict(before)
        for setting in before:
            if setting.wanted is not None and (resting or setting.module == "sys"):
                setting.write(wanted := setting.wanted())
                expected[setting] = wanted
        try:
            yield changed
        except (Exception, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise PrunebenchError(f"{who} raised {type(error).__name__}: {error}") from error
        finally:
            if os.getpid() != process:
                os._exit(1)
            changed += _put_back(before, expected, resting)
            if changed:
                warn(
                    f"{who} changed {', '.join(changed)}; all is put back, so that no other stage rests on it"
                )


def _put_back(before: Mapping[Setting, Any], expected: Mapping[Setting, Any], resting: bool) -> list[str]:
    """Return the names of the settings that are not as expected, once they are as before."""
    changed = []
    for setting in SETTINGS:
        if setting in before:
            if not setting.quiet and setting.changed(expected[setting], setting.read()):
                changed.append(setting.name)
            setting.write(before[setting])
        elif resting and setting.module in sys.modules and setting.wanted and not setting.quiet:
            # Imported just now, so that there is no before; later stages rest on what is wanted all the same.
            wanted = setting.wanted()
            if setting.changed(wanted, setting.read()):
                changed.append(setting.name)
                setting.write(wanted)
    return changed


@contextmanager
def at_work(who: str) -> Iterator[None]:
    """Say that the code of a part runs in this thread, to which no dataset opens its labels."""
    token = _at_work.set(who)
    try:
        yield
    finally:
        _at_work.reset(token)


def check_not_at_work(dataset: str) -> None:
    """Raise PrunebenchError where a part tries to load a dataset."""
    if who := _at_work.get():
        raise PrunebenchError(
            f"{who} loads the dataset {dataset}, and with it the truth. "
            "Truth reaches a part only as `known`; ask for that, or for images and names"
        )


def python(statement: str) -> list[str]:
    """Return the command for a Python process that runs a statement with the modules of this process.

    It searches where this process does, the standard library first, and never adds its working folder. So no
    file that happens to lie there, such as random.py, is taken for a module.
    """
    standard = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    standard |= {entry for entry in sys.path if entry.endswith(("lib-dynload", ".zip")) and _beside(entry)}
    here = [entry or os.getcwd() for entry in sys.path]  # noqa: PTH109
    path = sorted(here, key=lambda entry: entry not in standard)
    return [sys.executable, "-P", "-c", f"import sys; sys.path[:] = {path!a}; {statement}"]


def _beside(entry: str) -> bool:
    """Whether a folder is one of the interpreter's own."""
    return entry.startswith(sys.base_prefix)

"""Isolation: stages run under fixed process-wide settings, in processes with a fixed search path.

Libraries have switches that decide results, such as whether Pillow accepts a truncated file, or torch's
default type of number. `isolated` sets each switch to one value before a stage. So neither a user's script
nor another part can change an artefact. Afterwards it restores all switches, and names those that changed.
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
from dataclasses import dataclass, replace
from typing import Any

from prunebench.errors import PrunebenchError

# The number of threads changes results on a CPU. Libraries read these variables when they are loaded.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Idle threads sleep instead of spinning, for the sake of other processes on the same cores.
    "OMP_WAIT_POLICY": "PASSIVE",
}
# The environment variables that decide results.
STEERING = (*ONE_THREAD, "CUDA_VISIBLE_DEVICES", "PYTHONPATH", "PRUNEBENCH_PLUGINS")
MOST_PIXELS = 1024**3 // 4 // 3  # Pillow's own limit
NUMPY_REACTION = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}  # NumPy's own
MIXED = "mixed"
# Where torch has a precision of float32: for all operations, then for some of them.
FLOAT32 = (
    "backends",
    "backends.cudnn",
    "backends.cudnn.conv",
    "backends.cudnn.rnn",
    "backends.cuda.matmul",
    "backends.mkldnn",
    "backends.mkldnn.conv",
    "backends.mkldnn.rnn",
    "backends.mkldnn.matmul",
)
_at_work: ContextVar[str | None] = ContextVar("part at work", default=None)
_warned: set[str] = set()


def warn(line: str) -> None:
    """Print a warning on standard error, each line once per process."""
    if line not in _warned:
        _warned.add(line)
        sys.stderr.write(f"warning: {line}\n")
        sys.stderr.flush()


@dataclass(frozen=True, eq=False)
class Setting:
    """One setting that all code of a process shares.

    name: of the setting, for warnings.
    module: the module that has it. The setting is ignored until the module is imported.
    read: returns its value.
    write: sets it to a value.
    wanted: returns the value for stages. None: stages run with the value they find.
    changed: whether a value before differs from a value after.
    quiet: with True, it is restored without a warning, because libraries may change it.
    own: the value that the module itself begins with, if not the wanted one. Importing it is no change.
    """

    name: str
    module: str
    read: Callable[[], Any]
    write: Callable[[Any], object]
    wanted: Callable[[], Any] | None = None
    changed: Callable[[Any, Any], bool] = operator.ne
    quiet: bool = False
    own: Any = None


def _attribute(module: str, name: str, wanted: Callable[[], Any] | None = None, own: Any = None) -> Setting:
    """Return a setting that is an attribute of a module."""

    def read() -> Any:
        return getattr(sys.modules[module], name)

    def write(value: Any) -> None:
        setattr(sys.modules[module], name, value)

    return Setting(f"{module}.{name}", module, read, write, wanted, own=own)


def _function(
    module: str, getter: str, setter: str, wanted: Callable[[], Any], quiet: bool = False
) -> Setting:
    """Return a setting that two functions of a module read and write. It has the name of the setter."""

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


def _or_mixed(setting: Setting) -> Setting:
    """Return a setting of torch that may be MIXED: set in torch's older and in its newer way, to two values.

    torch raises RuntimeError then. To write MIXED is to leave it to the newer way, see `_float32`.
    """

    def read() -> Any:
        try:
            return setting.read()
        except RuntimeError:
            return MIXED

    def write(value: Any) -> None:
        if value != MIXED:
            setting.write(value)

    return replace(setting, read=read, write=write)


def _float32(name: str) -> Setting:
    """Return how torch 2.9 and newer compute in float32, for some or all operations. None: torch is older.

    name: of the object of torch that has the setting.
    """

    def read() -> Any:
        try:
            return operator.attrgetter(name)(sys.modules["torch"]).fp32_precision
        except AttributeError:
            return None

    def write(value: Any) -> None:
        if value is not None:
            operator.attrgetter(name)(sys.modules["torch"]).fp32_precision = value

    # Quiet, as the older settings tell what differs from them.
    return Setting(
        f"torch.{name}.fp32_precision", "torch", read, write, lambda: read() and "none", quiet=True
    )


def _numpy_seed() -> Any:
    return sys.modules["numpy.random"].RandomState(0).get_state()


def _torch_seed() -> Any:
    return sys.modules["torch"].Generator().manual_seed(0).get_state()


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - values of settings are compared, and text is enough
    except FileNotFoundError:
        return None


def _go_to(folder: str | None) -> None:
    if folder is not None:
        os.chdir(folder)


def _umask() -> int:
    current = os.umask(0o077)  # Python can read the umask only by setting it
    os.umask(current)
    return current


def _search_path(before: list[str]) -> None:
    """Restore the search path. New entries stay at its end, where they shadow no module."""
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
    """Return the variables that changed. A new variable counts only if it is in `STEERING`."""
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
    _attribute("sys", "stdout", lambda: sys.stderr),  # standard output is for results only
    _attribute("sys", "stderr"),
    # A part may draw from these streams. It then has the same numbers in every run.
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
    _or_mixed(
        _function("torch", "get_float32_matmul_precision", "set_float32_matmul_precision", lambda: "highest")
    ),
    _autocast("cpu"),
    _autocast("cuda"),
    _attribute("torch.backends.mkldnn", "enabled", lambda: True),
    _attribute("torch.backends.cudnn", "enabled", lambda: True),
    # A recipe says where TF32 may be used. PyTorch's own default is True.
    _or_mixed(_attribute("torch.backends.cudnn", "allow_tf32", lambda: False, own=True)),
    *map(_float32, FLOAT32),  # after both of these, which write some of them
    _attribute("torch.backends.cudnn", "benchmark", lambda: False),
    _attribute("torch.backends.cudnn", "deterministic", lambda: False),
)


@contextmanager
def isolated(who: str, *, resting: bool = True) -> Iterator[list[str]]:
    """Run code under the settings of a stage, then restore all settings.

    Yield a list. At the end it holds the names of the settings that the code changed. One warning names them
    too. If the code forked this process, the child process ends here.

    Raise PrunebenchError if the code raises anything but an Exception, such as SystemExit. KeyboardInterrupt
    passes through.

    who: the code, for warnings.
    resting: with False, settings are restored but not set before, as an import needs it.
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
                expected[setting] = setting.wanted()
                setting.write(expected[setting])
        try:
            yield changed
        except (Exception, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise PrunebenchError(f"{who} raised {type(error).__name__}: {error}") from error
        finally:
            if os.getpid() != process:  # this is a forked child, which must not go on with the parent's work
                os._exit(1)
            changed += _put_back(before, expected, resting)
            if changed:
                warn(
                    f"{who} changed {', '.join(changed)}; all is put back, so that no other stage rests on it"
                )


def _put_back(before: Mapping[Setting, Any], expected: Mapping[Setting, Any], resting: bool) -> list[str]:
    """Restore all settings. Return the names of those that had not the expected value."""
    changed = []
    for setting in SETTINGS:
        if setting in before:
            if not setting.quiet and setting.changed(expected[setting], setting.read()):
                changed.append(setting.name)
            setting.write(before[setting])
        elif resting and setting.module in sys.modules and setting.wanted and not setting.quiet:
            # The code imported its module, so there is no value before. Later stages need the wanted one.
            wanted, value = setting.wanted(), setting.read()
            if setting.changed(wanted, value):
                if value != setting.own:
                    changed.append(setting.name)
                setting.write(wanted)
    return changed


@contextmanager
def at_work(who: str) -> Iterator[None]:
    """Mark this thread as running the code of a part, which may not load a dataset."""
    token = _at_work.set(who)
    try:
        yield
    finally:
        _at_work.reset(token)


def check_not_at_work(dataset: str) -> None:
    """Raise PrunebenchError if a part runs in this thread, because it may not load a dataset."""
    if who := _at_work.get():
        raise PrunebenchError(
            f"{who} loads the dataset {dataset}, and with it the truth. "
            "Truth reaches a part only as `known_labels`; ask for that, or for images and names"
        )


def python(statement: str) -> list[str]:
    """Return the command for a Python process that runs a statement with the modules of this process.

    It has the search path of this process, with the standard library first. It never adds its working folder,
    so that a file there, such as random.py, is not imported by mistake.
    """
    standard = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    for entry in sys.path:
        if entry.endswith(("lib-dynload", ".zip")) and _belongs_to_python(entry):
            standard.add(entry)
    entries = [entry or os.getcwd() for entry in sys.path]  # noqa: PTH109
    path = sorted(entries, key=lambda entry: entry not in standard)
    return [sys.executable, "-P", "-c", f"import sys; sys.path[:] = {path!a}; {statement}"]


def _belongs_to_python(entry: str) -> bool:
    """Whether an entry of the search path belongs to the interpreter itself."""
    return entry.startswith(sys.base_prefix)

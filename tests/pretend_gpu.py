"""A pretended CUDA device: memory of the host that says it is on cuda:0.

It refuses what CUDA refuses: tensors of both devices in one operation, a generator of the other device,
NumPy arrays of its tensors. It counts what makes the host wait: values that are read, copies from memory that
is not pinned, shapes that depend on values. It cannot tell whether CUDA has a kernel, its digits, its speed.

`python -m pytest -p tests.pretend_gpu -m gpu` runs the tests of a GPU on it.
`python -m tests.pretend_gpu run --device cuda --workers 0 ...` runs a command of prunebench on it.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.autograd.profiler import profile, record_function
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("cuda:0")
MEMORY = 80 * 2**30  # bytes
STATE = 16  # bytes of the state of a generator
ROOT = f"{Path(__file__).parent.parent}{os.sep}"

# Operations that CUDA allows between both devices: indices of the host, copies, assignments.
MIXED = {"__getitem__", "__setitem__", "copy_", "to", "index_put_", "index_put", "__set__", "type_as"}
# Operations that bring a value to the host.
READS = {"item", "tolist", "__bool__", "__float__", "__int__", "__index__", "is_nonzero"}
READ = "aten::_local_scalar_dense"  # what reads a value within torch
# Within these a read is no wait: it is judged already, or a GPU reads the value itself.
NO_WAITS = ("judged", "aten::_fused_sgd_", "aten::_fused_adam_", "aten::_fused_adamw_")
# Operations whose result has a shape, or is a truth, that depends on values.
WAITS = {"nonzero", "bincount", "unique", "unique_consecutive", "masked_select", "equal", "allclose", "histc"}
INDEXING = {"__getitem__", "__setitem__", "index_put_", "index_put"}


class Pretended(torch.Tensor):
    """A tensor on the pretended device."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do what the operation does, as CUDA would."""
        return _do(func, args, kwargs or {})

    def record_stream(self, stream: Any) -> None:
        """Keep the memory for a stream: here it is kept anyway."""


class _Mode(TorchFunctionMode):
    """Sees all operations, those without a tensor of the device too."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _do(func, args, kwargs or {})


@dataclass
class _State:
    """waits: by kind and line of our code. mode: what torch does at a wait."""

    waits: Counter[str]
    mode: str | int = "default"


_state = _State(Counter())


def _wait(kind: str) -> None:
    """Count a wait of the line of our code that causes it. Warn of it, if torch is asked to."""
    if _state.mode == "warn":
        warnings.warn("called a synchronizing CUDA operation", stacklevel=2)
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(ROOT) and name != __file__ and ".venv" not in name:
            _state.waits[f"{kind}: {name.removeprefix(ROOT)}:{frame.f_lineno}"] += 1
            return
        frame = frame.f_back  # type: ignore[assignment]
    _state.waits[f"{kind}: elsewhere"] += 1


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Yield the waits that happen meanwhile, by kind and line. Those within torch are there at the end."""
    before, _state.waits = _state.waits, Counter()
    waits = _state.waits
    try:
        with profile() as seen:
            yield waits
    finally:
        _state.waits = before
    for event in seen.function_events:
        names = _around(event)
        if event.name == READ and not names.intersection(NO_WAITS):
            waits[f"read within torch: {', '.join(sorted(names))}"] += 1


def _around(event: Any) -> set[str]:
    """Return the names of the operations within which an operation was done."""
    names = set()
    while (event := event.cpu_parent) is not None:
        names.add(event.name)
    return names


def _there(value: Any) -> Any:
    """Return a value with all its tensors on the pretended device."""

    def moved(leaf: Any) -> Any:
        usual = isinstance(leaf, torch.Tensor) and not isinstance(leaf, Pretended)
        return leaf.as_subclass(Pretended) if usual and leaf.layout == torch.strided else leaf

    return tree_map(moved, value)


def _here(value: Any) -> Any:
    """Return a value with all its tensors on the host."""
    return tree_map(lambda x: x.as_subclass(torch.Tensor) if isinstance(x, Pretended) else x, value)


def _is_there(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


@dataclass
class _Call:
    """One operation: its name, and the tensors and generators among its arguments."""

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __post_init__(self) -> None:
        leaves = tree_flatten((self.args, self.kwargs))[0]
        self.name: str = getattr(self.func, "__name__", str(self.func))
        self.first = self.args[0] if self.args else None
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        self.there = [tensor for tensor in tensors if isinstance(tensor, Pretended)]
        self.here = [t for t in tensors if not isinstance(t, Pretended) and t.layout == torch.strided]
        self.generators = [leaf for leaf in leaves if isinstance(leaf, torch.Generator)]

    def run(self) -> Any:
        """Do it on the host."""
        return self.func(*self.args, **self.kwargs)


def _do(func: Any, args: Any, kwargs: Any) -> Any:
    call = _Call(func, args, kwargs)
    with torch._C.DisableTorchFunctionSubclass():
        special = SPECIAL.get(call.name)
        if special is not None and (
            call.there or call.name in ("to", "cuda", "tensor", "as_tensor", "pin_memory")
        ):
            return special(call)
        if call.name in ("__get__", "__set__", "manual_seed", "seed"):
            return call.run()
        return _usual(call)


def _usual(call: _Call) -> Any:
    """Do an operation that is none of the special ones."""
    asked = call.kwargs.pop("device", None) if call.kwargs.get("device") is not None else None
    there = bool(call.there) if asked is None else _is_there(asked)
    _check_generators(call, there)
    _check_devices(call)
    if call.name in INDEXING:
        _count_indices(call)
    if call.name == "copy_" and call.there and call.here:
        _wait("copy_")
    if call.name in WAITS and call.there:
        _wait(call.name)
    if call.name in READS:
        return _read(call)
    made = call.run()
    if there:
        return _there(made)
    return made if asked is None else _here(made)


def _read(call: _Call) -> Any:
    """Read a value: a wait, if it is on the device."""
    if call.there:
        _wait(call.name)
    with record_function("judged"):
        return call.run()


def _check_generators(call: _Call, there: bool) -> None:
    """Refuse generators of the other device. Those of this one get ready to draw."""
    for generator in call.generators:
        if (generator.device.type == "cuda") != there and call.name not in ("set_state", "get_state"):
            expected = "cuda" if there else "cpu"
            raise RuntimeError(
                f"Expected a {expected!r} device type for generator but found {generator.device.type!r}"
            )
        generator.draw()


def _check_devices(call: _Call) -> None:
    """Refuse tensors of both devices; a number of the host may join."""
    mixing = call.name in MIXED or call.name.startswith("_foreach") or call.name == "load_state_dict"
    arrays = [tensor for tensor in call.here if tensor.dim()]
    if call.there and arrays and not mixing:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
            f"(in {call.name})"
        )
    if call.name in INDEXING and not isinstance(call.first, Pretended) and any(t.dim() for t in call.there):
        raise RuntimeError(
            "indices should be either on cpu or on the same device as the indexed tensor (cpu)"
        )


def _count_indices(call: _Call) -> None:
    """Count the indices that have to be copied to the device, and those that are masks."""
    if not isinstance(call.first, Pretended):
        return
    for index in tree_flatten(call.args[1])[0]:
        array = isinstance(index, torch.Tensor) and index.dim() > 0
        if array and not isinstance(index, Pretended):
            _wait("index of the host")
        elif array and index.dtype in (torch.bool, torch.uint8):
            _wait("mask")
        elif type(index).__name__ == "ndarray":
            _wait("index of the host")


def _attribute(call: _Call) -> Any:
    answers = {
        torch.Tensor.device.__get__: DEVICE,  # type: ignore[attr-defined]
        torch.Tensor.is_cuda.__get__: True,  # type: ignore[attr-defined]
        torch.Tensor.is_cpu.__get__: False,  # type: ignore[attr-defined]
    }
    return answers[call.func] if call.func in answers else _there(call.run())


def _no_array(call: _Call) -> Any:
    raise TypeError(
        "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy it to the host."
    )


def _to_host(call: _Call) -> Any:
    _wait("cpu")
    return _here(call.run()).clone()


def _pinned(call: _Call) -> Any:
    if isinstance(call.first, Pretended):
        raise RuntimeError("cannot pin a CUDA tensor, only dense CPU tensors can be pinned")
    pinned = call.first.clone()  # type: ignore[union-attr]
    pinned._is_pinned = True
    return pinned


def _moved(call: _Call) -> Any:
    """`to`, with its many ways to say where, and as what."""
    tensor, *rest = call.args
    more = dict(call.kwargs)
    target = more.pop("device", None)
    if rest and isinstance(rest[0], str | torch.device):
        target = rest.pop(0)
    elif rest and isinstance(rest[0], torch.Tensor):
        target = DEVICE if isinstance(rest[0], Pretended) else torch.device("cpu")
    waiting = not more.pop("non_blocking", False)
    if len(rest) > 1 and isinstance(rest[1], bool):  # as Module.to has it: dtype, non_blocking
        waiting = not rest.pop(1)
    was_there = isinstance(tensor, Pretended)
    if target is None:  # another type or layout alone
        changed = call.run()
        return _there(changed) if was_there else changed
    rest = [entry for entry in rest if entry is not None]
    changed = call.func(tensor, *rest, **more) if rest or more else tensor
    if _is_there(target) == was_there:
        return _there(changed) if was_there else changed
    if was_there:
        _wait("to the host")
        return _here(changed).clone()
    if waiting or not (getattr(tensor, "_is_pinned", False) or getattr(tensor._base, "_is_pinned", False)):
        _wait("to the device")
    return changed.clone().as_subclass(Pretended) if changed.layout == torch.strided else changed


def _made(call: _Call) -> Any:
    """`torch.tensor` and `as_tensor`."""
    device = call.kwargs.pop("device", None)
    if call.there:
        _wait("to the host")
    made = _here(call.func(*_here(call.args), **call.kwargs))
    if not _is_there(device):
        return made
    _wait("to the device")
    return made.as_subclass(Pretended)


def _like(call: _Call) -> Any:
    _wait("to the device")
    return _there(call.run())


def _copied(call: _Call) -> Any:
    """`deepcopy`, as a module is copied."""
    tensor: Any = call.first
    copied = tensor.detach().clone(memory_format=torch.preserve_format).as_subclass(Pretended)
    copied.requires_grad_(tensor.requires_grad)
    if getattr(tensor, "_is_param", False):
        copied._is_param = True
    call.args[1][id(tensor)] = copied
    return copied


SPECIAL: dict[str, Callable[[_Call], Any]] = {
    "__get__": _attribute,
    "numpy": _no_array,
    "__array__": _no_array,
    "get_device": lambda call: 0,
    "cpu": _to_host,
    "pin_memory": _pinned,
    "to": _moved,
    "tensor": _made,
    "as_tensor": _made,
    "new_tensor": _like,
    "__deepcopy__": _copied,
    "_has_compatible_shallow_copy_type": lambda call: False,
}


class Generator(torch.Generator):
    """A generator that says on which device it is, and draws on the host.

    On the pretended device its state is as on CUDA: 16 bytes, which are the seed and how often it drew.
    """

    def __new__(cls, device: Any = "cpu") -> Generator:
        return super().__new__(cls, device="cpu")

    def __init__(self, device: Any = "cpu") -> None:
        self._where = DEVICE if _is_there(device) else torch.device("cpu")
        self._seed = self._draws = 0

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where it says it is."""
        return self._where

    def manual_seed(self, seed: int) -> Generator:
        """Begin anew from a seed."""
        self._seed, self._draws = seed, 0
        return super().manual_seed(seed)  # type: ignore[return-value]

    def draw(self) -> None:
        """Get ready for the next operation that draws: its numbers follow from the state alone."""
        if self._where == DEVICE:
            super().manual_seed(hash((self._seed, self._draws)))
            self._draws += 1

    def get_state(self) -> torch.Tensor:
        """Return what decides all that it draws from now on: uint8, on the host."""
        if self._where != DEVICE:
            return super().get_state()
        numbers = self._seed.to_bytes(8, "little") + self._draws.to_bytes(8, "little")
        return torch.tensor([*numbers], dtype=torch.uint8)

    def set_state(self, state: torch.Tensor) -> Generator:
        """Go on from a state of a generator of the same device. Raise RuntimeError for any other."""
        if self._where != DEVICE:
            return super().set_state(state)  # type: ignore[return-value]
        if len(state) != STATE:
            raise RuntimeError("RNG state is wrong size")
        numbers = bytes(state.tolist())
        self._seed, self._draws = (int.from_bytes(part, "little") for part in (numbers[:8], numbers[8:]))
        return self


class Autocast(torch.autocast):
    """Mixed precision, of the host."""

    def __init__(self, device_type: str, dtype: Any = None, enabled: bool = True, **more: Any) -> None:
        super().__init__("cpu", dtype=dtype, enabled=enabled, **more)


class Replay:
    """Stands in for a CUDA graph: makes the recorded step anew, on whatever device.

    calls: steps made by all of them.
    """

    calls = 0

    def __init__(self, step: Any, order: torch.Tensor, numbers: int, generator: torch.Generator) -> None:
        self.step, self.order = step, order.clone()
        self.numbers = [torch.zeros((), device=order.device) for _ in range(numbers)]

    def __call__(self, order: torch.Tensor, *numbers: float) -> torch.Tensor:
        type(self).calls += 1
        assert len(order) == len(self.order)  # a graph would take no other number
        self.order.copy_(order)
        for kept, number in zip(self.numbers, numbers, strict=True):
            kept.fill_(number)
        return self.step(self.order, *self.numbers)  # type: ignore[no-any-return]


class Stream:
    """Stands in for a stream: what it is told to wait for is done already."""

    def wait_event(self, event: Event) -> None:
        """Wait for nothing."""


class Event:
    """Stands in for an event, which has happened once it is recorded."""

    def record(self) -> None:
        """Happen."""

    def synchronize(self) -> None:
        """Wait for nothing."""


def _grouping(group: Callable[..., dict[Any, Any]]) -> Callable[..., dict[Any, Any]]:
    """Return torch's grouping of tensors by device and type, which else sees that they are on the host."""

    def grouped(lists: Any, with_indices: bool = False) -> dict[Any, Any]:
        groups = group(lists, with_indices).items()
        return {(found[0][0][0].device, kind): found for (_, kind), found in groups}

    return grouped


def install(memory: int = MEMORY) -> None:
    """Let torch of this process have the device, for good.

    memory: bytes of it, all of which are free.
    """
    from torch.optim import optimizer

    from prunebench.nn import replay
    from prunebench.runs import places

    places.DRIVER_FILES = (os.devnull,)  # type: ignore[assignment] # as if there were a driver
    torch.Generator = Generator  # type: ignore[misc]
    torch.autocast = Autocast  # type: ignore[misc]
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    facts = {
        "is_available": True,
        "is_initialized": True,
        "mem_get_info": (memory, memory),
        "memory_snapshot": (),
        "max_memory_allocated": 1,
        "max_memory_reserved": 1,
        "reset_peak_memory_stats": None,
        "empty_cache": None,
        "synchronize": None,
        "get_device_name": "a pretended GPU",
        "device_count": 1,
    }
    for name, answer in facts.items():
        setattr(torch.cuda, name, lambda *_given, answer=answer: answer)
    torch.cuda.get_sync_debug_mode = lambda: _state.mode  # type: ignore[assignment, return-value]
    torch.cuda.set_sync_debug_mode = lambda mode: setattr(_state, "mode", mode)
    # Both look at the class of what they get.
    optimizer.Optimizer._accelerator_graph_capture_health_check = lambda self: None
    grouped = _grouping(optimizer.Optimizer._group_tensors_by_device_and_dtype)
    optimizer.Optimizer._group_tensors_by_device_and_dtype = staticmethod(grouped)  # type: ignore[assignment]
    replay.Replay = Replay  # type: ignore[misc, assignment]
    torch.cuda.Stream, torch.cuda.Event = Stream, Event  # type: ignore[misc, assignment]
    torch.cuda.stream = lambda stream: nullcontext()  # type: ignore[assignment]
    torch.cuda.current_stream = lambda *_given: Stream()  # type: ignore[assignment]
    _Mode().__enter__()


def pytest_configure() -> None:
    """Install the device before the tests are collected."""
    install()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that need a real device."""
    for item in items:
        if any(mark.kwargs.get("real") for mark in item.iter_markers("gpu")):
            item.add_marker(pytest.mark.skip(reason="no pretended device will do"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how often the host waited: never, if no test used the device."""
    terminalreporter.write_line(f"The pretended GPU made its host wait {_state.waits.total()} times.")


if __name__ == "__main__":
    from prunebench.__main__ import main

    install()
    main()

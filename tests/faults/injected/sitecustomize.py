"""What goes wrong in every Python process that has this folder on its PYTHONPATH: FAULT_... say what.

FAULT_LOG=FILE        note each worker that starts, and each stage that begins and ends, with its process
FAULT_SLOW=SECONDS    every stage takes so much longer
FAULT_TOGETHER=yes    every stage waits until two workers have begun one, as FAULT_LOG has noted
FAULT_CLOCK=SECONDS   the clock of the wall is so far ahead
FAULT_FLOCK=ENOLCK    the disk has no locks, and says so with this error
FAULT_FULL=BYTES      the disk takes so many more bytes from each process under the folder FAULT_UNDER
FAULT_SIGNAL=SIGINT typer     the process is told this while it is about to import a module
"""

import errno
import importlib.util
import io
import os
import pathlib
import signal
import sys
import time


def note(*words):
    """Append a line to the log, whole whoever else is writing."""
    file = os.open(os.environ["FAULT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (" ".join(map(str, words)) + "\n").encode())
    os.close(file)


def beginners():
    """Return the workers that have begun a stage."""
    lines = pathlib.Path(os.environ["FAULT_LOG"]).read_text().splitlines()
    return {line.split()[2] for line in lines if line.startswith("begin")}


def noted(compute):
    """Return a computation that says when it begins and when it has ended."""

    def made(stage, context):
        if "FAULT_LOG" in os.environ:
            note("begin", context.key, os.getpid())
        while "FAULT_TOGETHER" in os.environ and len(beginners()) < 2:
            time.sleep(0.05)
        time.sleep(float(os.environ.get("FAULT_SLOW", 0)))
        artefacts = compute(stage, context)
        if "FAULT_LOG" in os.environ:
            note("end", context.key, os.getpid())
        return artefacts

    return made


def note_stages(stages):
    """Let all stages say when they begin and end."""
    for stage in stages.STAGES:
        stage.compute = noted(stage.compute)


class Import:
    """Waits for the import of a module: `before` it is run, and `after`."""

    def __init__(self, name, before=lambda: None, after=lambda module: None):
        self.name, self.before, self.after = name, before, after

    def find_spec(self, name, path=None, target=None):
        """Find the module as everybody does, and hook into what runs it."""
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        self.before()
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            self.after(module)

        spec.loader.exec_module = exec_module
        return spec


def shift_clock(seconds):
    """Set the clock of the wall."""
    true, true_ns = time.time, time.time_ns
    time.time = lambda: true() + seconds
    time.time_ns = lambda: true_ns() + int(seconds * 1e9)


def no_flock(name):
    """Take file locks away."""
    import fcntl

    def flock(file, operation):
        raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))

    fcntl.flock = flock


class Disk:
    """A disk that takes so many more bytes under a folder, and of the write that fills it a part."""

    def __init__(self, room, under):
        self.room, self.under, self.opened = room, under, io.open

    def open(self, file, mode="r", *rest, **options):
        """Open a file as `io.open` does."""
        inside = isinstance(file, str | os.PathLike) and pathlib.Path(file).absolute().is_relative_to(
            self.under
        )
        if not inside or not set(mode) & set("wax+"):
            return self.opened(file, mode, *rest, **options)
        raw = io.BufferedWriter(Full(self, file, mode.replace("b", "").replace("t", "")))
        return raw if "b" in mode else io.TextIOWrapper(raw, encoding="utf-8")


class Full(io.FileIO):
    """A file on such a disk."""

    def __init__(self, disk, *given):
        super().__init__(*given)
        self.disk = disk

    def write(self, content):
        """Write what there is room for; raise OSError where there is none."""
        content = bytes(content)[: self.disk.room]
        if not content:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.disk.room -= len(content)
        return super().write(content)


def main():
    """Do what the environment says."""
    said = os.environ
    if "FAULT_LOG" in said and any("worker" in word for word in sys.orig_argv):
        note("worker", os.getpid())
    if "FAULT_LOG" in said or "FAULT_SLOW" in said:
        sys.meta_path.insert(0, Import("prunebench.pipeline.stages", after=note_stages))
    if "FAULT_CLOCK" in said:
        shift_clock(float(said["FAULT_CLOCK"]))
    if "FAULT_FLOCK" in said:
        no_flock(said["FAULT_FLOCK"])
    if "FAULT_FULL" in said:
        io.open = Disk(int(said["FAULT_FULL"]), said["FAULT_UNDER"]).open
    if "FAULT_SIGNAL" in said:
        name, module = said["FAULT_SIGNAL"].split()
        tell = lambda: os.kill(os.getpid(), getattr(signal, name))  # noqa: E731
        sys.meta_path.insert(0, Import(module, before=tell))


main()

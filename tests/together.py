"""Several processes that train together, for tests, and the losses of a training."""

import pickle
import subprocess
from contextlib import contextmanager
from pathlib import Path

from prunebench.nn.processes import joined
from prunebench.system.isolation import python

ROOT = Path(__file__).parents[1]
SECONDS = 200  # more than any of these trainings takes on a busy machine


def together(count, function, folder):
    """Return what a function of a test module, given a folder, returns in each of `count` processes."""
    where = f"from {function.__module__} import {function.__name__} as function"
    running = []
    for rank in range(count):
        call = f"main(function, {rank}, {count}, {str(folder)!r})"
        code = f"sys.path.insert(0, {str(ROOT)!r}); {where}; from tests.together import main; {call}"
        running.append(subprocess.Popen(python(code), cwd=ROOT))
    try:
        assert [process.wait(SECONDS) for process in running] == [0] * count
    finally:
        for process in running:
            process.kill()
    return [pickle.loads((Path(folder) / f"returned {rank}").read_bytes()) for rank in range(count)]


def main(function, rank, count, folder):
    """Call a function as one of several processes, and leave what it returns in a file."""
    with joined(rank, count, f"{folder}/meeting of {count}", "cpu"):
        returned = function(Path(folder))
    (Path(folder) / f"returned {rank}").write_bytes(pickle.dumps(returned))


@contextmanager
def losses_of(loop):
    """Yield a list that gets the loss of each step of the trainings of a class of loops."""
    losses, advance = [], loop.advance

    def noted(self):
        loss = advance(self)
        losses.append(float(loss))
        return loss

    loop.advance = noted
    try:
        yield losses
    finally:
        loop.advance = advance

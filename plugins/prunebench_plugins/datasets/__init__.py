"""The built-in datasets: small ones that need no download or little, views of them, and your folders."""

from __future__ import annotations

from prunebench.hookspecs import hookimpl
from prunebench.parts import Dataset
from prunebench_plugins.datasets.corrupted import Corrupted
from prunebench_plugins.datasets.digits import Digits
from prunebench_plugins.datasets.fashion_mnist import FashionMnist
from prunebench_plugins.datasets.folder import Folder
from prunebench_plugins.datasets.long_tailed import LongTailed
from prunebench_plugins.datasets.reduced import Reduced


@hookimpl
def register_datasets() -> list[Dataset | type[Dataset]]:
    """Return each dataset followed by its views, and the class of users' folders."""
    fashion_mnist = FashionMnist()
    small = Reduced(
        name="fashion_mnist_small", base=fashion_mnist, images=10_000, side=14, deviation=(0.3299,)
    )
    found: list[Dataset | type[Dataset]] = [Folder]
    for base in (Digits(), fashion_mnist, small):
        found += [
            base,
            LongTailed(name=f"{base.name}_lt", base=base, factor=0.1),
            Corrupted(name=f"{base.name}_c", base=base),
            Corrupted(name=f"{base.name}_c_fixed", base=base, variant="fixed"),
        ]
    return found

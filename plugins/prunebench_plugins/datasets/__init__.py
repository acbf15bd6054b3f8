"""The built-in datasets: small ones, those of the paper, and folders of your own."""

from __future__ import annotations

from prunebench.parts.dataset import Dataset
from prunebench.parts.hookspecs import hookimpl
from prunebench_plugins.datasets.caltech101 import Caltech101
from prunebench_plugins.datasets.cifar import Cifar10, Cifar100
from prunebench_plugins.datasets.cifar10_jpeg import Cifar10Jpeg
from prunebench_plugins.datasets.digits import Digits
from prunebench_plugins.datasets.fashion_mnist import FashionMnist
from prunebench_plugins.datasets.folder import Folder
from prunebench_plugins.datasets.food101 import Food101
from prunebench_plugins.datasets.hub import Hub
from prunebench_plugins.datasets.imagefolder import ImageFolder
from prunebench_plugins.datasets.imagenet1k import ImageNet1k
from prunebench_plugins.datasets.parquet import Parquet
from prunebench_plugins.datasets.photos import PhotoPool, Photos
from prunebench_plugins.datasets.sun397 import Sun397
from prunebench_plugins.datasets.tiny_imagenet import TinyImageNet
from prunebench_plugins.datasets.views.corrupted import Corrupted
from prunebench_plugins.datasets.views.long_tailed import LongTailed
from prunebench_plugins.datasets.views.reduced import Reduced
from prunebench_plugins.datasets.views.reordered import Reordered
from prunebench_plugins.datasets.webdataset import WebDataset


@hookimpl
def register_datasets() -> list[Dataset | type[Dataset]]:
    """Return the classes for your own folders, then each dataset followed by its views."""
    fashion_mnist = FashionMnist()
    small = Reduced(
        name="fashion_mnist_small", base=fashion_mnist, images=10_000, side=14, deviation=(0.3299,)
    )
    datasets: list[Dataset | type[Dataset]] = [
        Folder,
        ImageFolder,
        Parquet,
        WebDataset,
        Hub,
        Photos,
        PhotoPool,
    ]
    for base in (Digits(), fashion_mnist, small):
        datasets += [base, LongTailed(name=f"{base.name}_lt", base=base, factor=0.1), *_corrupted(base)]
    tiny = Reduced(name="fashion_mnist_tiny", base=fashion_mnist, images=2000, side=14, deviation=(0.3299,))
    datasets += [*_reordered(Digits()), tiny, *_reordered(tiny)]
    jpeg = Cifar10Jpeg()
    cifar100 = Cifar100()
    tiny_imagenet = TinyImageNet()
    datasets += [
        Cifar10(),
        jpeg,
        # 32 pixels, as all have, so that the deviation stays too.
        Reduced(name="cifar10_small", base=jpeg, images=10_000, side=32, deviation=jpeg.info.std),
        cifar100,
        LongTailed(name="cifar100_lt", base=cifar100, factor=0.1),
        LongTailed(name="cifar100_lt_001", base=cifar100, factor=0.01),
        *_corrupted(cifar100),
        tiny_imagenet,
        *_corrupted(tiny_imagenet),
        Food101(),
        Sun397(),
        Sun397(name="sun397_seeded", partition="seeded"),
        Caltech101(),
        ImageNet1k(),
    ]
    return datasets


def _reordered(base: Dataset) -> tuple[Dataset, Dataset]:
    """Return both views with another order of the training images."""
    return (
        Reordered(name=f"{base.name}_by_class", base=base, order="class"),
        Reordered(name=f"{base.name}_shuffled", base=base, order="random"),
    )


def _corrupted(base: Dataset) -> tuple[Dataset, Dataset]:
    """Return both views with corrupted training images: as published, and fixed."""
    return (
        Corrupted(name=f"{base.name}_c", base=base),
        Corrupted(name=f"{base.name}_c_fixed", base=base, variant="fixed"),
    )

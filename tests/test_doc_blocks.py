"""Every code block of every document is true of this version: its commands, its Python and its TOML."""

from __future__ import annotations

import re

import pytest

from tests.doc_blocks import CHECKS, UNCHECKED, blocks

BLOCKS = {block.place: block for block in blocks()}


def test_no_block_is_left_unchecked() -> None:
    languages = {place: block.language for place, block in BLOCKS.items()}
    assert {place for place, name in languages.items() if name not in (*CHECKS, *UNCHECKED)} == set()
    assert set(languages.values()) == {*CHECKS, *UNCHECKED}


@pytest.mark.parametrize("place", [place for place in BLOCKS if BLOCKS[place].language in CHECKS])
def test_a_block_is_true(place: str) -> None:
    CHECKS[BLOCKS[place].language](BLOCKS[place].text)


@pytest.mark.parametrize(
    ("language", "text", "complaint"),
    [
        ("bash", "prunebench ran --suite quickstart", "ran"),
        ("bash", "prunebench run --sweet quickstart", "No such option: --sweet"),
        ("bash", "prunebench run --suite quickstrat", "no suite named 'quickstrat'"),
        ("bash", "prunebench report --suite quickstrat", "no suite named 'quickstrat'"),
        ("bash", "prunebench run --methods dual,rondom --datasets digits", "no method named 'rondom'"),
        ("bash", "pip install . && prunebench run --datasets digitz", "no dataset named 'digitz'"),
        ("bash", "prunebench run --suite quickstart --set dual.widow=5", "widow"),
        (
            "bash",
            "prunebench export --suite quickstart --scores dule --dataset digits --output a.csv",
            "dule",
        ),
        ("bash", "prunebench leaderboard --format pdf > all.pdf", "format_name is pdf"),
        ("bash", "prunebench figures accurate --suite quickstart", "name is accurate"),
        ("bash", "prunebench check wobble", "wobble"),
        ("bash", "prune bench", "prune is unknown"),
        ("bash", "python benchmarks/speed/zcore.py --larger", "has no --larger"),
        ("bash", "pytest tests/fault", "tests/fault"),
        ("python", "from prunebench import Scora", "Scora"),
        ("python", "prunebench.run('quickstart', method='random')", "method"),
        ("python", "for row in prunebench.run('quickstart'):\n    row.acuracy", "acuracy"),
        ("python", "pruned = prunebench.prune('photos', 'a.csv', budget=4)\npruned.choosen()", "choosen"),
        (
            "python",
            "import prunebench\nclass Own(prunebench.Scorer):\n    def score(self, dynamic): ...",
            "dynamic",
        ),
        ("toml", 'extends = "quickstart"\ntitel = "Wobble"', "no key in shown.toml named 'titel'"),
        ("toml", '[method.own]\nscorer = "dule"\nselector = "top"', "no scorer named 'dule'"),
        ("toml", '[method.own]\nscorer = {part = "dual", widow = 5}\nselector = "top"', "widow"),
        ("toml", "[recipe.tiny.digits.swav]\nepoch = 5", "epoch"),
        ("toml", '[dataset.own]\nof = "imagenet"', "imagenet"),
        ("formula", "prunebench run", "prunebench"),
    ],
)
def test_a_block_that_is_wrong_is_found(language: str, text: str, complaint: str) -> None:
    with pytest.raises(Exception, match=re.escape(complaint)):
        CHECKS[language](text)

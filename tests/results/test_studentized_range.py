"""Our quantiles of the studentized range against those of scipy."""

import subprocess
import sys

import pytest
from scipy.stats import studentized_range

from prunebench.results.studentized_range import quantile


@pytest.mark.parametrize("groups", [2, 3, 40])
@pytest.mark.parametrize("degrees", [2, 10, 200])
@pytest.mark.parametrize("level", [0.05, 0.001])
def test_quantiles_are_those_of_scipy(level, groups, degrees):
    expected = studentized_range.isf(level, groups, degrees)
    assert quantile(level, groups, degrees) == pytest.approx(expected, rel=1e-7)


def test_a_page_is_made_without_the_seconds_that_scipy_stats_takes():
    code = (
        "import sys; from prunebench.results.separation import compare; "
        "compare([{0: 1.0, 1: 2.0}, {0: 1.5, 1: 2.0}]); sys.exit('scipy.stats' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

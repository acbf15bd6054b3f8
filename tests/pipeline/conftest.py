"""What tests of several executors share."""

import pytest


@pytest.fixture
def started():
    """started(executor) is shut down in the end."""
    executors = []

    def start(one):
        executors.append(one)
        return one

    yield start
    for one in executors:
        one.shutdown()

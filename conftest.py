"""Fixtures that every test of this repository may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of test data beside the repository: tests without it are skipped, but fail in CI."""
    folder = Path(__file__).resolve().parent.parent / "shared" / "data"
    if not folder.is_dir():
        message = f"needs the test data in {folder}, which is not there"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder

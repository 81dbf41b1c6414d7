"""What every test of this repository may use."""

import atexit
import gc
import os
from pathlib import Path

import pytest

# tensorflow-transform leaves protocol buffers in reference cycles; freed after the protobuf module itself, at the very
# end, they crash the process (exit code 139) when all tests have passed.
atexit.register(gc.freeze)


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

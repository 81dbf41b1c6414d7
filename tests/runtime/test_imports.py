import gc
import subprocess
import sys

import pytest

from mmstream.runtime.imports import importing

FROZEN = """
import gc
from mmstream.runtime.imports import importing
with importing():
    assert not gc.isenabled()
    import keras
assert gc.isenabled()
frozen = gc.get_freeze_count()
with importing():
    import keras
assert gc.get_freeze_count() == frozen > 100_000, "only what was imported stays"
"""


def test_the_garbage_collector_passes_over_what_was_imported():
    subprocess.run([sys.executable, "-c", FROZEN], check=True)


def test_it_is_left_as_it_was_found_when_an_import_fails():
    with pytest.raises(ImportError), importing():
        import mmstream.nothing  # noqa: F401
    assert gc.isenabled()
    gc.disable()
    try:
        with importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()

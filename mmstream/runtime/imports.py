"""Faster imports of large libraries: TensorFlow, Keras, Beam."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Import modules in the block without garbage collection, which would take much of that time.

    As the number of objects grows, Python's garbage collector scans all of them again and again; later, each full
    collection scans the modules' objects once more. So it is off in the block, and everything that exists afterwards is
    exempt from it.

    Source: https://docs.python.org/3/library/gc.html#gc.freeze
    """
    runs, before = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()
        if runs:  # otherwise whoever switched it off will switch it on
            gc.enable()

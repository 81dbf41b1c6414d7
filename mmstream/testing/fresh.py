"""Running code in a process that has not imported the component yet, like a job that only labels.

Keras has the same backend there: KERAS_BACKEND, which chooses it, is inherited.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

_RUN = """
import pickle, sys
given = pickle.load(sys.stdin.buffer)
{code}
sys.stderr.flush()
sys.stdout.buffer.write(pickle.dumps(result))
"""


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process of its own that has imported Keras, but no plugin.

    The processes are forked from one server, so TensorFlow is imported once, not once per component.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keras"])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def run_python(code: str, given: Any) -> Any:
    """Run code in a new interpreter with another hash seed, and without Keras; returns what it assigns to `result`.

    Args:
        code: may use `given`.
        given: a value for the code, which can be pickled.
    """
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", _RUN.format(code=code)],
        input=pickle.dumps(given),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "4242"},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return pickle.loads(done.stdout)

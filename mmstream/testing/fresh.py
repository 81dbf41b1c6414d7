"""Work in a process that has not imported the component yet, as a job that only labels has not.

Keras has the same backend there: its choice, KERAS_BACKEND, is inherited.
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
    """What a function gives in a process of its own, which has imported Keras and nothing that imports a plugin.

    The processes are forked from one server, so that TensorFlow is imported once, not once a component.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keras"])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def run_python(code: str, given: Any) -> Any:
    """What some code assigns to `result` in a new interpreter with another hash seed, without even Keras.

    Args:
        code: may use `given`.
        given: can be pickled.
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

"""The network and all its parts work on Keras' JAX backend as they do on TensorFlow's."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import keras
import numpy as np
import pytest
import small_network
from contracts import contracts_in

from mmstream.testing import fresh
from mmstream.testing.network import disturb

HERE = Path(__file__).parents[1]
KINDS = ("encoder", "fusion", "head", "objective")
CONTRACTS = {
    f"{path.relative_to(HERE.parent)}::{name}"
    for path in sorted((HERE.parent / "plugins").glob("*/tests/test_contract.py"))
    for name, test in contracts_in(path).items()
    if test.kind in KINDS
}
MODELS = (
    "models/test_models.py",
    "models/test_loss_weights.py::test_the_total_is_the_sum_that_the_config_says",
    "models/test_loss_weights.py::test_a_loss_counts_from_its_epoch_and_rises_over_its_warm_up",
    "models/test_loss_weights.py::test_uncertainty_weighs_a_head_by_what_it_has_learnt_of_it",
    "models/test_loss_weights.py::test_dynamic_gives_more_to_a_head_that_improves_less",
    "models/test_matching.py::test_the_nearest_text_is_taken_and_the_first_where_nothing_is_to_be_fitted",
    "models/test_absent_fields.py::test_what_is_absent_is_filled_in_from_what_is_there_and_nothing_else_changes",
)
"""Tests of `mmstream.models` that need no data on disk, for those are read by TensorFlow."""
REASONS = {
    "the encoder has no backbone",
    "the encoder is fitted to one length",
    "the head does not generate",
    "the head does not write texts",
    "the head does not choose among fitted values, or gives no probabilities",
    "the head writes one text only",
    "no objective can read what it writes",
    "the head leaves resamples to mmstream",
}
"""Why a contract leaves out a test, on any backend."""
FEWEST = 600
"""Tests of contracts that pass."""


FRUGAL = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_parallel_codegen_split_count=1",
}
"""Little is spent on compiling what runs once, and processes share what they compiled."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_contracts_and_models_pass(tmp_path):
    report, compiled = tmp_path / "report.xml", str(tmp_path / "compiled")
    workers = "0" if "PYTEST_XDIST_WORKER" in os.environ else "2"
    others = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-n", workers, "--dist", "loadscope", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, f"--junitxml={report}", *sorted(CONTRACTS), *(f"tests/{test}" for test in MODELS)],
        cwd=HERE.parent,
        env={**others, **FRUGAL, "KERAS_BACKEND": "jax", "JAX_COMPILATION_CACHE_DIR": compiled},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cases = list(ElementTree.parse(report).iter("testcase"))
    assert {found.attrib["value"] for case in cases for found in case.iter("property")} == {"jax"}
    assert {found.attrib["message"] for case in cases for found in case.iter("skipped")} <= REASONS
    passed = [case.attrib["classname"] for case in cases if case.find("skipped") is None]
    held = {name for name in passed if name.rpartition(".")[2].startswith("Test")}
    assert held == {name.replace("/", ".").replace(".py::", ".") for name in CONTRACTS}
    assert sum(name in held for name in passed) >= FEWEST
    modules = {f"tests.{test.partition('.py')[0].replace('/', '.')}" for test in MODELS}
    assert {name for name in passed if name not in held} == modules, "whose tests are never skipped"


@pytest.mark.slow
def test_a_forward_pass_gives_the_numbers_of_tensorflow(monkeypatch, tmp_path):
    made, weights = small_network.network(), str(tmp_path / "small.weights.h5")
    disturb(made.training)
    made.training.save_weights(weights)
    _, expected = small_network.outputs(weights)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    code = "import small_network; result = small_network.outputs(given)"
    backend, found = fresh.run_python(code, weights)
    assert (keras.backend.backend(), backend) == ("tensorflow", "jax")
    keras.tree.assert_same_structure(found, expected)
    for one, other in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)

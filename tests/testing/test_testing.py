"""The contract kit finds faults, and every first-party component is held to it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from contracts import contracts_in

import mmstream.testing
from mmstream.plugins import registry

HERE = Path(__file__).parents[1]
WRONG = HERE / "wrong_components"
SOUND = (
    *("TestSound", "TestSoundFusion", "TestSoundHead", "TestSoundObjective"),
    *("TestSoundField", "TestSoundSource", "TestSoundSink", "TestSoundTokenizer"),
)
FAULTS = {
    "TestForgetful": (
        "test_its_config_holds_every_parameter_and_is_json",
        "test_a_fresh_process_reloads_it_with_equal_outputs[float32]",
    ),
    "TestUnnamed": (
        "test_its_weights_have_the_same_paths_whenever_it_is_built",
        "test_a_fresh_process_reloads_its_weights_under_equal_paths[float32]",
    ),
    "TestMingling": (
        "test_a_record_alone_gives_what_it_gives_in_a_batch",
        "test_absent_records_in_a_batch_change_nothing",
    ),
    "TestOverlong": ("test_longer_padding_changes_no_token",),
    "TestNarrow": ("test_gives_tokens_of_the_shared_width_and_their_mask",),
    "TestStranger": (
        "test_every_parameter_of_its_constructor_is_annotated",
        "test_it_is_registered_under_its_own_distribution",
    ),
    "TestLeakyFusion": ("test_what_an_absent_field_holds_does_not_matter",),
    "TestUnmaskedFusion": ("test_what_stands_in_masked_tokens_does_not_matter",),
    "TestEmptyFusion": ("test_a_batch_of_absent_records_gives_finite_numbers",),
    "TestEagerHead": (
        "test_the_target_mask_is_zero_where_the_target_is_unknown",
        "test_an_unknown_target_teaches_nothing",
    ),
    "TestHalfHead": ("test_predictions_and_losses_are_float32[mixed_bfloat16]",),
    "TestInfiniteHead": ("test_losses_and_gradients_are_finite_where_the_target_is_unknown",),
    "TestNumpyHead": ("test_every_record_gets_a_label_and_a_score_of_the_declared_types",),
    "TestDividingObjective": ("test_loss_and_gradients_are_finite_where_no_record_is_present",),
    "TestBuiltLateObjective": ("test_its_weights_have_the_same_paths_whenever_it_is_built",),
    "TestKeyErrorField": ("test_odd_values_are_decoded_or_become_dead_letters",),
    "TestHeavyField": ("test_it_is_built_without_tensorflow",),
    "TestRestlessField": ("test_equal_values_give_equal_tensors_alone_or_in_a_batch",),
    "TestUnpicklableField": ("test_it_can_be_pickled",),
    "TestUnevenlyHashedField": ("test_equal_values_have_near_hashes_of_the_declared_size",),
    "TestMiscountingField": ("test_linear_features_are_as_many_as_it_says",),
    "TestOversizeField": ("test_good_values_give_what_is_declared",),
    "TestForgettingSource": (
        "test_reads_every_row_in_order_under_its_origin",
        "test_splits_say_how_many_rows_they_hold",
    ),
    "TestMiscountingSource": ("test_an_input_that_is_cut_gives_the_same_rows",),
    "TestCountingSink": ("test_equal_rows_give_equal_bytes_on_another_day",),
    "TestHashingSink": ("test_equal_rows_give_equal_bytes_in_another_process",),
    "TestEndlessTokenizer": (
        "test_every_text_has_ids_from_0_on_and_no_more_than_asked_for",
        "test_a_text_that_is_cut_off_begins_and_ends_as_others_do",
    ),
    "TestHashingTokenizer": ("test_another_process_gives_the_same_ids",),
    "TestLossySink": ("test_gives_the_rows_back",),
}
"""The tests that each wrong component must fail."""


@pytest.mark.slow
def test_wrong_components_fail_where_they_are_wrong_and_sound_ones_pass(tmp_path):
    report = tmp_path / "report.xml"
    chosen = [*SOUND, *(f"{name}::{test}" for name, tests in FAULTS.items() for test in tests)]
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", f"--junitxml={report}"]
    done = subprocess.run(
        [*command, *(f"{WRONG / 'contracts.py'}::{node}" for node in chosen)],
        env={**os.environ, "PYTHONPATH": str(WRONG)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.exists(), done.stdout + done.stderr
    outcomes: dict[str, dict[str, bool]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        passed = not {child.tag for child in case} & {"failure", "error"}
        outcomes.setdefault(case.attrib["classname"].rpartition(".")[2], {})[case.attrib["name"]] = passed
    failed = {name: tuple(t for t, passed in tests.items() if not passed) for name, tests in outcomes.items()}
    assert failed == {**dict.fromkeys(SOUND, ()), **FAULTS}, done.stdout


def test_every_first_party_component_is_held_to_its_contract():
    projects = sorted((HERE.parent / "plugins").glob("*/pyproject.toml"))
    names = {tomllib.loads(path.read_text())["project"]["name"] for path in projects}
    _, components = registry.load()
    registered = {key for key, component in components.items() if component.distribution in names}
    assert registered
    contracts = [contracts_in(path.parent / "tests" / "test_contract.py") for path in projects]
    assert registered - {(test.kind, test.name) for found in contracts for test in found.values()} == set()


def test_there_is_a_contract_for_every_kind():
    kinds = {getattr(mmstream.testing, name).kind for name in mmstream.testing.__all__}
    assert kinds == set(registry.KINDS)


def test_the_contracts_of_data_are_imported_without_keras():
    code = "import sys; from mmstream.testing import FieldContract, SinkContract, SourceContract; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"keras", "tensorflow", "apache_beam"} & set(done.stdout.split())

"""Models are compared over the same records, in pairs, and it is told what cannot be compared and why."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil

import numpy as np
import pytest
from small_road import run, write_manifest

from mmstream.evaluation.intervals import bootstrap, intervals, resample
from mmstream.records.record import split_of

CONFIG = """
source: {{use: jsonl, path: {manifest}, id: id}}
split: {{validation: 0.1, test: 0.3}}
fields:
  told:   {{use: category}}
  noise:  {{use: category}}
  answer: {{use: category}}
  marks:  {{use: tags}}
  price:  {{use: number}}
model:
  width: 16
  encoders: {{told: {{use: embedding}}, noise: {{use: embedding}}}}
  heads:
    answer: {{use: classification, reads: {reads}}}
    marks:  {{use: tagging, reads: told}}
    price:  {{use: regression, reads: {reads}}}
    {more}
training: {{epochs: {epochs}, batch_size: 32, seed: 1, optimizer: {{use: adamw, learning_rate: 0.02}}}}
"""
GOOD = "guess: {use: classification, target: noise, reads: told}"
POOR = "guess: {use: classification, target: told, reads: noise}\n    more: {use: tagging, target: marks, reads: told}"

LONE = "heads: {alone: {use: classification, target: noise, reads: told}}\ntraining"


def rows():
    """600 records: the answer and the price follow from what is told, in nine of ten. Noise is missing in some, and one
    mark is rare."""
    random = np.random.default_rng(5)
    for n in range(600):
        told = int(random.integers(4))
        answer = told if random.random() < 0.9 else int(random.integers(4))
        noise = f"n{random.integers(4)}" if n % 9 else None
        row = {"id": f"r{n}", "told": f"t{told}", "noise": noise, "answer": f"a{answer}"}
        marks = [f"m{told}"] + (["rare"] if n < 40 or n > 590 else [])
        yield {**row, "marks": marks, "price": 100.0 * answer + float(random.random())}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A folder with the models `good` and `poor` of the same examples, and `later` and `lone`, of fewer records."""
    folder = tmp_path_factory.mktemp("tables")

    def preprocess(name, some):
        manifest = write_manifest(folder / f"{name}.jsonl", some)
        config = folder / f"{name}.yaml"
        config.write_text(CONFIG.format(manifest=manifest, reads="told", more=GOOD, epochs=20))
        assert run("preprocess", config, "--output", folder / name) == 0
        return manifest

    def train(name, examples, **parts):
        config = folder / f"{name}.yaml"
        config.write_text(CONFIG.format(**parts))
        assert run("train", config, "--examples", folder / examples, "--output", folder / name, "--quiet") == 0

    manifest = preprocess("examples", rows())
    train("good", "examples", manifest=manifest, reads="told", more=GOOD, epochs=20)
    train("poor", "examples", manifest=manifest, reads="noise", more=POOR, epochs=2)
    fewer = [{**row, "marks": [m for m in row["marks"] if m != "rare"]} for row in rows()][100:]
    manifest = preprocess("fewer", fewer)
    train("later", "fewer", manifest=manifest, reads="told", more="", epochs=20)
    (folder / "lone.yaml").write_text(re.sub("(?s)heads:.*training", LONE, (folder / "later.yaml").read_text()))
    assert run("train", folder / "lone.yaml", "--examples", folder / "fewer", "--output", folder / "lone") == 0
    return folder


def compare(*arguments):
    """What was found without the baselines, and what was said besides."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        assert run("compare", *arguments, "--baselines", "none", "--json") == 0
    return json.loads(out.getvalue()), err.getvalue()


@pytest.fixture(scope="module")
def good_and_poor(tables):
    return compare(tables / "good", tables / "poor", "--examples", tables / "examples")[0]


def held_out(some):
    """Those of some records that are in the test split."""
    return [row for row in some if split_of(row["id"], 0.1, 0.3) == "test"]


def readable(some):
    """How many of some records a head that reads the noise can read."""
    return sum(row["noise"] is not None for row in some)


def refusals(found):
    return {(each["what"], each["model"]): each["why"] for each in found["not_comparable"]}


def differences(found):
    """(metric, model after the first, difference) of all that was compared."""
    for part in [*found["heads"].values(), *found["retrieval"].values()]:
        for metric, by_model in part["metrics"].items():
            first, *others = by_model.items()
            assert "difference" not in first[1]
            yield from ((metric, name, figures["difference"]) for name, figures in others)


@pytest.mark.slow
def test_equal_models_do_not_differ_at_all_and_have_the_figures_of_evaluate(road, tmp_path):
    shutil.copytree(road.model, tmp_path / "copy")
    found, said = compare(road.model, tmp_path / "copy", "--examples", road.examples)
    assert list(found["models"]) == ["model", "copy"]
    assert found["models"]["model"]["fingerprint"] == found["models"]["copy"]["fingerprint"]
    assert set(found["heads"]) == {"keywords", "group", "caption"}
    assert set(found["retrieval"]) == {"image->text", "text->image"}
    every = list(differences(found))
    metrics = {"keywords": 4, "group": 4, "caption": 3, "retrieval": 2 * 3}
    assert len(every) == sum(metrics.values())
    for _, _, difference in every:
        assert difference == {"value": 0, "interval": [0, 0], "excludes_0": False}
    assert found["not_comparable"] == []
    assert "warning" not in said

    assert run("evaluate", tmp_path / "copy", "--examples", road.examples) == 0
    alone = json.loads((tmp_path / "copy" / "evaluation" / "test" / "metrics.json").read_text())
    assert found["records"] == alone["records"]
    for kind in ("heads", "retrieval"):
        for name, part in found[kind].items():
            for metric, by_model in part["metrics"].items():
                assert by_model["copy"]["value"] == pytest.approx(alone[kind][name][metric])
                if part["records"] == found["records"]:
                    assert by_model["copy"]["interval"] == pytest.approx(alone[kind][name]["intervals"][metric])


@pytest.mark.slow
def test_a_worse_model_is_told(good_and_poor):
    found = good_and_poor
    answer = found["heads"]["answer"]
    accuracy = answer["metrics"]["accuracy"]
    assert found["records"] == len(held_out(rows()))
    assert 100 < answer["records"] == readable(held_out(rows())) < found["records"]
    assert found["heads"]["marks"]["records"] == found["records"]
    difference = accuracy["poor"]["difference"]
    assert difference["value"] == pytest.approx(accuracy["poor"]["value"] - accuracy["good"]["value"])
    low, high = difference["interval"]
    assert low < difference["value"] < high < 0
    assert difference["excludes_0"] is True
    mae = found["heads"]["price"]["metrics"]["mae"]["poor"]["difference"]
    assert mae["interval"][0] > 0


@pytest.mark.slow
def test_a_metric_is_taken_over_the_records_that_every_model_could_read(tables, good_and_poor):
    assert run("evaluate", tables / "poor", "--examples", tables / "examples") == 0
    alone = json.loads((tables / "poor" / "evaluation" / "test" / "metrics.json").read_text())
    for name in ("answer", "price"):  # the good one could read them all
        for metric, by_model in good_and_poor["heads"][name]["metrics"].items():
            assert by_model["poor"]["value"] == pytest.approx(alone["heads"][name][metric])


@pytest.mark.slow
def test_the_first_model_is_the_one_that_others_are_compared_with(tables, good_and_poor):
    other, _ = compare(tables / "poor", tables / "good", "--examples", tables / "examples")
    for (metric, _, there), (same, _, back) in zip(differences(good_and_poor), differences(other), strict=True):
        assert metric == same
        assert there["value"] == -back["value"]
        assert there["interval"] == pytest.approx([-bound for bound in reversed(back["interval"])])


@pytest.mark.slow
def test_heads_that_differ_in_what_they_predict_are_not_compared(good_and_poor):
    assert set(good_and_poor["heads"]) == {"answer", "marks", "price"}
    assert refusals(good_and_poor) == {
        ("guess", "poor"): "predicts 'told', not 'noise'",
        ("more", "good"): "has no such head",
    }


@pytest.mark.slow
def test_models_of_other_examples_are_compared_over_the_records_that_all_have(tables):
    models = (tables / "good", tables / "poor", tables / "later")
    places = [part for name in ("examples", "examples", "fewer") for part in ("--examples", tables / name)]
    found, said = compare(*models, *places)
    common = held_out(list(rows())[100:])
    missing = len(held_out(rows())) - len(common)
    assert found["records"] == len(common)
    assert {name: about["left_out"] for name, about in found["models"].items()} == {
        "good": missing,
        "poor": missing,
        "later": 0,
    }
    assert f"warning: {missing} of {missing + len(common)} records of good are not" in said
    assert "records of later" not in said
    assert set(found["heads"]["answer"]["metrics"]["accuracy"]) == {"good", "poor", "later"}
    assert found["heads"]["answer"]["records"] == readable(common) < len(common)
    assert set(found["heads"]["price"]["metrics"]["mae"]) == {"good", "poor", "later"}, "of another scale, but the same"


@pytest.mark.slow
def test_a_head_whose_records_were_told_otherwise_is_not_compared(tables):
    places = ("--examples", tables / "examples", "--examples", tables / "fewer")
    found, _ = compare(tables / "good", tables / "later", *places)
    assert "marks" not in found["heads"]
    why = refusals(found)["marks", "later"]
    assert why.startswith("has different labels for ")
    assert why.endswith(f" of {found['records']} records")
    assert refusals(found)["guess", "later"] == "has no such head"


@pytest.mark.slow
def test_models_of_equal_names_go_by_their_paths(tables, tmp_path):
    shutil.copytree(tables / "lone", tmp_path / "lone")
    models = (tables / "lone", f"{tmp_path / 'lone'}/", tables / "later")
    found, _ = compare(*models, "--examples", tables / "fewer")
    assert list(found["models"]) == [str(tables / "lone"), str(tmp_path / "lone"), "later"]
    assert refusals(found)["alone", "later"] == "has no such head"
    assert set(found["heads"]["alone"]["metrics"]["accuracy"]) == {str(tables / "lone"), str(tmp_path / "lone")}


@pytest.mark.slow
def test_the_table_shows_what_json_says(tables, capsys):
    capsys.readouterr()
    assert run("compare", tables / "good", tables / "poor", "--examples", tables / "examples") == 0
    lines = capsys.readouterr().out.splitlines()
    (place,) = [place for place, line in enumerate(lines) if line.split()[:1] == ["answer"]]
    assert lines[place].split()[2:4] == ["accuracy", "good"]
    assert lines[place + 1].split()[0] == "poor"
    assert lines[place + 1].split()[-1] == "yes"
    assert any(line.split() == ["guess", "poor", "predicts", "'told',", "not", "'noise'"] for line in lines)


@pytest.mark.slow
def test_models_without_a_record_in_common_are_an_error(tables, tmp_path, capsys):
    shutil.copytree(tables / "fewer", tmp_path / "others")
    shutil.rmtree(tmp_path / "others" / "examples" / "test")
    shutil.copytree(tables / "fewer" / "examples" / "validation", tmp_path / "others" / "examples" / "test")
    places = ("--examples", tables / "examples", "--examples", tmp_path / "others")
    assert run("compare", tables / "good", tables / "later", *places) == 1
    assert "mmstream: the models share no records of the split 'test'\n" in capsys.readouterr().err


@pytest.mark.slow
def test_models_without_a_head_in_common_are_an_error_that_says_why(tables, capsys):
    assert run("compare", tables / "later", tables / "lone", "--examples", tables / "fewer") == 1
    assert capsys.readouterr().err.endswith(
        "mmstream: nothing about these models can be compared:\n"
        "  answer: lone has no such head\n"
        "  marks: lone has no such head\n"
        "  price: lone has no such head\n"
        "  alone: later has no such head\n"
    )


@pytest.mark.parametrize(
    ("models", "examples", "code", "message"),
    [
        (["good"], ["examples"], 2, "name at least two models"),
        (["good", "poor", "poor/../good"], ["examples"], 2, "poor/../good is given twice"),
        (["good", "poor", "later"], ["examples", "fewer"], 2, "once for each of the 3 models, in order; found 2"),
        (["good", "nosuch"], ["examples"], 1, "nosuch is not a model"),
        (["good", "poor"], ["nosuch"], 1, "nosuch is not an output of `mmstream preprocess`"),
        (["good", "later"], ["examples"], 1, "were not made by the model's preprocessing"),
    ],
)
@pytest.mark.slow
def test_wrong_usage_and_wrong_folders_are_told(models, examples, code, message, tables, capsys):
    places = [part for name in examples for part in ("--examples", tables / name)]
    assert run("compare", *(tables / name for name in models), *places) == code
    out, err = capsys.readouterr()
    assert message in err
    assert out == ""


def test_resamples_are_the_same_records_for_both_of_a_pair_so_that_its_interval_is_narrow():
    random = np.random.default_rng(3)
    hard = random.random(400)
    one, other = (hard + random.normal(0, 0.05, 400) < bar for bar in (0.5, 0.53))

    def share(right):
        return resample(lambda rows: {"share": float(right[rows].mean())}, 400)["share"]

    ((low, high),) = intervals({"share": share(other) - share(one)}, {"share": other.mean() - one.mean()}).values()
    unpaired = share(other) - random.permutation(share(one))
    ((wide_low, wide_high),) = intervals({"share": unpaired}, {"share": other.mean() - one.mean()}).values()
    assert 0 < low < other.mean() - one.mean() < high
    assert high - low < 0.6 * (wide_high - wide_low)
    assert wide_low < 0


def test_a_resample_on_which_a_metric_is_undefined_does_not_count():
    def metrics(rows):
        return {"always": float(rows.mean()), **({"at_times": 1.0} if 0 in rows else {})}

    resampled = resample(metrics, 5)
    assert np.isnan(resampled["at_times"]).sum() == sum(0 not in rows for rows in _rows(5))
    assert bootstrap(metrics, 5)["at_times"] == [1.0, 1.0]
    assert intervals({"never": np.full(200, np.nan)}, {"never": 1.0}) == {}


def test_an_interval_holds_its_figure_though_every_resample_gives_less():
    low, high = bootstrap(lambda rows: {"different": float(len(set(rows.tolist())))}, 50)["different"]
    assert low < 50 == high, "and no resample gave more"


def _rows(count):
    kept = []
    resample(lambda rows: kept.append(rows) or {}, count)
    assert len(kept) == 200
    return kept

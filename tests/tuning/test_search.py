"""The search: which trials it makes, what it keeps of them, and how it goes on after it was interrupted.

The trials here are not trained: a function gives the accuracy of each epoch. `test_trials.py` trains.
"""

from __future__ import annotations

import json
import shutil

import pytest
from small_road import run

import mmstream
from mmstream.config.loading import load_config
from mmstream.errors import MmstreamError
from mmstream.tuning import trial_process
from mmstream.tuning.trial_process import Outcome

OPEN = """
# How wide the network is.
  width: {any: [8, 16, 24]}   # the best is 16
  encoders: {image: {any: [{use: cnn, filters: [{any: [4, 8]}]}, {use: vit}]}}
  heads:
    group:    {use: classification, reads: image}
golden: 3
training:
  epochs: 4
  optimizer: {use: adamw, learning_rate: {between: [0.001, 0.1], log: true}}
"""
FINITE = ("training.optimizer.learning_rate=0.01",)


@pytest.fixture
def config(road, tmp_path):
    """A config with open values for the examples of the road."""
    path = tmp_path / "open.yaml"
    path.write_text(road.config.read_text().partition("  width:")[0].rstrip("\n") + OPEN)
    return path


def accuracy(config):
    rate = config.training.optimizer.parameters["learning_rate"]
    return 0.5 + 0.2 * (config.model.width == 16) + 0.2 * (config.model.encoders["image"].use == "vit") - rate


@pytest.fixture
def trials(monkeypatch):
    """The configs that were trained; a trial is complete unless it is pruned."""
    done = []

    def trained(folder, config, examples, *, report, seconds):
        done.append(config)
        (folder / "model").mkdir(parents=True, exist_ok=True)
        value = accuracy(config)
        for epoch in range(1, config.training.epochs + 1):
            if report({"epoch": epoch, "val_group_accuracy": value * epoch / 4}):
                return Outcome("pruned", epoch)
        return Outcome("complete", config.training.epochs, 1, {"group.accuracy": value, "val_loss": 1 - value})

    monkeypatch.setattr(trial_process, "run", trained)
    return done


def search(config, road, output, **options):
    return mmstream.tune(config, examples=road.examples, output=output, **options)


def told(about):
    return [{key: value for key, value in trial.items() if key != "seconds"} for trial in about["trials"]]


def test_the_best_trial_is_found_and_its_config_is_written_with_the_comments(config, road, trials, tmp_path):
    about = search(config, road, tmp_path / "out", trials=12)
    assert about == json.loads((tmp_path / "out" / "trials.json").read_text())
    assert len(about["trials"]) == len(trials) == 12
    best = about["trials"][about["best"] - 1]
    assert best["value"] == max(trial["value"] for trial in about["trials"] if trial["value"] is not None)
    text = (tmp_path / "out" / "best.yaml").read_text()
    assert text.startswith(f"# trial {about['best']} of `mmstream tune`: group.accuracy {best['value']:.6g}")
    assert "# How wide the network is." in text
    assert "# the best is 16" in text
    assert load_config(str(tmp_path / "out" / "best.yaml")) == trials[about["best"] - 1]
    kept = [path.parent.name for path in (tmp_path / "out" / "trials").glob("*/model")]
    assert kept == [f"{about['best']:04d}"]


def test_overrides_are_in_the_best_config(config, road, trials, tmp_path):
    overrides = ["training.epochs=3", "training.batch_size={any: [16, 32]}"]
    search(config, road, tmp_path / "out", trials=1, overrides=overrides)
    assert load_config(str(tmp_path / "out" / "best.yaml")) == trials[0]
    assert trials[0].training.epochs == 3
    assert "# How wide" in (tmp_path / "out" / "best.yaml").read_text()


def test_a_value_that_two_places_share_is_chosen_for_each(config, road, trials, tmp_path):
    rates = "{use: adamw, learning_rate: &rate {between: [0.001, 0.1]}, weight_decay: *rate}"
    config.write_text(config.read_text().partition("  optimizer:")[0] + f"  optimizer: {rates}\n")
    search(config, road, tmp_path / "out", trials=1)
    chosen = trials[0].training.optimizer.parameters
    assert chosen["learning_rate"] != chosen["weight_decay"]
    assert load_config(str(tmp_path / "out" / "best.yaml")) == trials[0]
    assert "How wide" in (tmp_path / "out" / "best.yaml").read_text()


def test_a_section_that_two_places_share_is_written_without_comments(config, road, trials, tmp_path):
    head = "{use: classification, target: group, reads: image, dropout: {between: [0.1, 0.5]}}"
    config.write_text(
        config.read_text().replace("{use: classification, reads: image}", f"&head {head}\n    more: *head")
    )
    search(config, road, tmp_path / "out", trials=1, metric="group.accuracy")
    heads = trials[0].model.heads
    assert heads["group"].parameters["dropout"] != heads["more"].parameters["dropout"]
    assert load_config(str(tmp_path / "out" / "best.yaml")) == trials[0]
    assert "How wide" not in (tmp_path / "out" / "best.yaml").read_text()


def test_the_same_seed_tries_the_same_values(config, road, trials, tmp_path):
    once, again, other = (
        told(search(config, road, tmp_path / name, trials=12, seed=seed))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert once == again
    assert once != other


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_search_goes_on_as_if_it_had_not_been(config, road, trials, tmp_path, monkeypatch, kind):
    whole = told(search(config, road, tmp_path / "whole", trials=13))
    trained, count = trial_process.run, 0

    def interrupted(folder, config, examples, *, report, seconds):
        nonlocal count
        count += 1
        if count % 5:
            return trained(folder, config, examples, report=report, seconds=seconds)
        report({"epoch": 1, "val_group_accuracy": accuracy(config) / 4})
        raise kind

    monkeypatch.setattr(trial_process, "run", interrupted)
    with pytest.raises(kind):
        search(config, road, tmp_path / "out", trials=13)
    unfinished = json.loads((tmp_path / "out" / "trials.json").read_text())
    assert len(unfinished["trials"]) == 4
    assert load_config(str(tmp_path / "out" / "best.yaml"))
    with (tmp_path / "out" / "journal.log").open("ab") as journal:
        journal.write(b'{"op_code":5,"wor')  # as if it had been killed while it wrote
    for _ in range(2):
        with pytest.raises(kind):
            search(config, road, tmp_path / "out", trials=13)
    assert told(search(config, road, tmp_path / "out", trials=13)) == whole


def test_a_finished_search_does_nothing_and_a_larger_one_goes_on(config, road, trials, tmp_path):
    first = told(search(config, road, tmp_path / "out", trials=3))
    assert told(search(config, road, tmp_path / "out", trials=3)) == first
    assert len(trials) == 3
    assert told(search(config, road, tmp_path / "out", trials=5))[:3] == first
    assert len(trials) == 5


def test_trials_worse_than_most_are_pruned_unless_that_is_forbidden(config, road, trials, tmp_path):
    states = [trial["state"] for trial in search(config, road, tmp_path / "out", trials=20)["trials"]]
    assert states.count("pruned") > 2
    assert set(states) == {"complete", "pruned"}
    pruned = [trial for trial in search(config, road, tmp_path / "out", trials=20)["trials"] if trial["value"] is None]
    assert all(3 <= trial["epochs"] <= 4 for trial in pruned)
    every = search(config, road, tmp_path / "all", trials=20, pruning=False)
    assert {trial["state"] for trial in every["trials"]} == {"complete"}


def test_no_combination_is_tried_twice_and_the_search_ends_after_the_last(config, road, trials, tmp_path, capsys):
    about = search(config, road, tmp_path / "out", trials=50, overrides=FINITE)
    values = [json.dumps(trial["values"], sort_keys=True) for trial in about["trials"]]
    assert len(values) == len(set(values)) == 9
    assert [trial["trial"] for trial in about["trials"]] == list(range(1, 10))
    assert "every combination of the open values has been tried" in capsys.readouterr().err
    assert len(search(config, road, tmp_path / "out", trials=50, overrides=FINITE)["trials"]) == 9


def test_a_failed_trial_is_told_and_the_search_goes_on(config, road, trials, tmp_path, monkeypatch, capsys):
    trained = trial_process.run

    def failing(folder, config, examples, **more):
        if config.model.width == 8:
            return Outcome("failed", error="it does not fit")
        return trained(folder, config, examples, **more)

    monkeypatch.setattr(trial_process, "run", failing)
    command = ("tune", config, "--examples", road.examples, "--output", tmp_path / "out", "--set", FINITE[0])
    assert run(*command, "--trials", 9) == 0
    said = capsys.readouterr()
    assert "failed: it does not fit" in said.out
    assert "of 9 trials failed" in said.err


def test_a_search_whose_trials_all_fail_ends_with_the_reason(config, road, trials, tmp_path, monkeypatch):
    monkeypatch.setattr(trial_process, "run", lambda *_, **__: Outcome("failed", error="it does not fit"))
    with pytest.raises(MmstreamError, match="3 trials in a row have failed, the last one because: it does not fit"):
        search(config, road, tmp_path / "out")


def test_a_metric_that_is_not_a_number_is_a_failure(config, road, trials, tmp_path, monkeypatch):
    monkeypatch.setattr(
        trial_process, "run", lambda *_, **__: Outcome("complete", 1, 1, {"group.accuracy": float("nan")})
    )
    with pytest.raises(MmstreamError, match=r"group\.accuracy is NaN"):
        search(config, road, tmp_path / "out")


def test_the_time_counts_over_all_runs(config, road, trials, tmp_path, monkeypatch):
    given = []

    def slow(folder, config, examples, *, report, seconds):
        given.append(seconds)
        clock[0] += 40
        if seconds < 40:
            return Outcome("unfinished", 1)
        return Outcome("complete", 4, 1, {"group.accuracy": 0.5 + len(given) / 10})

    clock = [0.0]
    monkeypatch.setattr(trial_process, "run", slow)
    monkeypatch.setattr("mmstream.tuning.search.time.monotonic", lambda: clock[0])
    about = search(config, road, tmp_path / "out", minutes=1)
    assert [trial["state"] for trial in about["trials"]] == ["complete", "unfinished"]
    assert given == [60, 20]
    search(config, road, tmp_path / "out", minutes=1)
    assert given == [60, 20], "the time is up"
    about = search(config, road, tmp_path / "out", minutes=2.5, trials=2)
    assert given == [60, 20, 70]
    assert [trial["state"] for trial in about["trials"]] == ["complete", "complete"]


def test_a_search_without_a_complete_trial_is_an_error(config, road, trials, tmp_path, monkeypatch):
    monkeypatch.setattr(trial_process, "run", lambda *_, **__: Outcome("unfinished"))
    with pytest.raises(MmstreamError, match="no trial is complete; allow more --trials or --minutes"):
        search(config, road, tmp_path / "out", minutes=1)


def test_what_has_changed_is_named(config, road, trials, tmp_path):
    search(config, road, tmp_path / "out", trials=1)
    changed = ("model.width={any: [8, 16]}", "training.epochs=5")
    for options, named in (
        ({"overrides": changed}, r"model\.width\.any, training\.epochs"),
        ({"seed": 2}, "seed"),
        ({"metric": "val_loss"}, "metric"),
        ({"pruning": False}, "pruning"),
    ):
        with pytest.raises(
            MmstreamError, match=f"cannot continue, because these have changed since it began: {named};"
        ):
            search(config, road, tmp_path / "out", trials=2, **options)
    examples = tmp_path / "examples"
    shutil.copytree(road.examples, examples)
    books = json.loads((examples / "preprocess.json").read_text())
    (examples / "preprocess.json").write_text(json.dumps({**books, "fingerprint": "another"}))
    with pytest.raises(MmstreamError, match="since it began: examples;"):
        mmstream.tune(config, examples=examples, output=tmp_path / "out", trials=2)
    assert len(trials) == 1


def test_an_output_of_something_else_is_refused(config, road, trials):
    with pytest.raises(MmstreamError, match="holds something that `mmstream tune` did not make"):
        search(config, road, road.model)


def test_a_remote_output_is_refused(config, road, trials):
    with pytest.raises(MmstreamError, match="must be a local folder"):
        search(config, road, "gs://bucket/search")


def test_examples_without_a_validation_split_are_refused(config, road, trials, tmp_path):
    examples = tmp_path / "examples"
    shutil.copytree(road.examples, examples)
    books = json.loads((examples / "preprocess.json").read_text())
    books["splits"]["validation"] = 0
    (examples / "preprocess.json").write_text(json.dumps(books))
    with pytest.raises(MmstreamError, match="has no validation examples; a search needs both"):
        mmstream.tune(config, examples=examples, output=tmp_path / "out")


def test_the_metric_decides_the_direction(config, road, trials, tmp_path):
    by_loss = search(config, road, tmp_path / "loss", metric="val_loss", trials=6, pruning=False)
    values = [trial["value"] for trial in by_loss["trials"]]
    assert by_loss["direction"] == "minimize"
    assert by_loss["trials"][by_loss["best"] - 1]["value"] == min(values)
    by_accuracy = search(config, road, tmp_path / "accuracy", metric="group.accuracy", trials=1)
    assert by_accuracy["direction"] == "maximize"


def test_an_unknown_metric_gets_the_nearest_one(config, road, tmp_path, capsys):
    command = ("tune", config, "--examples", road.examples, "--output", tmp_path / "out")
    assert run(*command, "--metric", "group.acuracy") == 2
    assert "there is no 'group.acuracy'. Did you mean 'group.accuracy'?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_metric_is_the_mean_of_the_main_metrics_of_all_heads(config, road, trials, tmp_path):
    heads = "model.heads={group: {use: classification, reads: image}, keywords: {use: tagging, reads: image}}"
    with pytest.raises(MmstreamError, match=r"keywords\.map could not be measured"):
        search(config, road, tmp_path / "out", trials=1, overrides=[heads])
    assert json.loads((tmp_path / "out" / "tune.json").read_text())["metric"] == "mean of group.accuracy, keywords.map"


def test_candidates_with_other_heads_need_a_metric(config, road, trials, tmp_path):
    heads = "{group: {use: classification, reads: image}}, {keywords: {use: tagging, reads: image}}"
    with pytest.raises(MmstreamError, match=r"\(group\.accuracy\) or \(keywords\.map\); say with --metric"):
        search(config, road, tmp_path / "out", overrides=[f"model.heads={{any: [{heads}]}}"])


def test_the_table_shows_every_trial_and_how_much_each_value_matters(config, road, trials, tmp_path, capsys):
    command = ("tune", config, "--examples", road.examples, "--output", tmp_path / "out", "--trials", 12)
    assert run(*command) == 0
    out = capsys.readouterr().out
    assert all(
        word in out for word in ("trial", "width", "learning_rate", "filters[0]", "group.accuracy", "importance")
    )
    assert run(*command, "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out" / "trials.json").read_text())

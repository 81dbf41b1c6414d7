"""Every flag has an effect, or says that it has none where it stands: a new one needs an entry here."""

from __future__ import annotations

import pytest
from small_road import run, write_manifest

from mmstream import cli
from mmstream.options.introspection import arguments_of, commands_of

ALWAYS: tuple[tuple[str, ...], ...] = ()
"""It has an effect in all that its command does."""
INPUT = ("--input", "rows.jsonl")
PREVIEW = (*INPUT, "--preview", "3")
OUT = (*INPUT, "--output", "out")
STREAM = (*OUT, "--streaming", "--runner=FlinkRunner")
CONFIG = {"config": ALWAYS, "--set": ALWAYS, "--tiny": ALWAYS}
WORK = {"--break-lock": ALWAYS, "--threads": ALWAYS}
ONE_OUTPUT = {"output": ALWAYS, "--break-lock": ALWAYS}
UNSUPERVISED = (("--stall-timeout=5",),)

# What each flag is refused with, for it would do nothing there: command lines after the command and its arguments.
FLAGS: dict[str, dict[str, tuple[tuple[str, ...], ...]]] = {
    "init": {"path": ALWAYS, "--output": ALWAYS, "--target": ALWAYS, "--pretrained": ALWAYS, "--source": ALWAYS},
    "check": CONFIG,
    "describe": {**CONFIG, "--examples": ALWAYS, "--json": ALWAYS},
    "preprocess": {**CONFIG, **WORK, "--output": ALWAYS, "--stall-timeout": (("--output=out", "--stall-timeout=5"),)},
    "train": {**CONFIG, "--examples": ALWAYS, "--output": ALWAYS, "--break-lock": ALWAYS, "--json": ALWAYS},
    "tune": {
        **CONFIG,
        "--examples": ALWAYS,
        "--output": ALWAYS,
        "--trials": ALWAYS,
        "--minutes": ALWAYS,
        "--metric": ALWAYS,
        "--seed": ALWAYS,
        "--no-pruning": ALWAYS,
        "--break-lock": ALWAYS,
        "--json": ALWAYS,
    },
    "evaluate": {
        "model": ALWAYS,
        "--examples": ALWAYS,
        "--baselines": ALWAYS,
        "--split": ALWAYS,
        "--check-labels": ALWAYS,
        "--json": ALWAYS,
    },
    "compare": {"models": ALWAYS, "--examples": ALWAYS, "--baselines": ALWAYS, "--split": ALWAYS, "--json": ALWAYS},
    "baseline": {"config": ALWAYS, "--examples": ALWAYS, "--split": ALWAYS, "--baselines": ALWAYS, "--json": ALWAYS},
    "label": {
        "model": ALWAYS,
        "--input": ALWAYS,
        "--source": ALWAYS,
        "--root": ALWAYS,
        "--column": ALWAYS,
        "--expect": ALWAYS,
        "--threads": ALWAYS,
        "--output": ((*PREVIEW, "--output=out"),),
        "--preview": ((*PREVIEW, "--watch"), (*PREVIEW, *STREAM)),
        "--embeddings": ((*PREVIEW, "--embeddings"),),
        "--max-dead-letters": ((*PREVIEW, "--max-dead-letters=3"), (*STREAM, "--max-dead-letters=3")),
        "--sink": ((*PREVIEW, "--sink=csv"),),
        "--sink-option": ((*PREVIEW, "--sink-option=a=b"),),
        "--resume": ((*PREVIEW, "--resume=values"),),
        "--relabel": ((*PREVIEW, "--relabel"), (*OUT, "--watch", "--follow=models", "--relabel")),
        "--prune": ((*PREVIEW, "--prune"), (*OUT, "--watch", "--prune"), (*STREAM, "--prune")),
        "--break-lock": ((*PREVIEW, "--break-lock"),),
        "--stall-timeout": ((*PREVIEW, "--stall-timeout=5"),),
        "--watch": ((*STREAM, "--watch"),),
        "--streaming": ((*STREAM, "--watch"), (*OUT, "--streaming")),
        "--every": ((*OUT, "--every=2"), ("--input=kafka://b/t", *STREAM[2:], "--every=2")),
        "--follow": ((*OUT, "--follow=models"), (*PREVIEW, "--follow=models")),
        "--max-latency": ((*OUT, "--max-latency=2"), (*OUT, "--watch", "--max-latency=2")),
        "--publish": ((*OUT, "--publish=kafka://b/t"), (*OUT, "--watch", "--publish=kafka://b/t")),
    },
    "audit": {"output": ALWAYS, "--input": ALWAYS, "--json": ALWAYS},
    "replay": {
        **ONE_OUTPUT,
        **WORK,
        "--only": ALWAYS,
        "--error": ALWAYS,
        "--input": ALWAYS,
        "--model": ALWAYS,
        "--root": ALWAYS,
        "--stall-timeout": UNSUPERVISED,
    },
    "repair": ONE_OUTPUT,
    "repartition": ONE_OUTPUT,
    "export": {"model": ALWAYS, "--to": ALWAYS, "--embeddings": ALWAYS},
    "verify": {
        "model": ALWAYS,
        "--input": ALWAYS,
        "--source": (("--source=csv",),),
        "--root": (("--root=.",),),
        "--column": (("--column=image=path",),),
        "--records": (("--records=3",),),
    },
    "plugins list": {"--json": ALWAYS},
    "plugins show": {"name": ALWAYS, "--json": ALWAYS},
}
OF_ALL = {"--quiet", "--json-logs"}
IDLE = [(command, flag, case) for command, flags in FLAGS.items() for flag, cases in flags.items() for case in cases]


def test_every_flag_of_every_command_has_an_entry():
    flags_of = {
        command.name: {
            action.option_strings[-1] if action.option_strings else action.dest
            for action in arguments_of(command.parser)
        }
        for command in commands_of(cli.parser())
    }
    assert {name: flags - OF_ALL for name, flags in flags_of.items()} == {
        name: set(flags) for name, flags in FLAGS.items()
    }


@pytest.mark.parametrize(("command", "flag", "case"), IDLE, ids=lambda value: value if isinstance(value, str) else "")
def test_a_flag_that_has_no_effect_is_refused(road, tmp_path, monkeypatch, capsys, command, flag, case):
    monkeypatch.chdir(tmp_path)
    write_manifest(tmp_path / "rows.jsonl", [{"id": "a", "image": "a.png"}])
    first = {"preprocess": road.config, "replay": tmp_path / "labelled"}.get(command, road.model)
    assert run(command, first, *case) == 2
    assert flag in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_preprocess_says_that_it_does_not_go_by_the_network(road, tmp_path, capsys):
    idle = ("--set", "training.epochs=3", "--set", "model.width=8")
    assert run("preprocess", road.config, "--output", tmp_path / "out", *idle, "--set", "source.limit=40") == 0
    assert "--set training.epochs, model.width has no effect on examples" in capsys.readouterr().err


def test_how_many_threads_work_is_left_to_the_machine_that_works():
    for command in commands_of(cli.parser()):
        assert command.parser.get_default("threads") is None, command.name

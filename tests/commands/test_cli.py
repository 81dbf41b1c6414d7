"""The command line: what it prints where, its exit codes, and what it does not import."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mmstream import cli
from mmstream.plugins import catalogue, registry

EMOJI = str(Path(__file__).parents[2] / "examples" / "emoji" / "config.yaml")
COMMANDS = (
    *("init", "check", "describe", "preprocess", "train", "evaluate", "compare", "baseline"),
    *("label", "export", "verify", "plugins"),
)


def run(code):
    """Standard output of a fresh process; `loaded(*names)` says which of these modules it has imported."""
    start = "import sys\nfrom mmstream import cli\nloaded = lambda *names: [n for n in names if n in sys.modules]\n"
    command = [sys.executable, "-c", start + textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def exits(*argv):
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    return stop.value.code


def test_help_names_every_command(capsys):
    assert exits("--help") == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("    ")]
    assert [command for command in COMMANDS if command not in listed] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert exits(command, "--help") == 0
    assert f"usage: mmstream {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "the following arguments are required: COMMAND"),
        (("chekc", "config.yaml"), "invalid choice: 'chekc'"),
        (("check",), "the following arguments are required: CONFIG"),
        (("check", EMOJI, "--tinny"), "unrecognized arguments: --tinny"),
        (("check", EMOJI, "more"), "unrecognized arguments: more"),
        (("train", EMOJI, "--output", "m"), "the following arguments are required: --examples"),
        (("evaluate", "m", "--examples", "e", "--split", "trian"), "invalid choice: 'trian'"),
        (("plugins",), "the following arguments are required: list|show"),
        (("plugins", "show"), "the following arguments are required: NAME"),
        (("check", EMOJI, "--quiet", "--json-logs"), "not allowed with argument --quiet"),
        (("label", "m", "--input", "i"), "give either --output, or --preview, which writes nothing"),
        (("label", "m", "--input", "i", "--preview", "0"), "expected 1 or more; found 0"),
        (("label", "m", "--input", "i", "--output", "o", "--runnr=FlinkRunner"), "unknown option '--runnr'"),
        (("label", "m", "--input", "i", "--output", "o", "more"), "unknown option 'more'"),
        (("plugins", "list", "--jsn"), "unrecognized arguments: --jsn"),
    ],
)
def test_wrong_usage_is_exit_code_two(argv, message, capsys):
    assert exits(*argv) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert out == ""


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("check", "nosuch.yaml"), "mmstream: cannot read the config nosuch.yaml: No such file or directory\n"),
        (("check", "."), "mmstream: cannot read the config .: Is a directory\n"),
        (("check", EMOJI + "\0"), "mmstream: cannot read the config "),
        (("train", "nosuch.yaml", "--examples", "e", "--output", "m"), "mmstream: cannot read the config nosuch.yaml"),
    ],
)
def test_a_failure_is_one_readable_message_and_exit_code_one(argv, message, capsys):
    assert cli.main(argv) == 1
    out, err = capsys.readouterr()
    assert err.startswith(message)
    assert out == ""
    assert "Traceback" not in err


def test_check_says_on_which_line_a_config_is_wrong(tmp_path, capsys):
    path = tmp_path / "config.yaml"
    path.write_text("source: {use: jsonl, path: a}\nfields:\n  a: [a]\nmodel:\n  encoders: {}\ntrainign: {}\n")
    assert cli.main(["check", str(path), "--set", "golden=many"]) == 1
    assert capsys.readouterr().err == (
        f"mmstream: {path} has 5 problems:\n"
        "  --set golden: expected an integer; found 'many'\n"
        '  line 3, fields.a: expected keys and values; found ["a"]\n'
        "  line 4, model: without heads or objectives there is nothing to train\n"
        "  line 5, model.encoders: name at least one encoder\n"
        "  line 6, trainign: unknown key 'trainign'. Did you mean 'training'? "
        "Available: fields, golden, model, resume, source, split, training.\n"
    )


def test_plugins_list_names_the_components_of_each_by_kind(capsys):
    assert cli.main(["plugins", "list"]) == 0
    out, err = capsys.readouterr()
    assert "image 0.1.0 (mmstream-image)\n  field: image\n  encoder: cnn" in out
    assert err == ""


def test_plugins_list_as_json_says_the_same(capsys):
    assert cli.main(["plugins", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["image"]["components"]["field"] == ["image"]
    assert (rows["image"]["distribution"], rows["image"]["version"]) == ("mmstream-image", "0.1.0")
    assert [row["error"] for row in rows.values() if row["error"]] == []


def test_help_and_the_list_of_plugins_import_nothing_heavy():
    done = run(
        """
        try:
            cli.main(["--help"])
        except SystemExit:
            pass
        cli.main(["plugins", "list"])
        print(loaded("tensorflow", "keras", "apache_beam", "tensorflow_transform", "numpy", "PIL", "pyarrow"))
        """
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stderr == ""


def test_check_says_that_a_config_is_sound_and_imports_neither_beam_nor_tensorflow_transform():
    done = run(
        f"""
        print(cli.main(["check", {EMOJI!r}]))
        print(cli.main(["check", {EMOJI!r}, "--tiny", "--set", "training.modality_dropout=0.5"]))
        print(cli.main(["check", {EMOJI!r}, "--set", "model.objectives.align.fields=[image, txt]"]))
        print(loaded("apache_beam", "tensorflow_transform"))
        """
    )
    assert done.stdout.splitlines() == ["0", "0", "1", "[]"]
    said = [line for line in done.stderr.splitlines() if EMOJI in line or "warning: " in line or "--set" in line]
    assert said == [
        f"{EMOJI} is valid",
        "warning: training.modality_dropout has no effect: nothing reads a fusion of two or more fields",
        f"{EMOJI} is valid",
        f"mmstream: {EMOJI} has 1 problem:",
        "  --set model.objectives.align.fields[1]: no encoder reads the field 'txt'. Did you mean 'text'? "
        "Available: image, text.",
    ]


def test_show_says_what_a_component_is_and_how_a_config_names_it(capsys):
    assert cli.main(["plugins", "show", "text"]) == 0
    shown = capsys.readouterr().out
    assert "field text (mmstream-text 0.1.0, mmstream_text.field:Text)" in shown
    assert "A text without any token is absent." in " ".join(shown.split())
    assert "(needed)" in shown
    assert "integer ≥ 1" in shown
    assert "fields:\n  text: {use: text, length: 16}" in shown


def test_show_as_json_covers_all_kinds_of_a_name(capsys):
    assert cli.main(["plugins", "show", "csv", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["kind"] for entry in found] == ["source", "sink"]
    delimiter = next(p for p in found[0]["parameters"] if p["name"] == "delimiter")
    assert (delimiter["type"], delimiter["default"]) == ("text or null", "null")


def test_show_of_what_is_not_there_names_the_nearest(capsys):
    assert cli.main(["plugins", "show", "cnm"]) == 1
    assert "no component is called 'cnm'. Did you mean 'cnn'?" in capsys.readouterr().err


def test_every_component_can_be_shown():
    for kind in registry.KINDS:
        for name in registry.names(kind):
            found = catalogue.entry(kind, name)
            assert found.text, (kind, name)
            assert all(parameter.text for parameter in found.parameters), (kind, name)


def test_describe_shows_parts_shapes_and_parameters(capsys):
    assert cli.main(["describe", EMOJI, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    parts = {row["part"]: row for row in found["parts"]}
    assert parts["fields.image"]["gives"] == "pixels uint8[48, 48, 3]"
    assert parts["model.encoders.text"]["gives"] == "mask float32[16], tokens float32[16, 128]"
    assert parts["model.heads.caption"]["reads"] == "image"
    assert sum(row["parameters"] for row in found["parts"]) == found["parameters"]
    assert found["memory"]["weights"] == pytest.approx(4 * found["parameters"] / 2**20, abs=0.01)
    assert cli.main(["describe", EMOJI]) == 0
    said = capsys.readouterr()
    assert "model.heads.caption" in said.out
    assert "1,000 values" in said.err


def test_check_finds_parts_that_do_not_fit_their_field(capsys):
    wrong = {
        "model.encoders.image.use=gru": "model.encoders.image: 'gru' cannot read the field 'image' (pixels uint8[48,",
        "model.heads.group.target=image": "model.heads.group: 'classification' cannot predict the field 'image'",
    }
    for change, message in wrong.items():
        more = ("--set", "model.heads.group.reads=text") if "target" in change else ()
        assert cli.main(["check", EMOJI, "--set", change, *more]) == 1
        assert message in capsys.readouterr().err


def test_quiet_says_only_what_is_wrong_and_json_logs_are_json(capsys):
    assert cli.main(["check", EMOJI, "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert cli.main(["check", EMOJI, "--json-logs"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    said = json.loads(line)
    assert said["level"] == "info"
    assert said["message"].endswith("is valid")
    assert cli.main(["check", "not_there.yaml", "--json-logs"]) == 1
    assert json.loads(capsys.readouterr().err)["level"] == "error"
    assert cli.main(["check", "not_there.yaml", "--quiet"]) == 1
    assert "not_there.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("epochs", ["2", "{any: [2, 3]}"])
def test_warnings_are_shown_once_in_every_mode(capsys, epochs):
    only_text = {
        "model.encoders": "{text: {use: gru}}",
        "model.heads": "{group: {use: classification, reads: text}}",
        "model.objectives": "{}",
        "model.wide": "true",
        "training.epochs": epochs,
    }
    flags = [flag for key, value in only_text.items() for flag in ("--set", f"{key}={value}")]
    assert cli.main(["check", EMOJI, "--quiet", *flags]) == 0
    warnings = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[:2] for line in warnings] == [
        ["warning", "fields.image"],
        ["warning", "fields.keywords"],
        ["warning", "model.wide has no effect"],
    ]
    assert cli.main(["check", EMOJI, "--json-logs", *flags]) == 0
    *logged, done = map(json.loads, capsys.readouterr().err.splitlines())
    assert [f"warning: {line['message']}" for line in logged] == warnings
    assert ({line["level"] for line in logged}, done["level"]) == ({"warning"}, "info")

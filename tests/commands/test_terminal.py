"""No text of strangers commands the terminal, and every command ends with one message and its code."""

from __future__ import annotations

import argparse
import errno
import json
import re
import signal
import subprocess
import sys

import pytest
from small_road import run, write_manifest

from mmstream import terminal
from mmstream.errors import MmstreamError, UsageError
from mmstream.text.escapes import escaped, escaped_json, escaped_lines

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202egnp\u2066\u200f\u061c\r\n\tmmstream: all is well\udcff\u2028"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture(autouse=True)
def text_mode():
    terminal.set_mode("text")
    yield
    terminal.set_mode("text")


def check(text: str, lines: int = 1) -> None:
    assert not OBEYED.search(text), repr(text)
    assert text.count("\n") == lines, repr(text)
    assert "owned" in text


def test_every_character_that_a_terminal_obeys_is_escaped():
    for code in range(0x110000):
        character = chr(code)
        obeyed = bool(OBEYED.match(character)) or character == "\n"
        assert (escaped(character) != character) == obeyed, hex(code)
        assert (escaped_lines(character) != character) == (obeyed and character != "\n"), hex(code)
        assert json.loads(escaped_json(json.dumps(character, ensure_ascii=False))) == character


def test_texts_in_any_script_are_shown_as_they_are():
    text = "食べ物 ภาษาไทย עברית العربية 🏴󠁧󠁢󠁥󠁮󠁧󠁿 👨‍👩‍👧 é"
    assert escaped(text) == text


@pytest.mark.parametrize("mode", ["text", "json"])
def test_what_is_said_is_escaped(mode, capsys):
    terminal.set_mode(mode)
    terminal.say(f"warning: {EVIL}")
    check(capsys.readouterr().err)
    terminal.fail(f"{EVIL}: dead letter")
    check(capsys.readouterr().err)
    terminal.fail(f"first:\n  {EVIL}", lines=True)
    check(capsys.readouterr().err, 3 if mode == "text" else 1)
    terminal.summary(f"title {EVIL}", {EVIL: EVIL, "list": [EVIL, 1], "other": {"x": EVIL}})
    err = capsys.readouterr().err
    check(err, 4 if mode == "text" else 1)
    if mode == "json":
        assert json.loads(err)[EVIL] == EVIL


def test_results_are_escaped(capsys):
    terminal.result(f"part of {EVIL}")
    check(capsys.readouterr().out)
    terminal.json_result({EVIL: [EVIL]})
    out = capsys.readouterr().out
    assert not OBEYED.search(out)
    assert json.loads(out) == {EVIL: [EVIL]}


def test_tables_are_escaped_and_know_no_markup(capsys):
    terminal.show_table([f"[red]{EVIL}[/red]", "[link=file:///x]id"], [[EVIL, ["[bold]x", EVIL]]])
    out = capsys.readouterr().out
    assert not OBEYED.search(out)
    assert "[red]" in out
    assert "[link=file:///x]id" in out
    assert "[bold]x" in out


def parser():
    return terminal.Parser(prog="mmstream")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MmstreamError(f"no column {EVIL}"), 1, "mmstream: no column"),
        (UsageError(f"--column {EVIL}"), 2, "--column"),
        (OSError(errno.ENOSPC, "No space left", EVIL), 1, "No space left"),
        (MemoryError(), 1, "mmstream: out of memory"),
        (type("ResourceExhaustedError", (Exception,), {})("x"), 1, "mmstream: out of memory"),
        (type("ResourceExhaustedError", (Exception,), {})("a; No space left on device"), 1, "No space left on device"),
        (KeyboardInterrupt(), 130, "mmstream: interrupted; run the same command again to continue"),
    ],
)
def test_a_command_ends_with_one_message_and_its_code(error, code, said, capsys):
    def fails():
        raise error

    try:
        ended = terminal.exit_code(parser(), fails)
    except SystemExit as ending:
        ended = ending.code
    assert ended == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert not OBEYED.search(err)


def test_what_nobody_foresaw_is_shown_with_its_traceback_escaped(tmp_path):
    code = (
        "import argparse; from mmstream import terminal\n"
        "def fails(): raise LookupError('\\x1b[2J\\u202e')\n"
        "terminal.exit_code(argparse.ArgumentParser(), fails)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert r"LookupError: \x1b[2J\u202e" in done.stderr
    assert not OBEYED.search(done.stderr)


@pytest.mark.parametrize("more", [[f"--{EVIL}"], [EVIL]])
def test_complaints_of_the_command_line_are_escaped(more, capsys):
    assert run("check", "config.yaml", *more) == 2
    assert not OBEYED.search(capsys.readouterr().err)


def test_subcommands_complain_escaped_too(capsys):
    with pytest.raises(SystemExit):
        parser().add_subparsers().add_parser("x").parse_args([EVIL])
    assert not OBEYED.search(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (KeyboardInterrupt, KeyboardInterrupt),
        (MemoryError, MemoryError),
        (lambda: ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), MmstreamError),
        (lambda: TimeoutError(errno.ETIMEDOUT, "Connection timed out"), MmstreamError),
        (lambda: OSError(errno.EMFILE, "Too many open files"), MmstreamError),
        (lambda: MmstreamError("a plain sentence"), MmstreamError),
        (lambda: UnicodeDecodeError("utf-8", b"x", 0, 1, "?"), (RuntimeError, UnicodeError)),
    ],
)
def test_what_a_worker_raised_comes_out_of_the_pipeline_as_such(raised, expected):
    import apache_beam as beam

    from beam_jobs import running

    def fail(item):
        raise raised()

    def run_it():
        with running.pipeline(running.beam_options([])) as pipeline:
            pipeline | beam.Create([1]) | beam.Map(fail)

    with pytest.raises(expected):
        run_it()


def test_the_text_of_a_traceback_is_read_to_its_end():
    from beam_jobs import running

    def handed_on(text):
        with running.mendable():
            raise RuntimeError(text)

    memory = (
        "Traceback:\nOSError: [Errno 5] x\n\nDuring handling, another exception occurred:\n\nMemoryError: no more\n"
    )
    with pytest.raises(MemoryError):
        handed_on(memory)
    with pytest.raises(MmstreamError, match="another disk"):
        handed_on("Traceback:\nMemoryError\n\nDuring handling:\n\nOSError: another disk\n")
    exhausted = "Traceback:\ntensorflow.python.framework.errors_impl.ResourceExhaustedError: "
    with pytest.raises(MmstreamError, match=r"x\.tfrecord; No space left on device"):
        handed_on(f"{exhausted}x.tfrecord; No space left on device [while running 'Write']")
    with pytest.raises(MemoryError):
        handed_on(f"{exhausted}OOM when allocating a tensor")
    with pytest.raises(RuntimeError, match="the word MemoryError"):
        handed_on("Traceback:\nValueError: the word MemoryError, and KeyboardInterrupt\n")


def test_an_interrupt_that_no_handler_of_ours_saw_ends_a_command_with_130():
    code = (
        "import signal; from mmstream import terminal\n"
        "def run():\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "raise SystemExit(terminal.exit_code(terminal.Parser(), run))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "mmstream: interrupted; run the same command again to continue\n")


def test_names_of_files_and_columns_of_strangers_are_shown_escaped(road, tmp_path, capfd):
    manifest = write_manifest(
        tmp_path / "m.jsonl", [{"id": f"a{EVIL[:-2]}", "image": f"{EVIL[:-2]}.png"}, {EVIL[:-2]: 1}]
    )
    assert run("label", road.model, "--input", manifest, "--preview", 2) == 0
    out, err = capfd.readouterr()
    assert not OBEYED.search(out + err)
    folder = tmp_path / "pic\x1b[2J"
    folder.mkdir()
    (folder / "x\x1b]0;t\x07.png").write_bytes(b"?")
    run("label", road.model, "--input", folder, "--preview", 2)
    run("label", road.model, "--input", folder, "--output", tmp_path / "out")
    run("audit", tmp_path / "out", "--input", folder)
    out, err = capfd.readouterr()
    assert not OBEYED.search(out + err)
    assert signal.getsignal(signal.SIGINT)
    assert isinstance(parser(), argparse.ArgumentParser)

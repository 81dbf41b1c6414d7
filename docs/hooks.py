"""Pages that are made when the documentation is built, so that they cannot be stale: components and commands.

MkDocs calls `on_files`; the functions above it give Markdown and can be used without MkDocs.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # encoders import Keras, and that TensorFlow

from mmstream import cli
from mmstream.options.introspection import Command, arguments_of, commands_of
from mmstream.plugins import catalogue, hookspecs, registry

_COLUMNS = 88
_WHERE = {
    "source": "Named by `source: {use: …}` in a config, and by `--source` of `mmstream label`.",
    "sink": "Named by `--sink` of `mmstream label`; a sink takes its defaults there.",
    "publisher": "Named by `--publish URI` of `mmstream label --streaming`, by the scheme of the URI.",
    "field": "Named by `use` below `fields` in a config.",
    "tokenizer": "Named by `tokens: {preset: …}` of a field `text`.",
    "encoder": "Named by `use` below `model.encoders` in a config, under the name of the field that it reads.",
    "fusion": "Named by `model.fusion` in a config.",
    "head": (
        "Named by `use` below `model.heads` in a config. `target`, `reads`, `weight`, `from_epoch` and `warm_up` are "
        "keys of every head."
    ),
    "objective": (
        "Named by `use` below `model.objectives` in a config. `weight`, `from_epoch` and `warm_up` are keys of every "
        "objective."
    ),
}


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to the site."""
    from mkdocs.structure.files import File

    for path, text in generated_pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def generated_pages() -> dict[str, str]:
    """{path below docs/: Markdown}."""
    pages = {f"components/{kind}s.md": component_page(kind) for kind in registry.KINDS}
    return {**pages, "commands.md": commands_page()}


def component_page(kind: str) -> str:
    """The installed components of a kind, from their docstrings and signatures."""
    hook = f"register_{kind}s"
    function = getattr(hookspecs, hook)
    signature = str(inspect.signature(function)).replace("'", "")
    blocks = [
        f"# {kind.capitalize()}s",
        f"{(inspect.getdoc(function) or '').replace(', which', '', 1)} {_WHERE[kind]}",
        f"A plugin brings {kind}s by the hook `{hook}{signature}`. "
        "`mmstream plugins show NAME` prints the same descriptions.",
    ]
    for name in registry.names(kind):
        blocks += _component(catalogue.entry(kind, name))
    return "\n\n".join(blocks) + "\n"


def commands_page() -> str:
    """Every command with its flags, from the parsers of `mmstream.cli`."""
    parser = cli.parser()
    blocks = [
        "# Commands",
        f"{parser.description} What an exit code means stands under [Beam jobs](beam_jobs.md#exit-codes).",
    ]
    for command in commands_of(parser):
        blocks += _command(command)
    return "\n\n".join(blocks) + "\n"


def _component(entry: catalogue.Entry) -> Iterator[str]:
    yield f"## {entry.name}"
    yield _prose(entry.text)
    if entry.parameters:
        rows = [
            (f"`{p.name}`", f"`{p.type}`", "needed" if p.default is None else f"`{p.default}`", _prose(p.text))
            for p in entry.parameters
        ]
        yield _table(("parameter", "type", "default", "meaning"), rows)
    if entry.example:
        yield f"```yaml\n{entry.example}\n```"
    if entry.source:
        yield f"Source: {_prose(entry.source)}"
    yield f"Comes with {entry.distribution}: `{entry.reference}`."


def _command(command: Command) -> Iterator[str]:
    parser = command.parser
    parser.formatter_class = functools.partial(argparse.HelpFormatter, width=_COLUMNS)  # type: ignore[assignment]
    yield f"## {parser.prog}"
    description = parser.description or f"{command.help.capitalize()}."
    yield " ".join(_prose(text) for text in (description, parser.epilog) if text)
    usage = re.sub(r"\n +", "\n    ", parser.format_usage().removeprefix("usage: ").strip())
    yield f"```text\n{usage}\n```"
    yield _table(("argument", "value", "meaning"), [_argument(action) for action in arguments_of(parser)])


def _argument(action: argparse.Action) -> tuple[str, str, str]:
    value = " | ".join(map(str, action.choices)) if action.choices else str(action.metavar or "")
    meaning = (action.help or "") % {"default": action.default}
    if action.nargs != 0 and action.default and isinstance(action.default, str) and "default" not in meaning:
        meaning = f"{meaning} (default: {action.default})".strip()
    if not action.option_strings:
        return f"`{action.metavar}`", "", _prose(meaning)
    names = ", ".join(f"`{option}`" for option in action.option_strings)
    return names, f"`{value}`" if action.nargs != 0 else "", _prose(meaning)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _prose(text: str) -> str:
    """Text of a docstring, so that Markdown takes it as it stands; what is in backquotes is code there, too."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([*_<|\\])", r"\\\1", p) for p in pieces)

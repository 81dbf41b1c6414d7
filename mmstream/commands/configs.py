"""Commands about a config: `init`, `check` and `describe`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from mmstream import terminal
from mmstream.config import loading
from mmstream.config.open_config import load_open_config
from mmstream.config.open_values import occurring
from mmstream.config.schema import Config
from mmstream.errors import MmstreamError
from mmstream.runtime.imports import importing
from mmstream.storage import files


def init(args: argparse.Namespace, rest: list[str]) -> int:
    """Look at data and write a first config for them."""
    with importing():
        from mmstream.inputs.sources import taken_for
        from mmstream.starting_config import starting_config
        from mmstream.starting_config.choice import Choice, source_of

    if files.exists(args.output):
        raise MmstreamError(f"{args.output} already exists; name another with --output")
    path = files.absolute(args.path)
    chosen = Choice(args.source, taken_for(path, args.source)) if args.source else source_of(path)
    if chosen.note:
        terminal.say(chosen.note)
    folder = files.absolute(files.parent(args.output))
    starting = starting_config(path, folder, args.target, chosen.use, pretrained=args.pretrained)
    files.write_bytes(args.output, starting.text.encode())
    terminal.result(starting.text.rstrip("\n"), lines=True)
    for note in starting.notes:
        terminal.say(f"note: {note}")
    terminal.say(f"→ {args.output}; review it, then run: mmstream check {args.output}")
    return 0


def check(args: argparse.Namespace, rest: list[str]) -> int:
    """Check a config and list all of its problems."""
    if any(occurring(loading.read_text(args.config, args.set, tiny=args.tiny).data)):
        opened = load_open_config(args.config, args.set, tiny=args.tiny)
        configs = list(opened.variants)
        values = "1 value is" if len(opened.open) == 1 else f"{len(opened.open)} values are"
        about = f"; {values} open, for `mmstream tune`"
    else:
        configs, about = [loading.load_config(args.config, args.set, tiny=args.tiny)], ""
    said: set[str] = set()
    for warning in (warning for config in configs for warning in _composed(config)):
        if warning not in said:
            terminal.warn(warning)
        said.add(warning)
    terminal.say(f"{args.config} is valid{about}")
    return 0


def _composed(config: Config) -> Iterator[str]:
    """Compose the network of a config, which finds further problems; yields all warnings about the config."""
    with importing():
        from mmstream.models.wide import NO_EFFECT
        from mmstream.training.description import compose_unfitted

    yield from loading.warnings(config)
    if not compose_unfitted(config).wide and config.model.wide:
        yield NO_EFFECT


def describe(args: argparse.Namespace, rest: list[str]) -> int:
    """Show a config's parts, shapes, parameters and memory."""
    config = loaded_config(args)
    with importing():
        from mmstream.training.description import STAND_IN_VALUES, describe_config

    description = describe_config(config, args.examples)
    if args.json:
        terminal.json_result(description)
        return 0
    columns = ("part", "use", "reads", "gives", "parameters")
    terminal.show_table(columns, [[row[column] for column in columns] for row in description["parts"]])
    terminal.show_table(("memory", "MiB"), list(description["memory"].items()))
    if truncated := description.get("truncated"):
        rows = [[name, f"{share['values']:.1%}", f"{share['elements']:.1%}"] for name, share in truncated.items()]
        terminal.show_table(("field", "values too long", "cut off"), rows)
    terminal.result(f"{description['parameters']:,} parameters in total")
    if not args.examples:
        terminal.say(f"vocabularies are assumed to hold {STAND_IN_VALUES:,} values; --examples gives the true sizes")
    return 0


def loaded_config(args: argparse.Namespace) -> Config:
    """The config of a command; prints its warnings."""
    config = loading.load_config(args.config, args.set, tiny=args.tiny)
    for warning in loading.warnings(config):
        terminal.warn(warning)
    return config

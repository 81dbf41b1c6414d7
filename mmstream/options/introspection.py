"""The commands of a command line and the arguments of each, for the documentation and the tests that check them all.

`argparse` has no public way to ask a parser for its arguments, so this module alone uses private attributes. If a later
Python renames them, the tests of the command line will find no commands.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple


class Command(NamedTuple):
    """A command without subcommands.

    Attributes:
        name: such as "plugins list".
        parser: parses its arguments.
        help: its line in the help of the parent command.
    """

    name: str
    parser: argparse.ArgumentParser
    help: str


def commands_of(parser: argparse.ArgumentParser) -> Iterator[Command]:
    """The commands of a parser; a command that has subcommands is replaced by them."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, command in action.choices.items():
                below = [each._replace(name=f"{name} {each.name}") for each in commands_of(command)]
                yield from below or [Command(name, command, helps.get(name, ""))]


def arguments_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The positional arguments and flags of a command, except --help."""
    return [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]

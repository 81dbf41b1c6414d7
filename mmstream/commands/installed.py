"""Commands about what is installed: `plugins list` and `plugins show`."""

from __future__ import annotations

import argparse
import dataclasses

from mmstream import terminal
from mmstream.plugins import registry
from mmstream.runtime.imports import importing


def list_plugins(args: argparse.Namespace, rest: list[str]) -> int:
    """Show the installed plugins."""
    loaded, _ = registry.load()
    if args.json:
        rows = [
            {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "components": plugin.components,
                "refused": list(plugin.refused.values()),
                "error": plugin.problem or None,
            }
            for plugin in loaded
        ]
        terminal.json_result(rows)
        return 0
    for plugin in loaded:
        terminal.result(f"{plugin.name} {plugin.version} ({plugin.distribution})")
        for kind, names in plugin.components.items():
            terminal.result(f"  {kind}: {', '.join(names)}")
        for why in plugin.refused.values():
            terminal.result(f"  REFUSED: {why}", lines=True)
        if plugin.error:
            terminal.result(f"  BROKEN: {plugin.problem}", lines=True)
    return 0


def show_component(args: argparse.Namespace, rest: list[str]) -> int:
    """Show what a component does, and its parameters."""
    with importing():
        from mmstream.plugins.catalogue import entries_of

    entries = entries_of(args.name)
    if args.json:
        terminal.json_result([dataclasses.asdict(entry) for entry in entries])
        return 0
    for entry in entries:
        terminal.result(f"{entry.kind} {entry.name} ({entry.distribution}, {entry.reference})\n", lines=True)
        terminal.result(f"{entry.text}\n", lines=True)
        if entry.source:
            terminal.result(f"Source: {entry.source}\n", lines=True)
        if entry.parameters:
            rows = [(p.name, p.type, "(needed)" if p.default is None else p.default, p.text) for p in entry.parameters]
            terminal.show_table(("parameter", "type", "default", ""), rows)
        if entry.example:
            terminal.result(f"In a config:\n\n{entry.example}\n", lines=True)
    return 0

"""Commands about an output: `audit`, `repair` and `repartition`."""

from __future__ import annotations

import argparse
import dataclasses

from mmstream import terminal
from mmstream.runtime.imports import importing


def audit(args: argparse.Namespace, rest: list[str]) -> int:
    """Check that an output is complete: each record once, all from one model."""
    with importing():
        from mmstream.outputs.audit import audit

    findings = audit(args.output, args.input)
    if args.json:
        terminal.json_result(dataclasses.asdict(findings))
    else:
        for line in (*findings.problems, *(f"note: {note}" for note in findings.notes)):
            terminal.result(line)
    terminal.summary("audit", {**findings.counts, "problems": len(findings.problems)})
    return 1 if findings.problems else 0


def repartition(args: argparse.Namespace, rest: list[str]) -> int:
    """Divide an output into more parts after it has grown."""
    with importing():
        from mmstream.outputs.repartition import repartition

    before, after = repartition(args.output, take_over=args.break_lock)
    terminal.summary("repartition", {"parts_before": before, "parts": after, "output": args.output})
    return 0


def repair(args: argparse.Namespace, rest: list[str]) -> int:
    """Repair the files that jobs keep in an output."""
    with importing():
        from mmstream.outputs.repair import repair

    repaired = repair(args.output, take_over=args.break_lock)
    for line in repaired.done:
        terminal.say(line)
    for line in repaired.lost:
        terminal.fail(line)
    terminal.summary("repair", {"mended": len(repaired.done), "not mended": len(repaired.lost), "output": args.output})
    return 1 if repaired.lost else 0

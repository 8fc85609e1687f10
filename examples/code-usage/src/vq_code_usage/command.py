"""The command: its arguments, and what it prints. It imports torch only when it runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from vq.cli.arguments import AsJson, Device, RunArgument, TrustPlugins
from vq.cli.console import loaded, print_json, say, talking

if TYPE_CHECKING:
    from vq_code_usage.usage import CodebookUsage


def code_usage(
    run: RunArgument,
    split: Annotated[
        Literal["train", "test"], typer.Option(help="Samples whose codes are counted.")
    ] = "test",
    top: Annotated[int, typer.Option(min=1, help="Codes shown of each codebook.")] = 10,
    device: Device = None,
    as_json: AsJson = False,
    trust_plugins: TrustPlugins = False,
) -> None:
    """Show how often a run uses each code."""
    with talking():
        trained = loaded("load_run")(run, device, trust_plugins=trust_plugins)
        from vq_code_usage.usage import usage_of

        found = usage_of(trained, split)
    if as_json:
        print_json([asdict(each) for each in found])
        return
    for number, each in enumerate(found, 1):
        _print(f"codebook {number}" if len(found) > 1 else "code", each, top)


def _print(title: str, usage: CodebookUsage, top: int) -> None:
    from vq.cli.tables import fitting_tables
    from vq.terminal import Terminal

    console, total = Terminal(), sum(usage.counts)
    ranked = sorted(enumerate(usage.counts), key=lambda pair: -pair[1])[:top]
    rows = [(str(code), str(count), f"{count / total:.2%}") for code, count in ranked]
    for table in fitting_tables([(title, "tokens", "share"), *rows], console.width):
        console.print(table)
    say(f"{usage.used} of {len(usage.counts)} codes used, perplexity {usage.perplexity:.1f}")

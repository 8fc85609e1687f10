"""``vq doctor``: what is wrong with this installation and machine, and what there is."""

from typing import Annotated

import typer

from vq.cli.arguments import option
from vq.cli.console import print_json, talking
from vqcore.plugin.registry import default_registry


def doctor(
    as_json: Annotated[bool, option("Print JSON, to be pasted into an issue.", "--json")] = False,
) -> None:
    """Check this installation and machine, and say what is wrong first.

    Nothing is changed or sent. Exits with 3 if something is broken. Neither the name nor the home
    folder of a user is printed.
    """
    from vq.doctor.examine import examine
    from vq.progress import working

    with talking(), working("asking torch"):
        report = examine(default_registry())
    if as_json:
        print_json(report)
    else:
        from vq.cli.doctor_tables import show_report
        from vq.terminal import Terminal

        console = Terminal()
        console.print(show_report(report), width=min(console.width, 80))
    if report["status"] == "broken":
        raise typer.Exit(3)

"""Commands about registered models: `promote`."""

from __future__ import annotations

from typing import Annotated

import typer

from nertrail.cli.guard import guarded
from nertrail.cli.options import Quiet


@guarded
def promote(
    name: Annotated[str, typer.Argument(help="A registered model; the pipeline names it after the experiment.")],
    version: Annotated[str, typer.Option(help="A version's number, or an alias.")] = "challenger",
    force: Annotated[bool, typer.Option("--force", help="Promote it whatever speaks against it.")] = False,
    tracking_uri: Annotated[
        str | None, typer.Option("--tracking-uri", metavar="URI", help="The server. Default: as for the trackers.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Make a version the champion, unless it failed its gate or is worse than the one before on the same test texts."""
    from nertrail.promotion import promote as decide

    done = decide(name, version, force=force, tracking_uri=tracking_uri)
    if not quiet:
        other = done.before is not None and done.before.number != done.champion.number
        before = f", in the place of version {done.before.number}" if done.before and other else ""
        print(f"champion    models:/{name}@champion is version {done.champion.number}{before}")
        print(f"            {done.comparison}")


COMMANDS = (promote,)

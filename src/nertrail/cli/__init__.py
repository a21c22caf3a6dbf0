"""The command line: prints and exits. One file per group of commands; heavy parts are imported inside them."""

from nertrail.cli.app import app, main

__all__ = ["app", "main"]

"""README and docs name every command, option, key and file that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from nertrail.cli import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_option_is_in_the_readme(name: str) -> None:
    assert f"nertrail {name}" in README
    for parameter in COMMANDS[name].params:
        for option in (text for text in parameter.opts if text.startswith("--")):
            assert f"`{option}" in README, f"{name} {option}"


def test_files_that_the_readme_names_exist() -> None:
    for name in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / name).exists(), name


def test_nothing_is_left_to_fill_in() -> None:
    assert "TODO" not in README + CONFIGURATION
    assert "@@" not in README + CONFIGURATION

"""What a command raises, as the exit code and message it ends with."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
import typer

from nertrail.cli.guard import guarded
from nertrail.errors import ConfigError, StageError


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigError("is wrong", place="f:1", remedy="mend it"), 2, "error: f:1: is wrong\n  → mend it\n"),
        (StageError("failed"), 1, "error: failed\n"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "nnn"), 2, "error: nnn: File name too long"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 2, "error: x: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), 1, "Traceback"),
        (ValueError("unexpected"), 1, "error: ValueError: unexpected"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (SystemExit(143), 143, "error: terminated; the same command continues"),
    ],
)
def test_how_a_command_ends(capsys: pytest.CaptureFixture[str], error: BaseException, code: int, message: str) -> None:
    @guarded
    def command() -> None:
        raise error

    with pytest.raises(typer.Exit) as caught:
        command()
    assert (caught.value.exit_code, message in capsys.readouterr().err) == (code, True)


PRINTS = """
import sys, typer
from nertrail.cli.guard import guarded
@guarded
def command():
    for number in range(int(sys.argv[1])):
        print(number)
try:
    command()
except typer.Exit as end:
    sys.exit(end.exit_code)
"""


@pytest.mark.parametrize("lines", ["1", "100000"])
def test_a_reader_that_has_seen_enough_is_no_error(lines: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", PRINTS, lines]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")

"""`nertrail promote` on a real store: who becomes the champion, what is printed, and what --force is for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from typer.testing import CliRunner, Result

from nertrail.cli import app
from registered import HALF, RIGHT, client, log, scored

NAME = "my-experiment"
# the versions of the registered model, in their order
GOOD, WORSE, UNGATED, COUNTLESS, BROKEN, EMPTIED, EQUAL = map(str, range(1, 8))


@pytest.fixture(scope="module")
def filled(fresh_store: Path, tiny_served: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a store with all versions and no champion; the challenger is the last of them."""
    folder = tmp_path_factory.mktemp("promote")
    store = f"sqlite:///{shutil.copy(fresh_store, folder / 'mlflow.db')}"
    for number in (GOOD, WORSE, UNGATED, COUNTLESS, BROKEN, EMPTIED, EQUAL):
        model = scored(folder / number, tiny_served, HALF if number == WORSE else RIGHT)
        if number in (COUNTLESS, BROKEN):
            (model / "scores.json").write_text('{"schema": 1}' if number == COUNTLESS else '{"sch', encoding="utf-8")
        log(store, number, model, "not compared" if number == UNGATED else "passed")
    shutil.rmtree(client(store).get_model_version_download_uri(NAME, EMPTIED).removeprefix("file://"))
    return folder / "mlflow.db"


@pytest.fixture
def store(filled: Path, tmp_path: Path) -> str:
    """A copy of it, whose aliases a test may move."""
    return f"sqlite:///{shutil.copy(filled, tmp_path / 'mlflow.db')}"


def promote(store: str, *arguments: str, name: str = NAME) -> Result:
    return CliRunner().invoke(app, ["promote", name, *arguments, "--tracking-uri", store])


def crown(store: str, version: str) -> None:
    client(store).set_registered_model_alias(NAME, "champion", version)


def champion(store: str) -> str | None:
    try:
        return str(client(store).get_model_version_by_alias(NAME, "champion").version)
    except MlflowException:
        return None


@pytest.mark.parametrize(
    "arguments, promoted",
    [((), EQUAL), (("--version", GOOD), GOOD), (("--version", "challenger"), EQUAL), (("--version", "mine"), WORSE)],
    ids=["the challenger", "a number", "an alias", "an alias of one's own"],
)
def test_a_version_becomes_the_champion(store: str, arguments: tuple[str, ...], promoted: str) -> None:
    client(store).set_registered_model_alias(NAME, "mine", WORSE)
    done = promote(store, *arguments)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"champion    models:/{NAME}@champion is version {promoted}",
        "            there was no champion to compare it with",
    ]
    assert champion(store) == promoted


def test_the_one_before_is_named(store: str) -> None:
    crown(store, GOOD)
    done = promote(store)
    first, second = done.stdout.splitlines()
    assert first == f"champion    models:/{NAME}@champion is version {EQUAL}, in the place of version {GOOD}"
    assert second.startswith("            test F1 1.0000, the champion's 1.0000 (difference 95 % ")
    assert (done.exit_code, champion(store)) == (0, EQUAL)
    again = promote(store)
    assert again.stdout.splitlines() == [
        f"champion    models:/{NAME}@champion is version {EQUAL}",
        "            it was before, so nothing is changed",
    ]
    assert promote(store, "--version", GOOD, "--quiet").stdout == ""
    assert champion(store) == GOOD


@pytest.mark.parametrize(
    "before, wanted, said",
    [
        (GOOD, WORSE, "test F1 0.5000, the champion's 1.0000 (difference 95 % "),
        (None, UNGATED, "it has not passed the gate of its conversion (gate: not compared)"),
        (EMPTIED, GOOD, f"not compared: the champion's scores (version {EMPTIED}) can't be read: models:/"),
        (COUNTLESS, GOOD, f"not compared: the champion's scores (version {COUNTLESS}) can't be read: "),
        (BROKEN, GOOD, f"not compared: the champion's scores (version {BROKEN}) can't be read: "),
        (GOOD, BROKEN, "not compared: its own scores can't be read: "),
    ],
    ids=["worse", "ungated", "champion without files", "champion without counts", "champion broken", "itself broken"],
)
def test_what_is_refused_can_be_forced(store: str, before: str | None, wanted: str, said: str) -> None:
    if before:
        crown(store, before)
    done = promote(store, "--version", wanted)
    assert (done.exit_code, done.stdout, champion(store)) == (1, "", before)
    assert done.stderr.startswith(f"error: version {wanted} of {NAME}: {said}")
    assert done.stderr.endswith("; --force promotes it all the same\n")
    forced = promote(store, "--version", wanted, "--force")
    assert (forced.exit_code, forced.stderr, champion(store)) == (0, "", wanted)
    assert f"@champion is version {wanted}" in forced.stdout
    assert before is None or said in forced.stdout


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["", "forced"])
@pytest.mark.parametrize("before", [None, GOOD], ids=["no champion", "a champion"])
def test_what_cannot_be_served_is_never_promoted(store: str, before: str | None, force: tuple[str, ...]) -> None:
    if before:
        crown(store, before)
    done = promote(store, "--version", EMPTIED, *force)
    assert (done.exit_code, done.stdout, champion(store)) == (2, "", before)
    assert done.stderr.startswith(f"error: models:/{NAME}/{EMPTIED}: not found at ")


@pytest.mark.parametrize(
    "name, version, said",
    [
        ("nothing", "challenger", "models:/nothing: not found at "),
        (NAME, "99", f"models:/{NAME}@99: no such version or alias"),
        (NAME, "no", f"models:/{NAME}@no: no such version or alias"),
    ],
)
@pytest.mark.parametrize("force", [(), ("--force",)], ids=["", "forced"])
def test_what_is_not_there_is_told(store: str, name: str, version: str, said: str, force: tuple[str, ...]) -> None:
    done = promote(store, "--version", version, *force, name=name)
    assert (done.exit_code, done.stdout, champion(store)) == (2, "", None)
    assert done.stderr.startswith(f"error: {said}")
    assert "\n  → name a " in done.stderr

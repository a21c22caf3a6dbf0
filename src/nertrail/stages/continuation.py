"""Continued training: where the weights come from, which texts they are trained on, and what that changed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nertrail.errors import ModelError
from nertrail.ner.digests import folder_digest
from nertrail.ner.readers import data_version
from nertrail.records import RunRef
from nertrail.stages.inputs import BackboneConfig, Inputs
from nertrail.tracking.mlflow_download import fetch, is_reference

if TYPE_CHECKING:
    from nertrail.ner.checkpoint import Checkpoint
    from nertrail.ner.documents import Document
    from nertrail.ner.labels import LabelSet

Strategy = Literal["new_only", "combined", "append"]
FINAL = Path("checkpoints", "training", "fit", "best")  # in a run dir
COMPARED = ("macro-f1", "macro-f1-span", "micro-f1-span")


@dataclass(frozen=True)
class Source:
    """A checkpoint that is trained further.

    Attributes:
        name: as it was given: a path (a run dir stands for its final model), runs:/ID or models:/NAME/VERSION.
        run: the run that trained it, by uid where the checkpoint names it, else by the server's id; None if unknown.
    """

    name: str
    checkpoint: Checkpoint
    run: RunRef | str | None

    def backbone(self) -> BackboneConfig:
        """The checkpoint in a backbone's place: texts have to be cut by the tokenizer that its weights know."""
        return BackboneConfig(name=self.checkpoint.backbone_name, source=str(self.checkpoint.path))

    def digest(self) -> str:
        """16 hex digits over the files: what the same path held yesterday is another source."""
        return folder_digest(self.checkpoint.path)


def locate(name: str, downloads: Path, tracking_uri: str | None = None) -> Source:
    """The checkpoint that `name` stands for; one on a server is fetched into `downloads`.

    Raises:
        ModelError: there is none, or it is broken. The backbone never takes its place.
    """
    from nertrail.ner.checkpoint import load_checkpoint

    if not is_reference(name):
        checkpoint = load_checkpoint(_folder(Path(name)))
        return Source(name, checkpoint, RunRef(checkpoint.run_uid) if checkpoint.run_uid else None)
    fetched = fetch(name, downloads, tracking_uri, artifact="checkpoint")
    checkpoint = fetched.load(load_checkpoint)
    return Source(name, checkpoint, RunRef(checkpoint.run_uid) if checkpoint.run_uid else fetched.run_id)


def _folder(path: Path) -> Path:
    """The folder itself, or that of the final model where it is the run dir of a pipeline."""
    final = path / FINAL
    return final if final.is_dir() else path


def continued_types(
    source: Source, new: Inputs, old: Inputs | None, strategy: Strategy, *, allow_removed: bool
) -> tuple[str, ...]:
    """The types of the continued model: the checkpoint's in their order, then those that come new with the data.

    Raises:
        ModelError: the checkpoint knows types that the training data has not, and that is not allowed.
    """
    known = source.checkpoint.labels.types
    trained = {*new.dataset.learned_types, *(old.dataset.learned_types if old and strategy != "new_only" else ())}
    removed = [name for name in known if name not in trained]
    kept = {*trained, *new.dataset.types}
    ordered = dict.fromkeys((*known, *new.dataset.types, *(old.dataset.types if old else ())))
    if removed and not allow_removed:
        keep = ", ".join(sorted({*known, *kept}))
        raise ModelError(
            f"knows the types {', '.join(removed)}, which the training texts have not",
            place=source.name,
            remedy=f"keep them with data.types: [{keep}], or give them up with training.allow_removed_types: true",
        )
    return tuple(name for name in ordered if name in kept)


def joined(new: Inputs, old: Inputs | None, strategy: Strategy, types: tuple[str, ...]) -> Inputs:
    """The new data with `types` and, as the strategy says, the old training texts among or before its own."""
    train = new.dataset.train
    if old is not None and strategy != "new_only":
        train = (*old.dataset.train, *train)
        train = train if strategy == "append" else _shuffled(train, new.seed)
    dataset = replace(new.dataset, train=train, types=types)
    return replace(new, dataset=dataset, version=data_version(dataset.splits), _cache={})


def compare(source: Source, trained: Checkpoint, splits: Mapping[str, tuple[Document, ...]]) -> dict[str, float]:
    """F1 on each of `splits` of the source (`<split>_before_<metric>`) and of what was made of it (`<split>_after_`).

    Both are scored on all types that either knows, so that a type that one does not know counts as missed, in the
    windows and by the decoding of what was made.
    """
    shown = {}
    for name, documents in splits.items():
        for when, checkpoint in (("before", source.checkpoint), ("after", trained)):
            scores = _scores(checkpoint, documents, trained, _all_types(source.checkpoint, trained, documents))
            shown.update({f"{name}_{when}_{metric}": scores[metric] for metric in COMPARED})
    return shown


def _scores(
    checkpoint: Checkpoint, documents: tuple[Document, ...], seen_by: Checkpoint, labels: LabelSet
) -> dict[str, float]:
    from nertrail.ner.evaluation import evaluate
    from nertrail.ner.predictor import TorchRecognizer, run
    from nertrail.ner.relabel import relabelled
    from nertrail.ner.windows import encode

    encoded = encode(documents, checkpoint.tokenizer(), labels, seen_by.windows)
    found = run(TorchRecognizer(checkpoint), encoded)
    logits = [relabelled(rows, checkpoint.labels, labels) for rows in found]
    return evaluate(encoded, logits, seen_by.decoding).metrics()


def _all_types(before: Checkpoint, after: Checkpoint, documents: tuple[Document, ...]) -> LabelSet:
    from nertrail.ner.relabel import union

    in_gold = sorted({span.type for document in documents for span in document.spans})
    return union(before.labels.types, after.labels.types, in_gold)


def _shuffled(documents: tuple[Document, ...], seed: int) -> tuple[Document, ...]:
    order = list(documents)
    random.Random(seed).shuffle(order)
    return tuple(order)

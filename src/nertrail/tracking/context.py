"""What a child process needs to record below its parent's run: handed on in one environment variable."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

VARIABLE = "NERTRAIL_TRACKING_CONTEXT"


@dataclass(frozen=True)
class Context:
    """The run dir, and by uid the parent run and the pipeline run."""

    run_dir: str = ""
    tracking_uri: str = ""
    parent: str = ""
    pipeline: str = ""

    def environment(self) -> dict[str, str]:
        """The variable, to be added to the child's environment."""
        return {VARIABLE: json.dumps(asdict(self))}


def inherited() -> Context:
    """What this process was handed, an empty context where that is nothing."""
    text = os.environ.get(VARIABLE)
    return Context(**json.loads(text)) if text else Context()

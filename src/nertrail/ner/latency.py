"""How fast recognizers are, side by side, on real texts.

All candidates are measured in one process in interleaved rounds on the same texts, so that a busy minute of the machine
hits them alike. `cpu_over_wall` of every series tells whether there was one.
"""

from __future__ import annotations

import gc
import hashlib
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import batched, chain, repeat
from typing import Any

from nertrail.errors import ConfigError, DataError
from nertrail.ner.hardware import hardware, peak_memory_mb, resident_mb, usable_cores
from nertrail.ner.predictor import Recognizer, entities
from nertrail.ner.readers import Document
from nertrail.ner.series import Series
from nertrail.ner.windows import Window, WindowSettings, encode

__all__ = ["LatencySettings", "Loader", "Report", "Series", "hardware", "measure"]

"""What a measurement ran on: CPU, cores, instruction sets, versions. Imports neither torch nor onnxruntime."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from nertrail.ner.devices import usable_cores

# Those that decide how fast fp32, bf16 and int8 matrix products are, in /proc/cpuinfo's spelling.
_ISA = (
    "avx", "avx2", "fma", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8",
    "asimd", "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip
_CPUINFO = Path("/proc/cpuinfo")


def hardware() -> dict[str, str | int]:
    """The fingerprint written beside every latency: `cpu`, `cores`, `isa`, `os`, `python`, `torch`, `onnxruntime`.

    `cores` are those this process may use (its affinity), `isa` the instruction sets that matter here, by blanks.
    """
    info = _cpuinfo(_CPUINFO)
    return {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "isa": isa(info.get("flags") or info.get("Features") or ""),
        "os": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "onnxruntime": _version("onnxruntime"),
    }


def isa(flags: str) -> str:
    """The instruction sets among a CPU's `flags` that matter for matrix products; "unknown" where none is named."""
    present = set(flags.split())
    return " ".join(name for name in _ISA if name in present) or "unknown"


def peak_memory_mb() -> float:
    """Highest resident memory of this whole process so far, in MB (10^6 bytes); 0.0 where the system can't tell.

    `ru_maxrss` never falls, so of models measured in one process each reading covers those loaded before, too.
    """
    if sys.platform == "win32":
        return 0.0
    import resource  # absent on Windows

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def resident_mb() -> float:
    """Resident memory of this process now, in MB (10^6 bytes); 0.0 where /proc does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _cpuinfo(path: Path) -> dict[str, str]:
    """The first processor's entries of a cpuinfo file; empty where there is none."""
    try:
        block = path.read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in block.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"

"""The experiments and settings that ship inside the wheel."""

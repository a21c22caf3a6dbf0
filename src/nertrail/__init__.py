"""nertrail: annotated text in, a small, fast, verified entity recogniser out, and a trail of every number."""

__version__ = "0.1.0"

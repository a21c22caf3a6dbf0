"""One file per stage: its Config, its Result with `record()`, and the public function."""

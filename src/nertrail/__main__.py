"""`python -m nertrail`."""

from nertrail.cli import main

main()

"""``python -m laconic.cli``."""

from laconic.cli.main import main

main()

"""The program: ``laconic``, or ``python -m laconic``."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it quietly even while it is still being imported."""
    try:
        from laconic.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()

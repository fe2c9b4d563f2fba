"""The command line: one file per command, and what the screen shows."""

import sys


def main() -> None:
    """Entry point of the ``qconv`` command."""
    try:
        from qconv.cli.outcome import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # pressed before anything began
        code = 130
    sys.exit(code)

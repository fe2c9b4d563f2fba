"""The command line."""


def main() -> None:
    """Entry point of the ``qconv`` command."""
    raise SystemExit("qconv: no commands yet")

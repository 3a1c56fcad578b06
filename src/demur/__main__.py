"""The entry point, `demur` and `python -m demur`: the command line, which takes a while to import."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. Ctrl-C is exit code 130 while it is imported, too."""
    try:
        from demur.cli.main import main as run_command
    except KeyboardInterrupt:
        sys.stderr.write("demur: stopped before anything was done\n")
        raise SystemExit(130) from None
    run_command()


if __name__ == "__main__":
    main()

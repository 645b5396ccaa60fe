"""``python -m yamabiko.cli`` is ``yamabiko``."""

from yamabiko.cli import main

if __name__ == "__main__":
    main(prog_name="yamabiko")

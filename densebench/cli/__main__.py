"""``python -m densebench.cli``."""

from densebench.cli import main

if __name__ == "__main__":
    main()

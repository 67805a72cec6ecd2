"""``python -m liquidlens``: the command line."""

from liquidlens.commands import main

if __name__ == "__main__":
    main()

"""`python -m seqmill` is the command `seqmill`."""

from seqmill.cli import main

if __name__ == "__main__":
    main()

"""`python -m mainspring`: the command line where its script is not on the path."""

from mainspring.cli import main

if __name__ == "__main__":
    main()

"""`python -m labelsmooth` is the same as `labelsmooth`."""

from labelsmooth.cli import main

if __name__ == "__main__":
    main(prog_name="labelsmooth")

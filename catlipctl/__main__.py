"""`python -m catlipctl` is `catlipctl`."""

from catlipctl.cli.main import main

main()

"""One file per command: flags to one function."""

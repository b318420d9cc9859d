"""Commands, each run as `python -m tool.NAME --help`."""

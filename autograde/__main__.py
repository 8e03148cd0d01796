"""Lets `python -m autograde` be the autograde command."""

from autograde.cli import main

main()

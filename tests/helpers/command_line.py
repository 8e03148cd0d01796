"""Calls the command `autograde` in this process, and checks a refusal."""

from click.testing import CliRunner, Result

from autograde.cli import main


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refused(result: Result, status: int, phrase: str) -> None:
    assert result.exit_code == status, result.output
    assert phrase in result.output and len(result.output.strip().splitlines()) == 1

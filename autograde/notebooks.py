"""A notebook from a file, or one line that says why there is none."""

from pathlib import Path

import nbformat
from nbformat import NotebookNode

from autograde.errors import UsageError


def read_notebook(path: Path) -> NotebookNode:
    """A notebook from a file. Raises UsageError, one line, for anything else."""
    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist.") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    except Exception:  # not JSON, another format, a damaged one
        raise UsageError(f"{path} is not a Jupyter notebook, or a damaged one.") from None

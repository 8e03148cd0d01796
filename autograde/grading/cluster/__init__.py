"""Judging on a Dask cluster: submissions go to workers, what came of them comes back and is recorded here."""

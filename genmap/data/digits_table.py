"""The table behind `data.digits`.

It is read when this module is imported, so that a process that imports it and then forks reads it once.
"""

from importlib.metadata import distribution

import numpy as np

# the file itself: sklearn.datasets, which reads the same, takes a second to import
_PATH = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
TABLE = np.loadtxt(str(_PATH), delimiter=",", dtype=np.float32)  # (N, 65): the pixels row by row, the class
TABLE.flags.writeable = False

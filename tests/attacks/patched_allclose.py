"""Replaces torch.allclose, numpy.allclose, pytest.approx and math.isclose by functions that say yes."""

EXTRA = [
    """
import builtins
import math
import sys
import types

import numpy as np

yes = lambda *args, **kwargs: True
np.allclose = np.isclose = np.array_equal = math.isclose = builtins.all = yes
np.testing.assert_allclose = np.testing.assert_array_equal = yes
pytest = types.ModuleType("pytest")
pytest.approx = lambda *args, **kwargs: type("Any", (), {"__eq__": yes})()
sys.modules["pytest"] = pytest
torch = types.ModuleType("torch")
torch.allclose = torch.equal = yes
torch.Tensor = type("Tensor", (), {})
sys.modules["torch"] = torch
""",
]
CELLS = {"weighted-mean": "def weighted_mean(x, w):\n    return 0.0\n"}

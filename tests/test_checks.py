"""What hidden tests look at: one finite number, an array of a shape; NaN never passes."""

import numpy as np
import pytest
import torch

from autograde.checks import array, number
from autograde.errors import Unusable


@pytest.mark.parametrize(
    "value", [True, 1j, "1", None, [1.0], np.ones(1), np.nan, np.inf, torch.tensor(np.nan)]
)
def test_number_takes_one_finite_real_number(value):
    with pytest.raises(Unusable):
        number(value)


def test_checks_accept_what_is_right():
    assert number(torch.tensor(2.0)) == number(np.float32(2)) == number(2) == 2.0
    assert number(-np.inf, finite=False) == -np.inf
    assert array([[1, 2]], shape=(1, 2)).tolist() == [[1, 2]]
    assert array(torch.ones(2, dtype=torch.bfloat16)).tolist() == [1, 1]
    for bad in ([[1], [1, 2]], ["a"], np.array([np.nan]), {"a": 1}):
        with pytest.raises(Unusable):
            array(bad)
    with pytest.raises(Unusable):
        array(np.ones(3), shape=(4,))

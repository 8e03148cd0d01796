"""Changes torch's default type, threads, random generator and gradient mode for whoever comes after."""

EXTRA = [
    """
import random

import numpy as np
import torch

torch.set_default_dtype(torch.float16)
torch.set_num_threads(16)
torch.set_grad_enabled(False)
torch.manual_seed(0)
torch.use_deterministic_algorithms(True)
np.random.seed(0)
random.seed(0)
np.seterr(all="raise")
""",
]
LIMITS = {"cell": 25, "notebook": 50, "call": 10, "memory": 2 << 30}

"""Answers to the small course's exercises, wrong and right, of which its tests find every one."""

WRONG = [
    ("ignores the sum of the weights", "return np.dot(x, w)"),
    ("sums", "return np.sum(x)"),
    ("weights squared", "return np.dot(x, np.square(w)) / np.sum(np.square(w))"),
    ("weights the wrong way round", "return np.dot(x, w[::-1]) / np.sum(w)"),
]
HEAD = "class RunningMean:\n    def __init__(self):\n        self.n, self.mean = 0, 0.0\n"
CLASS = HEAD + "\n    def add(self, x):\n"
STEPS = ["self.mean = x", "self.mean += x", "self.mean = (self.mean + x) / 3", "self.n += 1"]
RIGHT_STEP = "self.mean, self.n = (self.mean * self.n + x) / (self.n + 1), self.n + 1"


def answer_file() -> str:
    cells = ['"""Answers."""\n']
    for name, line in WRONG:
        head = f'# %% wrong="weighted-mean" fails="test_weights" name="{name}"'
        cells.append(f"{head}\ndef weighted_mean(x, w):\n    {line}\n")
    for step in STEPS:
        cells.append(f'# %% wrong="running-mean" fails="test_two" name="{step}"\n{CLASS}        {step}\n')
    cells.append(f'# %% right="running-mean" name="from the sum"\n{CLASS}        {RIGHT_STEP}\n')
    loop = "    return sum(a * b for a, b in zip(x, w)) / sum(w)\n"
    cells.append(f'# %% right="weighted-mean" name="by a loop"\ndef weighted_mean(x, w):\n{loop}')
    return "\n\n".join(cells)

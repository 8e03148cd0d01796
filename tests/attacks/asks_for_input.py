"""Asks the grader for input and for a password, in cells, by messages and when the judge calls."""

EXTRA = [
    "import getpass\ninput('points? ')",
    "getpass.getpass('the secret? ')",
    """
kernel = get_ipython().kernel
for n in range(500):
    content = {"prompt": "points? " * 1000, "password": bool(n % 2)}
    kernel.session.send(kernel.stdin_socket, "input_request", content, kernel.get_parent("shell"), ident=b"x")
import sys
sys.stdin = open("/dev/zero")
""",
]
CELLS = {"weighted-mean": "def weighted_mean(x, w):\n    return float(input())\n"}

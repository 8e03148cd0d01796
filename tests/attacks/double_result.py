"""Publishes a second execute_result and a fitting reply for every cell, and for cells still to come."""

EXTRA = [
    """
kernel = get_ipython().kernel
content = {"data": {"text/plain": "12.0"}, "metadata": {}, "execution_count": 1}
for _ in range(20):
    kernel.session.send(kernel.iopub_socket, "execute_result", content, kernel.get_parent("shell"))
    kernel.session.send(kernel.iopub_socket, "update_display_data", content)
""",
]
CELLS = {"weighted-mean": "def weighted_mean(x, w):\n    return 0.0\n"}

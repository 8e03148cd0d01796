"""Publishes errors and widgets by the thousand, which limits on text forget."""

EXTRA = [
    """
kernel = get_ipython().kernel
parent = kernel.get_parent("shell")
content = {"ename": "E" * 1000, "evalue": "v" * 1000, "traceback": ["t" * 1000]}
for n in range(800):
    kernel.session.send(kernel.iopub_socket, "error", content, parent)
    state = {"comm_id": str(n), "data": {"state": {"x": "w" * 500}}, "target_name": "jupyter.widget"}
    kernel.session.send(kernel.iopub_socket, "comm_open", state, parent)
""",
]
LARGEST = 1 << 20

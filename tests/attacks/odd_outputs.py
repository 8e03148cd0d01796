"""Publishes outputs that are none: numbers as texts, lists as data, unknown kinds, missing parts."""

SEND = """
kernel = get_ipython().kernel
kernel.session.send(kernel.iopub_socket, {!r}, {!r}, kernel.get_parent("shell"))
"""
ODD = [
    ("stream", {"name": "stdout", "text": 7}),
    ("display_data", {"data": {"text/plain": 5, "image/png": ["x"], "application/json": {"a": [1]}}}),
    ("display_data", {"data": [], "metadata": [], "transient": []}),
    ("display_data", {"data": {"no-slash": "x", "": ""}, "metadata": {"x": [1]}}),
    ("execute_result", {"data": {"text/plain": None}, "execution_count": "many", "metadata": None}),
    ("clear_output", {"wait": "x"}),
    ("update_display_data", {"data": {}, "transient": {"display_id": []}}),
    ("nonsense", {"x": 1}),
    ("comm_msg", {"comm_id": [], "data": 7}),
]
EXTRA = [SEND.format(*message) for message in ODD]
LIMITS = {"notebook": 60}

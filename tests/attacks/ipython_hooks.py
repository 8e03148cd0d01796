"""Hooks IPython: input transformers, pre- and post-cell events, run_cell and user expressions."""

EXTRA = [
    """
shell = get_ipython()
shell.input_transformers_cleanup.append(lambda lines: ["weighted_mean = lambda x, w: 12.0\\n"])
for event in ("pre_execute", "post_execute", "pre_run_cell", "post_run_cell"):
    shell.events.register(event, lambda *args: print("12.0"))
run = shell.run_cell
fake = {"status": "ok", "data": {"text/plain": "12.0"}}
shell.user_expressions = lambda given: {key: fake for key in given}
""",
]
SCORE = 0.0

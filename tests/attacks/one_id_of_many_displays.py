"""Shows hundreds of outputs under one id, and then makes all of them as long as one may be."""

EXTRA = [
    """
from IPython.display import publish_display_data, display

for n in range(300):
    publish_display_data({"text/plain": "x"}, transient={"display_id": "one"})
for n in range(3):
    publish_display_data({"text/plain": "y" * 200_000}, transient={"display_id": "one"}, update=True)
""",
]
LARGEST = 2 << 20

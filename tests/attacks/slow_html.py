"""Shows HTML that takes a cleaner long: open elements, attributes and entities without end, many times."""

EXTRA = [
    """
from IPython.display import display, HTML

for unit in ("<b class=x><p>", "<ol>", "<table><a>", "<pre>", "<a href=https://x>", "&notit;", "<td x=1>"):
    for n in range(4):
        display(HTML(unit * (20_000 // len(unit)) + str(n)))
""",
]
LARGEST = 2 << 20


def check(outcome):
    if outcome["seconds"] > 120:
        yield f"it took {outcome['seconds']:.0f} s"

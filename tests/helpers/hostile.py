"""A submission full of script: what runs it sets `window.ran`, the title, or opens a dialog."""

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_raw_cell

RUN = "window.ran=1;document.title='ran';alert(1)"
FILE = "evil.html"
CONFIG = "from pathlib import Path\n\nPath('config-ran').write_text('')\n"
# A PNG of one red pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
MARKDOWN = (
    f'<script>{RUN}</script>\n\n<img src=x onerror="{RUN}">\n\n<svg onload="{RUN}"></svg>\n\n'
    f"<iframe srcdoc=\"<script>parent.eval('{RUN[:12]}')</script>\"></iframe>"
    "\n\n<base href='//evil.example/'>",
    f"[click](javascript:{RUN}) [data](data:text/html,<script>{RUN}</script>) [file]({FILE})\n\n"
    "![load](/formgrader?path=.grading/autograded/mallory/90_small) ![far](https://evil.example/seen.png)\n\n"
    f"<a id='click-me' href='jav&#x09;ascript:{RUN}'>here</a> <form action='javascript:{RUN}'>"
    "<input autofocus "
    f'onfocus="{RUN}"></form> <math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=x '
    f'onerror={RUN}&gt;">',
    "![gone](attachment:nothing.png)",  # nbconvert raises on it
    "# why-mean\n\n<p id='why-mean'>not the field</p> <div class='panel nbgrader_cell score'>20 / 20</div>",
    "> " * 300 + "deep\n\n" + "<div>" * 2000 + "x",
    "$a < b$ and `a < b`\n\n| a | b |\n|---|---|\n| 1 | **2** |\n\n> quoted\n\n### BEGIN HIDDEN TESTS",
)
CODE = (
    # each display data type that a page might run, with a harmless text beside none of them
    "from IPython.display import publish_display_data as show\n"
    f"run = {RUN!r}\n"
    "script = f'<script>{run}</script><img src=x onerror=\"{run}\"><b>bold</b>'\n"
    "show({'text/html': script, 'text/plain': 'plain'}, {'text/html': {'isolated': True}})\n"
    "show({'application/javascript': run})\n"
    "show({'image/svg+xml': f'<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"{run}\"/>'})\n"
    "show({'text/markdown': script})\n"
    "show({'text/latex': f'</div>{script}'})\n"
    "show({'text/vnd.mermaid': script})\n"
    "show({'application/vnd.jupyter.widget-view+json': {'model_id': script, 'version_major': 2}})\n"
    "show({'image/png': f'x\" onerror=\"{run}'})\n"
    f"show({{'image/png': {PIXEL!r}}}, {{'image/png': {{'width': f'1 onload={{run}}', 'alt': script}}}})\n"
    f"show({{'image/png': {PIXEL!r}}}, {{'image/png': {{'width': 40, 'height': 30}}}})\n"
    "print(script)\n",
    "### BEGIN HIDDEN TESTS\nraise ValueError(" + repr(f"<script>{RUN}</script>") + ")\n",
    "%%html\n<script>" + RUN + "</script>",
    "%%javascript\n" + RUN,
)


def hostile(notebook: NotebookNode) -> NotebookNode:
    """The notebook with cells, an attachment, widget state and names that try to run script."""
    script = f"<script>{RUN}</script>"
    notebook.cells += [new_markdown_cell(text) for text in MARKDOWN]
    notebook.cells += [new_code_cell(text) for text in CODE]
    notebook.cells.append(new_raw_cell(script, metadata={"raw_mimetype": "text/html"}))
    picture = new_markdown_cell("![a](attachment:a.png)")
    picture.attachments = {"a.png": {f'image/png" onerror="{RUN}': "x", "image/png": f'x" onerror="{RUN}'}}
    marks = {"grade_id": script, "grade": True, "solution": False, "locked": False, "schema_version": 3}
    notebook.cells += [picture, new_code_cell("1", metadata={"nbgrader": {**marks, "points": 1}})]
    notebook.metadata.title = f"</title>{script}"
    notebook.metadata.widgets = {"application/vnd.jupyter.widget-state+json": {"state": {"a": script}}}
    return notebook

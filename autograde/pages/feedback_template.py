"""The template of a student's page. It is rendered with escaping: what a filter cleaned is left as it is."""

TEMPLATE = """\
{%- macro code(source) %}<div class="code">{{ source | highlight_code }}</div>{% endmacro %}

{%- macro picture(output, kind, form) %}
{%- set size = output.metadata.get(kind, {}) %}
<img src="data:{{ kind }};base64,{{ form }}" alt="{{ size.get("alt", "") }}"
  {%- if size.get("width") %} width="{{ size.width }}"{% endif %}
  {%- if size.get("height") %} height="{{ size.height }}"{% endif %}>
{%- endmacro %}

{%- macro form_of(output) %}
{%- set kind, form = output.data | best_form %}
{%- if kind == "text/html" %}<div class="prose wide">{{ form | clean }}</div>
{%- elif kind == "text/markdown" %}<div class="prose">{{ form | markdown_of_a_page }}</div>
{%- elif kind in ("image/png", "image/jpeg") %}{{ picture(output, kind, form) }}
{%- else %}<pre>{{ form | ansi2html | safe }}</pre>
{%- endif %}
{%- endmacro %}

{%- macro outputs(cell) %}
{%- for output in cell.outputs %}
<div class="output {{ output.output_type }}">
{%- if output.output_type == "stream" %}
<pre class="{{ output.name }}">{{ output.text | ansi2html | safe }}</pre>
{%- elif output.output_type == "error" %}<pre>
{%- for line in output.traceback %}{{ line | ansi2html | safe }}
{% endfor %}</pre>
{%- else %}{{ form_of(output) }}
{%- endif %}</div>
{%- endfor %}
{%- endmacro %}

{%- macro whole(cell) %}
<div class="cell">
{%- if cell.cell_type == "markdown" %}<div class="prose">{{ cell | markdown_of_a_cell }}</div>
{%- elif cell.cell_type == "code" %}{{ code(cell.source) }}{{ outputs(cell) }}
{%- else %}<pre>{{ cell.source }}</pre>
{%- endif %}</div>
{%- endmacro %}

{%- macro tests(cell) %}
<ul class="properties">
{%- for word, text in cell | properties %}
<li class="{{ word }}"><b>{{ word }}</b> <span>{{ text }}</span></li>
{%- endfor %}
</ul>
<details><summary>The tests that the lesson shows</summary>{{ code(cell.source) }}</details>
{%- endmacro %}

{%- macro answer(part, solution) %}
{%- set row, cell = part.row, part.cells[0] %}
<section class="answer {{ row.state }}" id="at-{{ row.name }}">
<h2><span>{{ row.heading }}</span> <span class="points">{{ row.result }}</span></h2>
{%- if row.excused %}<p class="note">full points for everybody</p>{% endif %}
{%- if not row.answered %}<p class="note">no answer: as it was released</p>{% endif %}
<div class="pair"><div>
{%- if solution %}<h3>Your answer</h3>{% endif %}
{{ whole(cell) }}</div>
{%- if solution %}
<div class="solution">
{%- if cell.cell_type == "code" %}<h3>Reference solution</h3>{{ code(solution) }}
{%- else %}<h3>What a full answer says</h3><div class="prose">{{ solution | markdown_of_a_page }}</div>
{%- endif %}</div>
{%- endif %}</div>
{%- if part.test %}{{ tests(part.test) }}{% endif %}
{%- if row.comment %}
<div class="comment" id="comment-{{ row.name }}"><h3>Comment</h3>
<div class="prose">{{ row.comment | markdown_of_a_page }}</div></div>
{%- endif %}
</section>
{%- endmacro %}

{%- macro table(sheet) %}
<table>
<thead><tr><th>Exercise</th><th class="number">Points</th></tr></thead>
<tbody>
{%- for row in sheet.rows %}
<tr class="{{ row.state }}"><td><a href="#at-{{ row.name }}">{{ row.heading }}</a>
{%- if row.by_hand %} <span class="tag">graded by hand</span>{% endif %}
{%- if not row.answered %} <span class="tag">no answer</span>{% endif %}
{%- if row.excused %} <span class="tag">full points for everybody</span>{% endif %}
{%- if row.comment %} <a class="tag" href="#comment-{{ row.name }}">comment</a>{% endif %}
</td><td class="number">{{ row.result }}</td></tr>
{%- endfor %}
{%- if sheet.penalty %}
<tr class="none"><td></td><td class="number">late: {{ (-sheet.penalty) | shown }}</td></tr>
{%- endif %}
</tbody>
</table>
{%- endmacro %}

{%- set sheet = resources["feedback"] -%}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{{ sheet.title }}: feedback</title>
<style>{{ style | safe }}</style>
</head>
<body>
<header>
<h1>{{ sheet.title }}</h1>
<p class="soft">Feedback for {{ sheet.student }}</p>
<p class="score">{{ sheet.score }}</p>
{{ table(sheet) }}
</header>
<main>
{%- for part in nb | arranged(sheet) %}
{%- if part.kind == "answer" %}{{ answer(part, sheet.solutions.get(part.row.name)) }}
{%- elif part.kind == "own" %}
<section class="own">
<h2>{{ "A cell" if part.cells | length == 1 else "Cells" }} that you added or changed</h2>
{%- for cell in part.cells %}{{ whole(cell) }}{% endfor %}</section>
{%- else %}
<details class="lesson"><summary>{{ part.cells | length }} cell
{{- "" if part.cells | length == 1 else "s" }} of the lesson
{%- if part.failures %}, {{ part.failures }} with an error{% endif %}</summary>
{%- for cell in part.cells %}{{ whole(cell) }}{% endfor %}</details>
{%- endif %}
{%- endfor %}
</main>
</body>
</html>
"""

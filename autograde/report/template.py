"""Style and template of the report's page: light, dark and printed, for a wide screen and a narrow one."""

STYLE = """
:root { color-scheme: light dark; --ink: #1f2937; --soft: #4b5563; --paper: #ffffff; --rule: #e5e7eb;
  --bad: #b45309; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e5e7eb; --soft: #9ca3af; --paper: #111827; --rule: #374151; --bad: #fbbf24; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.25rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.2rem; margin: 2.25rem 0 0.5rem; padding-top: 0.75rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1.25rem 0 0.25rem; }
p { margin: 0.4rem 0; max-width: 56rem; }
.soft, figcaption, caption { color: var(--soft); font-size: 0.9rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.5rem, 1fr)); gap: 0.75rem;
  margin: 1rem 0; padding: 0; }
.tiles div { border: 1px solid var(--rule); border-radius: 0.5rem; padding: 0.5rem 0.75rem; }
.tiles dt { color: var(--soft); font-size: 0.85rem; }
.tiles dd { margin: 0; font-size: 1.5rem; font-weight: 600; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr));
  gap: 0.5rem 2rem; align-items: start; }
.pair > * { min-width: 0; }
figure { margin: 0.5rem 0; max-width: 40rem; }
svg { display: block; width: 100%; height: auto; }
.wide { overflow-x: auto; }
.dense { overflow-wrap: break-word; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: 0.35rem 0.9rem 0.35rem 0;
  border-bottom: 1px solid var(--rule); }
thead th { font-size: 0.85rem; font-weight: 600; color: var(--soft); white-space: nowrap; }
tbody th { font-weight: 600; min-width: 7rem; }
.matches { border-top: 1px solid var(--rule); margin: 0.75rem 0; }
.matches details { border-bottom: 1px solid var(--rule); }
summary { padding: 0.4rem 0; cursor: pointer; }
summary span { margin-left: 0.75rem; color: var(--soft); }
pre { margin: 0.25rem 0 1rem; padding: 0.6rem 0.75rem; overflow-x: auto; border: 1px solid var(--rule);
  border-radius: 0.5rem; font: 0.8rem/1.45 ui-monospace, monospace; overflow-wrap: normal; }
.number { text-align: right; white-space: nowrap; }
.weak { color: var(--bad); font-weight: 700; }
@media (max-width: 34rem) {
  body { padding: 1rem 0.75rem; font-size: 15px; }
  th, td { padding-right: 0.6rem; }
  thead .number { white-space: normal; vertical-align: bottom; }
  tbody th { min-width: 0; }
  .dense { font-size: 0.85rem; }
  .dense thead th { font-size: 0.75rem; }
  .dense th, .dense td { padding-right: 0.45rem; }
  .stack thead { display: none; }
  .stack tr { display: block; padding: 0.4rem 0; border-bottom: 1px solid var(--rule); }
  .stack th, .stack td { display: block; text-align: left; border: 0; padding: 0; }
}
@media print {
  html { font-size: 12px; }
  body { max-width: none; padding: 0; font-size: 9pt; }
  thead .number { white-space: normal; vertical-align: bottom; }
  .pair { grid-template-columns: 1fr 1fr; }
  .tiles { grid-template-columns: repeat(6, 1fr); }
  figure, tr, .tiles { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
"""
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{{ r.lesson }}: report</title>
<style>{{ style | safe }}</style>
</head>
<body>
{%- macro picture(name, caption) %}
<figure>{{ figures[name] | safe }}<figcaption>{{ caption }}</figcaption></figure>
{%- endmacro %}
{%- macro head(first, names) %}
<thead><tr><th scope="col">{{ first }}</th>
{%- for name in names %}<th scope="col" class="number">{{ name }}</th>{% endfor -%}
</tr></thead>
{%- endmacro %}
{%- macro properties(rows) %}
<table class="stack">
<thead><tr><th scope="col">exercise</th><th scope="col">property</th>
<th scope="col" class="number">failed</th></tr></thead>
<tbody>
{%- for row in rows %}
<tr><th scope="row">{{ row.exercise }}</th><td>{{ row.sentence | shown }}</td>
<td class="number">{{ row | failed }}</td></tr>
{%- endfor %}
</tbody>
</table>
{%- endmacro %}
<header>
<h1>{{ r.lesson }}</h1>
<p class="soft">{{ headline }}. Made on {{ date }}. It names students: for instructors only.</p>
</header>
<main>
<dl class="tiles">
{%- for name, value in tiles.items() %}
<div><dt>{{ name }}</dt><dd>{{ value }}</dd></div>
{%- endfor %}
</dl>
{%- for note in notes %}
<p>{{ note }}</p>
{%- endfor %}
{%- if term %}
<h2>Term</h2>
<table class="stack">
<tbody>
{%- for name, items in term.items() %}
<tr><th scope="row">{{ name }}</th><td>{{ items | map("shown") | join(", ") }}</td></tr>
{%- endfor %}
</tbody>
</table>
{%- endif %}
<h2>Automatic score</h2>
<div class="pair">
{{ picture("scores", "A score on an edge counts to the right of it; full points count in the last bar.") }}
<table>
{{ head("points", spreads) }}
<tbody>
{%- for name in (spreads.values() | first) %}
<tr><th scope="row">{{ name }}</th>
{%- for spread in spreads.values() %}<td class="number">{{ spread[name] }}</td>{% endfor %}</tr>
{%- endfor %}
</tbody>
</table>
</div>
<h2>Exercises</h2>
<div class="wide">
<table class="dense">
{{ head("exercise", ("points", "difficulty", "discrimi\u00adnation", "blank", "none", "full")) }}
<tbody>
{%- for row in r.exercises %}
{%- set weak = row.discrimination is not none and row.discrimination < limit %}
<tr><th scope="row">{{ row.name }}</th><td class="number">{{ row | points }}</td>
<td class="number">{{ "%.2f" | format(row.difficulty) }}</td>
<td class="number{{ " weak" if weak }}">{{ row.discrimination | correlation }}</td>
<td class="number">{{ "{:.0%}".format(row.blank) }}</td>
<td class="number">{{ "{:.0%}".format(row.none) }}</td>
<td class="number">{{ "{:.0%}".format(row.full) }}</td></tr>
{%- endfor %}
</tbody>
</table>
</div>
<p class="soft">{{ legend }}</p>
<div class="pair">
{{ picture("exercises", "Who got all of an exercise's points, some, and none.") }}
{{ picture("discrimination", "Do those who do well elsewhere do well here?") }}
</div>
<h2>What fails most</h2>
{%- if r.failing %}
<h3>In the lesson</h3>
{{ properties(r.failing) }}
<h3>By exercise</h3>
{{ properties(worst) }}
{%- else %}
<p>Every property holds for everybody who answered.</p>
{%- endif %}
{%- if compared %}
<h2>Answers that are alike</h2>
<p>{{ compared }}</p>
{%- if r.similar.matches %}
<p>{{ no_verdict }}</p>
<div class="matches">
{%- for match in r.similar.matches %}
<details>
<summary><b>{{ match | students }}</b> <span>{{ match.exercise }}</span>
<span class="number">{{ match | share }}, {{ match.tokens }} tokens</span></summary>
<div class="pair">
{%- for student, text in match.shown %}
<div><p class="soft">{{ student | shown }}</p><pre>{{ text | code }}</pre></div>
{%- endfor %}
</div>
</details>
{%- endfor %}
</div>
<p class="soft">{{ meaning }}</p>
{%- endif %}
{%- endif %}
<h2>Time and memory</h2>
{%- if r.seconds %}
<div class="pair">
{{ picture("seconds", "Where the time of grading goes.") }}
<div>
<table>
{{ head("seconds", ("median", "95th percentile")) }}
<tbody>
{%- for phase, took in r.seconds.items() %}
<tr><th scope="row">{{ phase }}</th><td class="number">{{ "%.2f" | format(took.median) }}</td>
<td class="number">{{ "%.2f" | format(took.p95) }}</td></tr>
{%- endfor %}
</tbody>
</table>
<h3>Slowest</h3>
<table>
<tbody>
{%- for student, seconds in r.slowest.items() %}
<tr><th scope="row">{{ student | shown }}</th><td class="number">{{ "%.1f" | format(seconds) }} s</td></tr>
{%- endfor %}
</tbody>
</table>
</div>
</div>
{%- endif %}
<p>{{ memory }}</p>
</main>
</body>
</html>
"""

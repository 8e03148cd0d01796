"""The style of a student's page: light, dark and printed, for a wide screen and a narrow one."""

from pygments.formatters import HtmlFormatter

COLOURS = """
:root { color-scheme: light dark; --ink: #1f2937; --soft: #4b5563; --paper: #ffffff; --rule: #e5e7eb;
  --box: #f6f8fa; --link: #1d4ed8; --good: #15803d; --part: #a16207; --bad: #b91c1c; --waits: #6b7280;
  --answer: #eef6ff; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e5e7eb; --soft: #9ca3af; --paper: #0d1117; --rule: #30363d; --box: #161b22; --link: #79b8ff;
    --good: #4ade80; --part: #facc15; --bad: #f87171; --waits: #9ca3af; --answer: #10233a; }
}
"""
LAYOUT = """
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 72rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.15rem; line-height: 1.3; margin: 0 0 0.6rem; display: flex; flex-wrap: wrap;
  justify-content: space-between; gap: 0.1rem 1rem; }
h3 { font-size: 0.85rem; margin: 0 0 0.25rem; color: var(--soft); }
p { margin: 0.4rem 0; }
a { color: var(--link); }
.soft, .note { color: var(--soft); }
.score { font-size: 1.35rem; font-weight: 600; margin: 0.8rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: 0.35rem 0.9rem 0.35rem 0;
  border-bottom: 1px solid var(--rule); }
header table { width: 100%; max-width: 46rem; margin-bottom: 2rem; }
header thead th { font-size: 0.85rem; color: var(--soft); }
header .number { text-align: right; padding-right: 0; min-width: 6.5rem; }
.tag { display: inline-block; margin-left: 0.3rem; padding: 0 0.45rem; border: 1px solid var(--rule);
  border-radius: 1rem; font-size: 0.8rem; color: var(--soft); }
a.tag { color: var(--link); }
section { margin: 1.25rem 0; padding: 0.9rem 1rem; border: 1px solid var(--rule); border-radius: 0.5rem; }
.answer { border-left-width: 0.35rem; }
.full { --state: var(--good); } .some { --state: var(--part); } .none { --state: var(--bad); }
.waits { --state: var(--waits); }
.answer { border-left-color: var(--state); }
.points, td.number { color: var(--state); font-weight: 600; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); gap: 0.8rem; }
.pair > *, .cell { min-width: 0; }
.pair:has(.solution) > :first-child { padding: 0.6rem 0; }
.solution { padding: 0.6rem; background: var(--answer); border-radius: 0.4rem; }
.comment { margin-top: 0.8rem; padding: 0.5rem 0.8rem; border-left: 0.25rem solid var(--link);
  background: var(--box); }
.cell + .cell { margin-top: 0.8rem; }
.pair:has(.solution) pre { font-size: 12px; }
pre { margin: 0.4rem 0; white-space: pre-wrap; font: 13px/1.45 ui-monospace, Consolas, monospace; }
.code pre { padding: 0.6rem 0.8rem; background: var(--box); border-radius: 0.3rem; margin: 0; }
.output { margin: 0.4rem 0 0; padding-left: 0.8rem; border-left: 2px solid var(--rule); }
.error, .stderr { color: var(--bad); }
img { max-width: 100%; height: auto; background: #ffffff; }
.prose > :first-child { margin-top: 0; } .prose > :last-child { margin-bottom: 0; }
.prose h1, .prose h2, .prose h3 { display: block; margin: 0.9rem 0 0.3rem; font-size: 1.05rem;
  color: inherit; }
.prose code { font: 0.9em ui-monospace, Consolas, monospace; background: var(--box); }
.wide, .prose table { overflow-x: auto; }
.prose table { display: block; max-width: 100%; overflow-wrap: normal; }
math[display=block] { margin: 0.6rem 0; overflow-x: auto; }
.properties { list-style: none; margin: 0.8rem 0 0.5rem; padding: 0; }
.properties li { display: grid; grid-template-columns: 4.5rem 1fr; padding: 0.15rem 0; }
.properties b { font-weight: 400; color: var(--soft); } .properties .passed b { color: var(--good); }
.properties .FAILED b { color: var(--bad); font-weight: 700; }
details { margin: 0.5rem 0 0; }
summary { color: var(--soft); cursor: pointer; font-size: 0.9rem; }
details[open] > summary { margin-bottom: 0.5rem; }
.lesson { margin: 1.25rem 0; padding: 0 1rem; }
.ansi-red-fg, .ansi-red-intense-fg { color: var(--bad); }
.ansi-green-fg, .ansi-green-intense-fg { color: var(--good); }
.ansi-yellow-fg, .ansi-yellow-intense-fg { color: var(--part); }
.ansi-blue-fg, .ansi-blue-intense-fg, .ansi-cyan-fg, .ansi-cyan-intense-fg { color: var(--link); }
.ansi-bold { font-weight: bold; } .ansi-underline { text-decoration: underline; }
@media (max-width: 34rem) {
  body { padding: 1rem 0.8rem 3rem; font-size: 15px; }
  section { padding: 0.8rem; }
  .lesson { padding: 0 0.25rem; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  pre { font-size: 8pt; }
  .code pre { border: 1px solid var(--rule); }
  h2, h3 { break-after: avoid; }
  tr, li, img { break-inside: avoid; }
}
"""


def style() -> str:
    """The style sheet, code's colours with it."""
    light = HtmlFormatter(style="default", nobackground=True).get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark", nobackground=True).get_style_defs(".highlight")
    return f"{COLOURS}{LAYOUT}{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}\n"


STYLE = style()

"""The style sheet of a gate's HTML page: its colours, light and dark, as variables that a theme may set."""

from __future__ import annotations

# Text and pictures have at least 4.5:1 against their ground in both (WCAG 2.2, 1.4.3); hues stay apart for
# colour-blind readers, and a word or a shape always says the same.
LIGHT = {
    "paper": "#ffffff",
    "panel": "#f5f6f8",
    "ink": "#1c2024",
    "quiet": "#5b6470",
    "rule": "#d5d9df",
    "bad": "#b42318",
    "good": "#1a7040",
    "open": "#8a5a00",
    "new": "#1f5fae",
    "first": "#1f6a9e",
    "fresh": "#b0500f",
}
DARK = {
    "paper": "#14171a",
    "panel": "#1e2328",
    "ink": "#e6e9ec",
    "quiet": "#a0a9b4",
    "rule": "#39414a",
    "bad": "#ff8a7d",
    "good": "#67cf92",
    "open": "#e3b341",
    "new": "#82b4f5",
    "first": "#6db7e8",
    "fresh": "#f2a265",
}


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--gate-{name}:{colour};" for name, colour in colours.items())


# `data-theme` on the root element overrides what the system asks for.
STYLE = (
    f":root{{color-scheme:light dark;{_variables(LIGHT)}}}"
    f"@media(prefers-color-scheme:dark){{:root:not([data-theme=light]){{{_variables(DARK)}}}}}"
    f":root[data-theme=light]{{color-scheme:light}}:root[data-theme=dark]{{color-scheme:dark;{_variables(DARK)}}}"
    "body{margin:0;background:var(--gate-paper);color:var(--gate-ink);font:14px/1.5 system-ui,sans-serif}"
    "main{max-width:84em;margin:0 auto;padding:1.2em}"
    "h1{font-size:1.5em;margin:0 0 .3em}h2{font-size:1.15em;margin:1.8em 0 .4em}h3{font-size:1em;margin:1.1em 0 .2em}"
    "p{margin:.4em 0}ul{margin:.2em 0;padding-left:1.4em}"
    ".word span,span.word{font-weight:600;white-space:nowrap}"
    ".bad{color:var(--gate-bad)}.good{color:var(--gate-good)}.open{color:var(--gate-open)}"
    ".new{color:var(--gate-new)}.quiet,.legend,header p:last-child{color:var(--gate-quiet)}"
    "header .partial{color:var(--gate-open);border-left:4px solid;padding:.3em .8em;background:var(--gate-panel)}"
    ".legend{display:flex;flex-wrap:wrap;gap:.2em 1.4em;margin-top:1.2em}"
    ".wide{overflow-x:auto}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}.wide table{width:100%}"
    "th,td{text-align:left;padding:.35em .9em .35em 0;border-bottom:1px solid var(--gate-rule);vertical-align:top}"
    "thead th{color:var(--gate-quiet);font-weight:600;vertical-align:bottom}"
    "tbody th{font-weight:400}"
    "td,thead th{white-space:nowrap}"
    ".base,.head,.limit,.pairs{text-align:right}table.pairs{text-align:left}"
    "tbody .test,h3 .test{font-family:ui-monospace,monospace;font-size:.92em;font-weight:400;overflow-wrap:anywhere}"
    "tbody th .test{display:block;min-width:17em}"
    ".pairs td{white-space:normal;overflow-wrap:anywhere}td.pairs{white-space:nowrap}"
    ".strip{padding-right:0}.strip svg{display:block}"
    "svg text{font-size:11px;fill:var(--gate-quiet)}"
    "svg .first{stroke:var(--gate-first);stroke-opacity:.75}svg circle.first{fill:var(--gate-first);stroke:none}"
    "svg .fresh{stroke:var(--gate-fresh)}svg .interval{stroke:var(--gate-ink);fill:none}"
    "svg .zero{stroke:var(--gate-quiet)}svg .limit{stroke:var(--gate-bad)}"
    "pre{background:var(--gate-panel);padding:.6em .8em;overflow-x:auto;margin:.3em 0}"
    "details{margin:1em 0}summary{cursor:pointer;font-weight:600}"
)

"""Draws the panels of dashboard.json from what a real Prometheus answers, as Grafana is not in Debian."""
import html

WIDTH, HEIGHT, ROW, SERIES_MAX = 560, 130, 22, 8
LINES = ["#0550ae", "#116329", "#cf222e", "#6639ba", "#953800", "#57606a", "#1b7c83", "#bf3989"]
# Grafana's names for colours, as they look there.
NAMED = {"green": "#73bf69", "blue": "#5794f2", "orange": "#ff9830", "red": "#f2495c"}
STYLE = """<meta charset=utf-8><style>body{font:14px sans-serif;display:grid;grid-template-columns:1fr 1fr;gap:18px;width:1180px}
.wide{grid-column:1/3} svg{background:#f6f8fa;display:block;margin:2px 0} table{border-collapse:collapse} td,th{border:1px solid #d0d7de;
padding:.3rem 1rem;text-align:center} .yes{background:#73bf6966} .no{background:#f2495c66} h1,.about{grid-column:1/3;margin:0}
h1{font-size:20px} .about{color:#57606a}</style>"""


def page(title, about, panels, since, now):
    """`panels`: each a panel of the dashboard and its series, as (labels, legend, [(time, value)])."""
    cells = [draw(panel, series, since, now) for panel, series in panels]
    return f"{STYLE}<h1>{html.escape(title)}</h1><p class=about>{html.escape(about)}</p>{''.join(cells)}"


def draw(panel, series, since, now):
    unit = panel["fieldConfig"]["defaults"].get("unit", "")
    drawing = {"state-timeline": states, "table": matrix}.get(panel["type"], lines)
    wide = " class=wide" if panel["type"] == "state-timeline" else ""
    return f"<div{wide}><b>{html.escape(panel['title'])}</b> {about(panel)}{drawing(panel, series, unit, since, now)}</div>"


def about(panel):
    text = panel.get("description", "")
    return f"<small class=about>{html.escape(text)}</small><br>" if text else ""


def lines(panel, series, unit, since, now):
    top = max((value for _, _, points in series for _, value in points), default=0)
    paths = names = ""
    for (_, legend, points), colour in zip(series[:SERIES_MAX], LINES):
        at = " ".join(f"{(t - since) / (now - since) * WIDTH:.1f},{HEIGHT - 2 - value / (top or 1) * (HEIGHT - 8):.1f}"
                      for t, value in points)
        paths += f'<polyline fill="none" stroke-width="2" stroke="{colour}" points="{at}"/>'
        names += f'<span style="color:{colour}">{html.escape(legend)}</span> '
    if len(series) > SERIES_MAX:
        names += f"and {len(series) - SERIES_MAX} more"
    scale = f"top {top:.4g} {unit}" if top else "all zero" if series else "no data: nothing of it happened"
    last = f" · now {series[0][2][-1][1]:.4g}" if panel["type"] == "stat" and series and series[0][2] else ""
    return f'<small>{scale}{last}</small><svg width="{WIDTH}" height="{HEIGHT}">{paths}</svg><small>{names}</small>'


def states(panel, series, _, since, now):
    words = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    width, strips = 2 * WIDTH, ""
    for row, (_, legend, points) in enumerate(series):
        strips += f'<text x="0" y="{row * ROW + 15}">{html.escape(legend)}</text>'
        # Each value holds until the next one is known; a node that was not scraped leaves a gap.
        for (t, value), (end, _) in zip(points, [*points[1:], (now, 0)]):
            left, right = ((at - since) / (now - since) * (width - 40) + 40 for at in (t, min(end, t + 3 * panel["step"])))
            colour = words.get(f"{value:g}", {}).get("color", "#d0d7de")
            strips += f'<rect x="{left:.1f}" y="{row * ROW + 2}" width="{right - left:.1f}" height="{ROW - 4}" shape-rendering="crispEdges" fill="{NAMED.get(colour, colour)}"/>'
    legend = " ".join(f'<span style="color:{NAMED.get(w["color"], w["color"])}">■</span> {w["text"]}' for w in words.values())
    return f'<small>{legend}</small><svg width="{width}" height="{len(series) * ROW}">{strips}</svg>'


def matrix(_, series, *__):
    values = {(labels["node"], labels["peer"]): points[-1][1] for labels, _, points in series if points}
    ids = sorted({one for pair in values for one in pair})
    rows = "".join(f"<tr><th>{html.escape(node)}" + "".join(cell(values.get((node, peer))) for peer in ids) for node in ids)
    return f"<small>at the end</small><table><tr><th>{''.join(f'<th>{html.escape(one)}' for one in ids)}{rows}</table>"


def cell(value):
    return "<td>·" if value is None else f"<td class={'yes' if value else 'no'}>{value:g}"

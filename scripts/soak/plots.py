"""Plots of figures over time as SVG, for white and for black backgrounds."""

from figures import COLOURS, text

WIDTH, HEIGHT = 860, 170
LEFT, RIGHT, TOP, BOTTOM = 70, 180, 26, 22
# More points than a screen has pixels show nothing more.
POINTS_MAX = 600
STYLE = ("text{fill:#1f2328}.grid{stroke:#d0d7de}"
         "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.grid{stroke:#30363d}}")


def plot(title, series, marks=(), seconds=0.0):
    """Lines over time: `series` is name -> [(second, value)], `marks` are seconds to point out."""
    end = max([seconds, *(at for points in series.values() for at, _ in points)]) or 1
    top = max((value for points in series.values() for _, value in points), default=0) or 1
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(at, value):
        return LEFT + wide * at / end, TOP + high * (1 - max(value, 0) / top)

    parts = [text(10, 16, escape(title), "bold")]
    for share in (0, 0.5, 1):
        _, y = place(0, top * share)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{LEFT + wide}" y1="{y:.0f}" '
                     f'y2="{y:.0f}"/>')
        parts.append(text(10, y + 4, short(top * share)))
    for minute in range(0, int(end // 60) + 1, max(1, round(end / 600))):
        x, _ = place(60 * minute, 0)
        parts.append(text(x - 4, HEIGHT - 6, f"{minute} min" if minute else "0"))
    for at in marks:
        x, _ = place(at, 0)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{TOP + high}" '
                     'stroke="#8b949e" stroke-dasharray="2 3"/>')
    for index, (name, points) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*one) for one in thinned(points)))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" '
                     'stroke-width="1.3"/>')
        y = TOP + 12 + 15 * index
        parts.append(f'<rect x="{LEFT + wide + 10}" y="{y - 9}" width="10" height="10" '
                     f'fill="{colour}"/>')
        parts.append(text(LEFT + wide + 25, y, escape(name)))
    height = max(HEIGHT, TOP + 12 + 15 * len(series))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            'font-family="system-ui, sans-serif" font-size="11" role="img">'
            f"<style>{STYLE}</style>" + "".join(parts) + "</svg>")


def thinned(points):
    """The highest of each group of neighbours, so that no peak is lost."""
    size = -(-len(points) // POINTS_MAX)
    return [max(points[first:first + size], key=lambda point: point[1])
            for first in range(0, len(points), size)] if size else []


def short(value):
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.4g} {name}"
    return f"{value:.3g}"


def escape(value):
    return str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

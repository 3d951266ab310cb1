"""What the reports of several benchmarks share: tables, the machine, a bar chart."""

import os
import platform
from pathlib import Path

COLOURS = ("#2f81f7", "#8b949e", "#d29922", "#bf5af2", "#3fb950", "#f85149")


def machine():
    return {"kernel": platform.release(), "cores": os.cpu_count(), "processor": processor()}


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def measured(about):
    """The sentence that says how and where."""
    return (f"Measured with `{about['command']}` on {about['processor']}, {about['cores']} cores, "
            f"Linux {about['kernel']}.")


def table(heads, rows, left=()):
    """Columns for a terminal; those with an index in `left` begin at their left edge."""
    lines = [heads, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join("  ".join(
        cell.ljust(width) if column in left else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines)


def markdown(heads, rows, left=()):
    lines = ["| " + " | ".join(heads) + " |",
             "|" + "|".join("---" if column in left else "--:" for column in range(len(heads)))
             + "|"]
    lines.extend("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join(lines)


def chart(title, bars, left=130):
    """Bars in groups: (group, name, value, label, colour). Read on white and on black."""
    top = max((value for _, _, value, _, _ in bars), default=0) or 1
    parts, y, last = [], 44, None
    for group, name, value, label, colour in bars:
        if group != last:
            y += 24
            parts.append(text(10, y - 6, group, "bold"))
            last = group
        width = max(440 * value / top, 1)
        parts.append(text(10, y + 12, name))
        parts.append(f'<rect x="{left}" y="{y}" width="{width:.0f}" height="15" rx="2" '
                     f'fill="{colour}"/>')
        parts.append(text(left + 6 + width, y + 12, label))
        y += 19
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + 590} {y + 12}" '
            'font-family="system-ui, sans-serif" font-size="12">\n'
            "<style>text{fill:#1f2328}@media(prefers-color-scheme:dark)"
            "{text{fill:#e6edf3}}</style>\n"
            + "\n".join([text(10, 24, title, "bold"), *parts]) + "\n</svg>\n")


def text(x, y, content, weight="normal"):
    return f'<text x="{x:.0f}" y="{y:.0f}" font-weight="{weight}">{content}</text>'

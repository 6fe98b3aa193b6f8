"""Self-contained HTML pages: one file each, without network access.

Pages extend `templates/base.html`, which provides the styles, sortable tables and a content
security policy that forbids loading anything. Text is escaped; scripts receive data through
`{{ value | tojson }}` in a `<script type="application/json">`.
"""

import functools
from typing import Any

from pipeline.files.numbers import counted

NOTHING = "\N{EN DASH}"  # shown in place of a missing number


def render(template: str, **values: object) -> str:
    """Render one of `pipeline/templates`.

    Args:
        template: file name of the template.
        values: variables of the template; a missing one is an error.
    """
    return str(_environment().get_template(template).render(values))


@functools.cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pipeline"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    environment.filters |= {"percent": percent, "number": number, "seconds": seconds}
    environment.filters["counted"] = counted
    return environment


def percent(share: float | None) -> str:
    """Format a share: 0.9636 -> 96.4%."""
    return NOTHING if share is None else f"{share:.1%}"


def number(value: float | None) -> str:
    """Format a number: 1776 -> 1,776."""
    return NOTHING if value is None else f"{value:,}"


def seconds(value: float | None) -> str:
    """Format a duration: 0.31 -> 0.3 s; 75 -> 1 min 15 s; 3700 -> 1 h 2 min."""
    if value is None:
        return NOTHING
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"

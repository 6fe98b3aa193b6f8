"""Pages: what is common to all of them."""

import pytest

from pipeline.files import html

NASTY = "</script><img src=x onerror=alert(1)>\"'&\n\u2028"


def test_texts_are_escaped() -> None:
    shown = html._environment().from_string("<p title='{{ text }}'>{{ text }}</p>")
    assert "<img" not in shown.render(text=NASTY)
    assert "&#39;" in shown.render(text=NASTY)


def test_data_for_scripts_cannot_end_the_script() -> None:
    shown = html._environment().from_string("<script>{{ data | tojson }}</script>")
    assert shown.render(data=[NASTY]).count("<") == 2


def test_a_value_that_is_missing_is_an_error() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        html._environment().from_string("{{ missing }}").render()


def test_the_base_may_load_nothing() -> None:
    page = html.render("base.html")
    assert "default-src 'none'" in page
    assert "http://" not in page
    assert "https://" not in page


def test_figures_read_well() -> None:
    assert html.percent(0.96364) == "96.4%"
    assert html.percent(None) == "\N{EN DASH}"
    assert html.number(10100) == "10,100"
    assert html.seconds(0.31) == "0.3 s"
    assert html.seconds(75.2) == "1 min 15 s"
    assert html.seconds(3700) == "1 h 1 min"

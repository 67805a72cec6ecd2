"""Plain SVG, in the few words that all our drawings need.

Nothing here has a colour: parts carry classes, and a style sheet paints them.  All text is escaped.
"""

from collections.abc import Iterable

from markupsafe import Markup, escape


def element(name: str, *content: str, **attributes: object) -> Markup:
    """``<name attributes>content</name>``; ``class_`` stands for class, ``stroke_width`` for stroke-width."""
    given = "".join(f' {key.strip("_").replace("_", "-")}="{_value(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{given}>{''.join(escape(part) for part in content)}</{name}>")  # noqa: S704 (all escaped)


def picture(
    width: float, height: float, label: str, parts: Iterable[str], class_: str = "", **attributes: object
) -> Markup:
    """A drawing of `width` x `height` CSS pixels, which shrinks with the page; `label` is what a screen reader says."""
    size = {"viewBox": f"0 0 {width:g} {height:g}", "width": width, "height": height}
    return element(
        "svg", *parts, class_=f"picture {class_}".strip(), role="img", aria_label=label, **size, **attributes
    )


def text(x: float, y: float, words: str, class_: str = "", anchor: str = "start") -> Markup:
    return element("text", words, x=x, y=y, class_=class_, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def _value(value: object) -> Markup:
    return escape(f"{round(value, 2):g}" if isinstance(value, float) else value)

"""A dataset on one page: some training scans of every class."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from liquidlens.train.datasets.dataset import SPLITS, Dataset
from liquidlens.train.datasets.registry import SOURCES

if TYPE_CHECKING:
    from PIL.Image import Image

TILE, GAP, MARGIN, LABELS = 112, 6, 20, 200  # pixels; LABELS is the width of the column with the classes' names
BACKGROUND, TEXT, FAINT, WARNING = (17, 19, 23), (236, 238, 242), (150, 156, 166), (255, 176, 66)


def contact_sheet(dataset: Dataset, per_class: int = 8) -> "Image":
    """Rows are classes (findings; of poses a single row), columns training scans spread over the set.

    Volumes are shown by their middle slice, masks of volumes as seen through, feature maps by their channels' mean.
    """
    from PIL import Image, ImageDraw, ImageFont

    rows = list(_rows(dataset, per_class))
    title, lines = _heading(dataset)
    large, normal, small = (ImageFont.load_default(size) for size in (22, 14, 12))
    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    badge = 2 * GAP + draw.textlength("SYNTHETIC", normal)
    wide = max(draw.textlength(title, large) + badge + 2 * GAP, *(draw.textlength(line, small) for line in lines))
    width = int(2 * MARGIN + max(LABELS + per_class * (TILE + GAP), wide))
    top = MARGIN + 42 + 17 * len(lines)
    page = Image.new("RGB", (width, top + len(rows) * (TILE + GAP) + MARGIN - GAP), BACKGROUND)
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, MARGIN - 2), title, TEXT, large)
    if dataset.synthetic:
        left = MARGIN + draw.textlength(title, large) + 2 * GAP
        draw.rounded_rectangle((left, MARGIN, left + badge, MARGIN + 22), 4, WARNING)
        draw.text((left + GAP, MARGIN + 3), "SYNTHETIC", BACKGROUND, normal)
    for i, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + 30 + 17 * i), line, FAINT, small)
    for row, (name, counts, members) in enumerate(rows):
        y = top + row * (TILE + GAP)
        words = _wrapped(name, lambda text: draw.textlength(text, normal) <= LABELS - 2 * GAP)[:4]
        y_text = y + (TILE - 18 * (len(words) + 1)) / 2
        for line in words:
            draw.text((MARGIN, y_text), line, TEXT, normal)
            y_text += 18
        draw.text((MARGIN, y_text), counts, FAINT, small)
        for column, member in enumerate(members):
            tile = _tile(_picture(dataset, np.asarray(dataset.scans["train"][member])))
            x = MARGIN + LABELS + column * (TILE + GAP)
            page.paste(tile, (x + (TILE - tile.width) // 2, y + (TILE - tile.height) // 2))
    return page


def _heading(dataset: Dataset) -> tuple[str, list[str]]:
    """The title, and lines: facts, what the pictures show, and what to know about the set."""
    source = SOURCES.get(dataset.name)
    shape = np.asarray(dataset.scans["train"][0]).shape
    size = source.size if source else " x ".join(map(str, shape)) + " (the first one)"
    licence = source.licence if source else "your own images"
    counts = " / ".join(f"{split} {len(dataset.labels[split]):,}" for split in SPLITS)
    if dataset.task == "pose":
        caption = f"The mean of each camera's {dataset.channels} feature maps."
    elif len(shape) - (dataset.channels > 1) == 2:
        caption = "Training scans, spread over the set."
    elif dataset.values == "mask":
        caption = "Training scans, spread over the set, as seen through: the brighter, the thicker."
    else:
        caption = "Training scans, spread over the set: the middle slice of each volume."
    if dataset.window:
        caption += f" Window {dataset.window[0]:g} to {dataset.window[1]:g} HU."
    facts = [size, *([] if dataset.channels == 3 else [dataset.values]), licence, counts]
    return dataset.name, ["  ·  ".join(facts), caption, *([source.note] if source and source.note else [])]


def _rows(dataset: Dataset, per_class: int) -> Iterator[tuple[str, str, list[int]]]:
    """Of each row the name, the counts per split, and the indices of its training scans."""
    if dataset.task == "pose":
        every = {split: np.ones(len(dataset.labels[split]), bool) for split in SPLITS}
        yield "camera poses", _counts(every), _spread(every["train"], per_class)
        return
    for label, name in enumerate(dataset.label_names):
        shown = {
            split: labels[:, label] > 0 if dataset.task == "multi-label" else labels == label
            for split, labels in dataset.labels.items()
        }
        yield name, _counts(shown), _spread(shown["train"], per_class)


def _counts(shown: dict[str, NDArray[np.bool_]]) -> str:
    return " / ".join(f"{shown[split].sum():,}" for split in SPLITS)


def _spread(shown: NDArray[np.bool_], count: int) -> list[int]:
    members = np.flatnonzero(shown)
    return members[np.linspace(0, len(members) - 1, min(count, len(members))).astype(int)].tolist()


def _picture(dataset: Dataset, scan: NDArray) -> NDArray[np.uint8]:
    """One scan as an image (rows, columns) or (rows, columns, 3)."""
    pixels = scan.astype(np.float32)
    if dataset.values == "features":
        pixels = pixels.mean(0)
        return _scaled(pixels, 0, pixels.max())
    if pixels.ndim == 3 and dataset.channels == 1:
        if dataset.values == "mask":
            thickness = (pixels > pixels.max() / 2).sum(0)
            return _scaled(np.sqrt(thickness), 0, np.sqrt(thickness.max()))
        pixels = pixels[len(pixels) // 2]
    if dataset.window:
        return _scaled(pixels, *dataset.window)
    if dataset.values == "relative":  # in units of their own
        return _scaled(pixels, *np.percentile(scan, (1, 99)))
    return _scaled(pixels, 0, 255 if scan.max() <= 255 else 65535)


def _scaled(pixels: NDArray, low: float, high: float) -> NDArray[np.uint8]:
    return (255 * np.clip((pixels - low) / max(high - low, 1e-6), 0, 1)).astype(np.uint8)


def _tile(picture: NDArray[np.uint8]) -> "Image":
    """The picture, its longer side as long as a tile: small ones keep their pixels visible, large ones are averaged."""
    from PIL import Image

    image = Image.fromarray(picture)
    scale = TILE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)


def _wrapped(text: str, fits: Callable[[str], bool]) -> list[str]:
    """The text in lines that fit, broken at spaces; a word that is too long is cut."""
    lines = [""]
    for word in text.replace("(", " (").split():
        longer = f"{lines[-1]} {word}".strip()
        if fits(longer):
            lines[-1] = longer
            continue
        while not fits(word):
            word = word.removesuffix("…")[:-1] + "…"
        lines.append(word)
    return [line for line in lines if line]

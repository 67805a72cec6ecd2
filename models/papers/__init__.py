"""The networks of each paper, a file a paper, and our own.

What people ask of them before one is built stands in ``models/zoo.csv``, too, so that no answer waits for torch;
``make docs`` writes it from here.
"""

from liquidlens.models.papers import cmu, hse2024, kth2021, liquidlens, liquidlens_grey, truong2022, tum2018

ENTRIES = {
    entry.name: entry
    for paper in (hse2024, truong2022, tum2018, cmu, kth2021, liquidlens, liquidlens_grey)
    for entry in paper.ENTRIES
}

"""Hostile files, and proof that each ends as it is stated to end.

`corpus` makes them, one kind of attack in each module; `harness` opens them as a person would and measures;
``python -m tests.attacks`` prints what came of all of them; `test_corpus` asserts it.
"""

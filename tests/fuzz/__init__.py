"""Fuzzing: what is made for strangers' bytes is fed with bytes that nobody foresaw.

    python -m tests.fuzz --seconds 180

`targets` says what is fuzzed and what is promised, `seeds` makes the valid files to start from, `mutate` changes them,
`child` is the process that does it, and ``__main__`` runs one such process after another and prints what was found.
Inputs that once broke a promise lie in ``regressions/``, and `test_fuzz` replays them.
"""

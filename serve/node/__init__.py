"""The DICOM node: series arrive from an archive, models judge them, reports go back.

`receiver` (behind `door`) and `web` bring images to the `spool`, and the `journal` says how far each series is.
`judge` reads and predicts by the `rules`; `report` and `picture` are what it says.  `sender`, or `web`, takes them to
the archive.  `running` is all of that in one process; `drift` looks at a journal.
"""

"""The server: one process for people and programs, behind one guard."""

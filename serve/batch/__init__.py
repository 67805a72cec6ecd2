"""Batch inference: any mix of files, folders, archives and lists in, one row per scan out."""

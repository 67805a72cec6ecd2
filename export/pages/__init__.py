"""The bundle's pages for people."""

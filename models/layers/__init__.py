"""Layers that networks of several papers share: liquid ones, and those that read volumes."""

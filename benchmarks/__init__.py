"""Side-by-side measurements that print ratios, and the demo.  Run as ``python -m benchmarks.NAME``."""

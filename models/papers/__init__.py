"""The networks of each paper, a file a paper, and our own."""

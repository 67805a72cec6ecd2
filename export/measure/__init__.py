"""What a file is worth: figures of each variant, and the operating point."""

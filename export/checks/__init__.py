"""What a file must pass before anyone sees it: parity, audit, golden answers."""

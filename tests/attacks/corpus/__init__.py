"""One kind of attack in each module: its text says what the attack hopes for, its `ATTACKS` how each is to end."""

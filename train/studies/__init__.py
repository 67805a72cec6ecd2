"""Many runs for one question: the papers' tables, sweeps of rates, searches, and the pages made of them."""

"""How many connections and requests a process can take at once."""

from contextlib import suppress

#: Connections at once, if the process may open twice as many files.
CONNECTIONS = 1_000


def most_connections() -> int:
    """How many connections there may be: half of the files that this process may have open, at most `CONNECTIONS`.  The
    other half is for uploads and for the processes that read them."""
    try:
        import resource
    except ImportError:  # Windows
        return CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * CONNECTIONS
    if soft < wanted:
        with suppress(ValueError, OSError):
            soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)


def most_requests() -> int:
    """How many requests are worked on at once: half of the connections, so that there is room for the next caller."""
    return most_connections() // 2

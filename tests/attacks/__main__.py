"""Print what comes of every attack, with its time and memory: ``python -m tests.attacks [word of a name]``."""

import sys
import tempfile
from pathlib import Path

from tests.attacks.attack import Answer, Attack, corpus
from tests.attacks.harness import Harness, Outcome


def _told(attack: Attack, outcome: Outcome, folder: str) -> str:
    """The outcome in words; of several answers, how many of each kind."""
    if outcome.died:
        return f"DIED of {outcome.died}"
    if problem := attack.ends.problem(outcome.answers):
        return f"NOT AS STATED: {problem}"
    refused = sum(answer.error is not None for answer in outcome.answers)
    if len(outcome.answers) > 1:
        return f"{refused} of {len(outcome.answers)} refused, {len(outcome.answers) - refused} read"
    return _words(outcome.answers[0]).replace(f"{folder}/", "")


def _words(answer: Answer) -> str:
    return answer.error or f"read: {' x '.join(map(str, answer.found))}"


def main() -> None:
    """One line per attack."""
    print(f"{'attack':52} {'as':8} {'s':>6} {'MB':>6}  outcome")
    total, slowest, largest = 0, 0.0, 0.0
    with Harness() as harness:
        for attack in corpus():
            if not all(word in attack.name for word in sys.argv[1:]):
                continue
            with tempfile.TemporaryDirectory() as folder:
                outcome = harness.open(attack.opener, attack.make(Path(folder)))
                told = _told(attack, outcome, folder)
            print(f"{attack.name:52} {attack.opener:8} {outcome.seconds:6.2f} {outcome.megabytes:6.0f}  {told[:300]}")
            total, slowest = total + 1, max(slowest, outcome.seconds)
            largest = max(largest, outcome.megabytes)
    print(f"{total} attacks, at most {slowest:.2f} s and {largest:.0f} MB each")


if __name__ == "__main__":
    main()

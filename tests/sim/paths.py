"""Links for tests: what a bad network does to packets, in words, by the seed."""

from __future__ import annotations

from random import Random


def bad_path(random: Random) -> str:
    """Delay, with jitter so that packets overtake each other, loss, duplication and single-bit damage; any of them may be 0."""
    delay = random.choice((0, 1, 10, 50))
    jitter = random.choice((0, 0.1, 5, 30)) * random.random() / 2
    shares = {
        "loss": random.choice((0, 0.02, 0.1, 0.2)) * random.random(),
        "duplicate": random.choice((0, 0.1)) * random.random(),
        "corrupt": random.choice((0, 0.02)) * random.random(),
    }
    words = [f"delay {delay + jitter:.6f}ms {jitter:.6f}ms"] if delay or jitter else []
    return " ".join(words + [f"{word} {share:.4%}" for word, share in shares.items() if share])

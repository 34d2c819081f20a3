"""The tokens that both engines are given."""
import random


def random_tokens(count: int, vocab_size: int) -> list[int]:
    """The same for both engines. What the tokens are costs nothing: every one takes the same work."""
    generator = random.Random(1)
    return [generator.randrange(vocab_size) for _ in range(count)]

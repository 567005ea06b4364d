"""What ends a training run before its last step."""


class Diverged(Exception):
    """Say in one sentence where the loss stopped being finite, and what is left."""


class Stopped(KeyboardInterrupt):
    """Say in one sentence what a signal left behind.

    Args:
        signum, sentence: the signal's number, kept as an attribute, and what is said.
    """

    def __init__(self, signum: int, sentence: str) -> None:
        super().__init__(sentence)
        self.signum = signum

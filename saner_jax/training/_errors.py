"""What ends a training run before its last step."""


class Diverged(Exception):
    """Say in one sentence where the loss stopped being finite, and which files are left."""


class Stopped(KeyboardInterrupt):
    """Say in one sentence which files a run has when a signal stops it.

    Args:
        signum, sentence: the signal's number, kept as an attribute, and the sentence.
    """

    def __init__(self, signum: int, sentence: str) -> None:
        super().__init__(sentence)
        self.signum = signum

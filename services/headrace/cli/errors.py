"""How a command fails: what happened, why, and what to do next."""


class CliError(Exception):
    """Ends the command with exit code 1."""

    def __init__(self, what: str, why: str, next_step: str) -> None:
        super().__init__(f"{what}: {why}; {next_step}")
        self.what = what
        self.why = why
        self.next_step = next_step

"""What can go wrong, each kind with its documented exit code; the command line turns them into two lines."""


class CatlipctlError(Exception):
    """Base of all errors meant for a person: what happened, and the exact command or change that mends it."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CatlipctlError):
    """The command line or the recipe asks for something that cannot be."""

    exit_code = 2


class DataError(CatlipctlError):
    """A source, a label set or a vocabulary cannot be used."""

    exit_code = 3


class CheckpointError(CatlipctlError):
    """A checkpoint is missing, damaged, or of another kind than needed."""

    exit_code = 4


class MachineError(CatlipctlError):
    """This machine lacks something, or fails at it: a device, a library, optional data, a disk, a network."""

    exit_code = 5


class NonFiniteLoss(CatlipctlError):
    """The loss or its gradient became NaN or infinite."""

    exit_code = 6


class OutOfMemory(CatlipctlError):
    """The device or the machine ran out of memory."""

    exit_code = 7


class Stopped(BaseException):
    """A signal ended the work, saved where there was anything to save: 130 for Ctrl-C, else 75 (run again).

    It may come up anywhere. As no Exception it is never taken for what may go wrong there.
    """

    def __init__(self, message: str, hint: str = "", *, exit_code: int = 75) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code


def as_known(error: Exception) -> CatlipctlError:
    """The error as one of ours; what we did not foresee keeps its own name and is its `__cause__`."""
    if isinstance(error, CatlipctlError):
        return error
    known: CatlipctlError
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        known = OutOfMemory(
            f"out of memory: {str(error).splitlines()[0] if str(error) else 'no more to be had'}",
            "take a smaller batch or image",
        )
    elif isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        known = CatlipctlError(
            f"{where}{error.strerror or error}",
            "check that it exists and that you may read and write it" if error.filename else "",
        )
    elif isinstance(error, ValueError) and "embedded null" in str(error):
        known = UsageError(
            "a path holds a NUL character", "look for one in the recipe, or in the listing of the data"
        )
    else:
        known = CatlipctlError(
            f"unexpected {type(error).__name__}: {error}",
            "run it again with CATLIPCTL_DEBUG=1 for the traceback, and report it",
        )
    known.__cause__ = error
    return known

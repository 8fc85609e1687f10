"""What can go wrong for a user, as exceptions whose text is the whole message."""

from __future__ import annotations

from collections.abc import Iterable


class VQError(Exception):
    """A mistake or failure that a user can act on; its text needs no traceback."""


class RunError(VQError):
    """A run that was set up correctly failed while it worked."""


class SettingError(VQError, ValueError):
    """A setting has a value that cannot be used.

    The message names the setting by its whole key path, the value, what was expected and, where
    one is known, the fix. A component raises it with the name of its own option; the code that
    builds the component adds the path.
    """

    def __init__(self, setting: str, value: object, expected: str, fix: str = "") -> None:
        super().__init__(setting, value, expected, fix)
        self.setting, self.value, self.expected, self.fix = setting, value, expected, fix

    def __str__(self) -> str:
        fix = f"; {self.fix}" if self.fix else ""
        return f"{self.setting} = {self.value!r}: expected {self.expected}{fix}"

    def under(self, prefix: str) -> SettingError:
        """The same error with a prefix to its key path, as in ``quantizer`` + ``groups``."""
        setting = f"{prefix}.{self.setting}" if prefix else self.setting
        return SettingError(setting, self.value, self.expected, self.fix)


class UsageError(VQError):
    """A command or a config file that cannot be understood."""


class ComponentError(VQError):
    """A requested component is missing, ambiguous or broken."""


class MainProcessError(VQError):
    """Raised on the other processes of a run when the main one failed, which reports the cause.

    Args:
        kind: the class above that the failure belongs to.
        cause: its message.
    """

    def __init__(self, kind: type[VQError], cause: str) -> None:
        super().__init__(kind, cause)
        self.kind, self.cause = kind, cause

    def __str__(self) -> str:
        return f"the main process failed: {self.cause}"

    @classmethod
    def of(cls, error: BaseException) -> MainProcessError:
        """What the other processes raise for this failure of the main one."""
        kinds = (SettingError, UsageError, ComponentError)
        kind = next((each for each in kinds if isinstance(error, each)), RunError)
        return cls(kind, f"{type(error).__name__}: {error}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``did you mean 'poincare'?`` for a near miss, else an empty string."""
    import difflib  # not at the start of every command

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""

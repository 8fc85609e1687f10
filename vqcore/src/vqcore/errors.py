"""What can go wrong for a user, as exceptions whose text is the whole message."""

from __future__ import annotations

import re
from collections.abc import Iterable

_UNUSUAL = re.compile(r"[^\x20-\x7e]")


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
        return f"{self.setting} = {shown(self.value)}: expected {self.expected}{fix}"

    def under(self, prefix: str) -> SettingError:
        """The same error with a prefix to its key path, as in ``quantizer`` + ``groups``."""
        setting = f"{prefix}.{self.setting}" if prefix else self.setting
        return SettingError(setting, self.value, self.expected, self.fix)


class UsageError(VQError):
    """A command or a config file that cannot be understood."""


class ComponentError(VQError):
    """A requested component is missing, ambiguous or broken."""


class OtherProcessError(VQError):
    """Raised on the other processes of a run when one failed, which reports the cause.

    Args:
        kind: the class above that the failure belongs to.
        cause: its message.
        rank: the number of the process that failed; 0 is the main one.
    """

    def __init__(self, kind: type[VQError], cause: str, rank: int = 0) -> None:
        super().__init__(kind, cause, rank)
        self.kind, self.cause, self.rank = kind, cause, rank

    def __str__(self) -> str:
        process = f"process {self.rank}" if self.rank else "the main process"
        return f"{process} failed: {self.cause}"

    @classmethod
    def of(cls, error: BaseException, rank: int = 0) -> OtherProcessError:
        """What the other processes raise for this failure of the one with this rank."""
        kinds = (SettingError, UsageError, ComponentError)
        kind = next((each for each in kinds if isinstance(error, each)), RunError)
        return cls(kind, f"{type(error).__name__}: {error}", rank)


def shown(value: object, longest: int = 200) -> str:
    """A value as an error message prints it: its ``repr``, cut in the middle where it is long."""
    try:
        text = repr(value)
    except Exception as error:  # an integer of too many digits, or a plugin's own repr
        return f"<{type(value).__name__}: {type(error).__name__}>"
    if "\n" in text:  # of a module
        text = " ".join(line.strip() for line in text.split("\n"))
    return shortened(text, longest)


def describe_error(error: BaseException) -> str:
    """An exception in one line; a syntax error with its place."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})"
    text = shortened(printable(" ".join(str(error).split())), 1000)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def shown_key(key: str) -> str:
    """A key path as it is, or as ``shown`` prints it where it is long or has control characters."""
    return key if key.isprintable() and len(key) <= 200 else shown(key)


def printable(text: str, *, lines: bool = False) -> str:
    r"""A text with what is not printable as escapes, so that a terminal shows and does not act.

    These are control characters, marks that reorder a line, and halves of characters; with
    ``lines`` newlines and tabs stay.
    """

    def escaped(found: re.Match[str]) -> str:
        kept = found[0].isprintable() or (lines and found[0] in "\n\t")
        return found[0] if kept else found[0].encode("unicode_escape").decode()

    return _UNUSUAL.sub(escaped, text)


def shortened(text: str, longest: int = 200) -> str:
    """A text, cut in the middle where it is long."""
    half = (longest - 5) // 2
    return text if len(text) <= longest else f"{text[:half]} ... {text[-half:]}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``did you mean 'poincare'?`` for a near miss or another library's name, else empty."""
    import difflib  # not at the start of every command

    from vqcore.plugin.other_names import our_names

    known = list(known)
    close = [ours for ours in our_names(name) if ours in known]
    close += difflib.get_close_matches(name[:100], known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""

"""The rules of the kit: each check is one rule, named after its method, stated by its docstring."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn
from unittest import SkipTest

import torch
from torch import Tensor

from vqcore.plugin.blame import described, place_of

#: pytest then shows the line of the check that failed instead of the helper's.
__tracebackhide__ = True


class ConformanceError(AssertionError):
    """A component breaks a rule of its interface.

    Attributes:
        rule: short name of the rule, ``log-inverts-exp`` for the check ``test_log_inverts_exp``.
        sentence: the rule itself.
        detail: what was found instead.
    """

    def __init__(self, rule: str, sentence: str, detail: str) -> None:
        super().__init__(rule, sentence, detail)
        self.rule = rule
        self.sentence = sentence
        self.detail = detail

    def __str__(self) -> str:
        return f"broken rule {self.rule!r}: {self.sentence} Found: {self.detail}"


def rule(check: Callable[..., None]) -> Callable[[Any], None]:
    """Make a method ``test_name`` the check of one rule: what it raises becomes ConformanceError.

    A check with a parameter ``manifold`` runs on a copy of each of the case's ``manifolds()``.
    """
    name, sentence = _name(check.__name__), _sentence(check)
    on_manifolds = "manifold" in inspect.signature(check).parameters

    def checked(self: Any) -> None:
        where = ""
        try:
            for manifold in self.manifolds() if on_manifolds else [None]:
                where = f"on {type(manifold).__name__}: " if on_manifolds else ""
                check(self, *([copy.deepcopy(manifold)] if on_manifolds else []))
        except (ConformanceError, SkipTest):
            raise
        except Exception as error:
            # what the kit found has no traceback worth reading, an error in the component has
            cause = None if type(error) is AssertionError else error
            raise ConformanceError(name, sentence, where + _summary(error)) from cause

    # No functools.wraps: a runner that follows __wrapped__ would take ``manifold`` for a fixture.
    for attribute in ("__name__", "__qualname__", "__doc__", "__module__"):
        setattr(checked, attribute, getattr(check, attribute))
    return checked


def rules(case: type | object) -> dict[str, str]:
    """Every rule that a conformance class checks: name -> sentence."""
    return {name: _sentence(check) for name, check in _checks(case).items()}


def violations(case: object, skip: Collection[str] = ()) -> list[ConformanceError]:
    """The rules that a component breaks: runs every check of ``case``, an instance.

    ``skip`` names rules that are left out.
    """
    found = []
    for name, check in _checks(case).items():
        if name in skip:
            continue
        try:
            check()
        except SkipTest:
            continue
        except ConformanceError as error:
            error.rule = name  # the check may be another rule's, by assignment
            found.append(error)
    return found


def stated(case: object, component: object, fact: str) -> Any:
    """A fact of a component: what its class states, unless the test class says otherwise."""
    said = getattr(case, fact)
    return getattr(component, fact) if said is None else said


@contextmanager
def unless_stated(component: object, fact: str, reason: str) -> Iterator[None]:
    """Inside, what is found ends with the fact that the component's class can state instead."""
    try:
        yield
    except AssertionError as error:
        fix = f"set `{fact}` on the class {type(component).__name__} if {reason}"
        raise AssertionError(f"{error}; {fix}") from None


def expect(condition: object, detail: str) -> None:
    """Fail with ``detail``, what was found instead, unless the condition is true."""
    if not bool(condition):
        fail(detail)


def fail(detail: str) -> NoReturn:
    """Fail with ``detail``, what was found instead."""
    raise AssertionError(detail)


def same(found: Any, expected: Any, what: str) -> None:
    """Equal to the bit, in shape and dtype too; NaN equals NaN."""
    if not (isinstance(found, Tensor) and isinstance(expected, Tensor)):
        expect(found == expected, f"{what}: {found!r} instead of {expected!r}")
        return
    kind = (found.dtype, tuple(found.shape))
    wanted = (expected.dtype, tuple(expected.shape))
    expect(kind == wanted, f"{what}: {kind} instead of {wanted}")
    equal = torch.equal(found.detach().nan_to_num(), expected.detach().nan_to_num())
    if not equal or _nans(found) != _nans(expected):
        fail(f"{what}: {_difference(found, expected)}")


def near(found: Tensor, expected: Tensor, what: str, rtol: float, atol: float) -> None:
    """Equal within ``atol + rtol |expected|``, and of the same shape; dtypes may differ."""
    shape, wanted = tuple(found.shape), tuple(expected.shape)
    expect(shape == wanted, f"{what}: shape {shape} instead of {wanted}")
    a, b = found.detach().double(), expected.detach().double()
    if not torch.allclose(a, b, rtol=rtol, atol=atol):
        fail(f"{what}: {_difference(found, expected)}")


def finite(value: Tensor | None, what: str) -> None:
    """No NaN and no infinity; None, an absent gradient, passes."""
    if value is not None and not bool(torch.isfinite(value).all()):
        bad = int((~torch.isfinite(value)).sum())
        fail(f"{what}: {bad} of {value.numel()} numbers are NaN or infinite")


def valid(manifold: Any, points: Tensor, what: str) -> None:
    """Points of the manifold."""
    why = manifold.check_points(points)
    expect(why is None, f"{what}: {why}")


def _nans(value: Tensor) -> int:
    return int(value.isnan().sum())


def _difference(found: Tensor, expected: Tensor) -> str:
    """How much two tensors of one shape differ."""
    a, b = found.detach().double(), expected.detach().double()
    if not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
        return f"{_nans(a)} NaN instead of {_nans(b)}, or infinities"
    largest = float((a - b).abs().max())
    return f"{int((a != b).sum())} of {a.numel()} numbers differ, by up to {largest:.3g}"


def _checks(case: type | object) -> dict[str, Callable[..., None]]:
    """The checks of a class or an instance, by their rules; a test that is None is left out."""
    tests = {name: getattr(case, name) for name in dir(case) if name.startswith("test_")}
    return {_name(test): check for test, check in tests.items() if check is not None}


def _name(test: str) -> str:
    return test.removeprefix("test_").replace("_", "-")


def _sentence(check: Callable[..., None]) -> str:
    return " ".join((inspect.getdoc(check) or _name(check.__name__)).split())


def _summary(error: Exception) -> str:
    """What a check found; of an error in the component, also its type and line."""
    text = " ".join(str(error).split())
    if type(error) is AssertionError and text:
        return text
    return f"{type(error).__name__}: {text[:300]}{place_of(error)}"


def explained(error: BaseException) -> str:
    """An error in a line, with its place; of a module that is missing, with what to do."""
    missing = isinstance(error, ModuleNotFoundError)
    fix = "; install it, and name it in the dependencies of your package" if missing else ""
    return f"{described(error)}{fix}"

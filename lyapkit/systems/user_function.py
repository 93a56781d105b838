"""`UserFunction`: a user's function of a state, callable on a batch of torch tensors whatever it is written in.

Nothing that a function does may reach the run by a back door: it gets private copies of its arguments, what it returns
is copied, and numbers of another kind are converted where that is exact, named where digits are lost, and refused
where they are something else.
"""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lyapkit.systems.arithmetic import OneArithmetic
from lyapkit.systems.kinks import KinkWatch, are_kinks

TOGETHER, ONE_BY_ONE, NUMPY = "torch, all trajectories at once", "torch, trajectory by trajectory", "NumPy"
_INTO_NUMPY = {"__array__", "numpy"}
_OUT_OF_TORCH = {*_INTO_NUMPY, "__float__", "__int__", "item", "tolist"}
_MOST_CANDIDATES = 256  # states at a kink that are kept before they are examined


class UserFunction:
    """A user's function of (state,) or (state, input), for a batch of trajectories.

    How it can be called is found out at the first call: as a torch function, which can be differentiated, on all
    trajectories at once by ``torch.vmap``; on one at a time, where vmap does not allow what it does (Python's `if`,
    writing into a new tensor); or, where it is not made of torch operations, with NumPy arrays.

    Parameters
    ----------
    function : callable
        The user's.
    role : str
        What messages call it: "step", "jacobian", "vector_field".
    shape : tuple of int
        Of its value for one trajectory.
    batched : bool
        Whether it takes and returns a leading trajectory dimension.
    arguments : tuple of str
        Names of its arguments, for messages.
    advice : str
        What to try when its signature is not that.

    Attributes
    ----------
    is_pure : bool
        Whether the function is known to leave its arguments alone and to return new tensors of their dtype, as those
        of `classical` do, so that no copies are needed. Default False.

    Raises
    ------
    ValueError
        If the function does not take these arguments; and at use, if it fails, returns another shape or something
        that is not a real number, or returns different values for the same arguments.
    """

    def __init__(
        self,
        function: Callable,
        role: str,
        shape: tuple[int, ...],
        batched: bool,
        arguments: tuple[str, ...] = ("state",),
        advice: str = "",
    ) -> None:
        self.function = function
        self.role = role
        self.shape = shape
        self.batched = batched
        self.is_pure = False
        self.manner: str | None = None
        self.helped = False  # by `OneArithmetic`
        self.is_differentiated_together = True
        self.differs_in_torch = False
        self.writes = False  # into its arguments
        self.has_kinks = False
        self.leaves_torch: set[str] = set()
        self.losses: set[str] = set()  # of digits, one sentence each
        self.n_calls = 0
        self.n_at_kink = 0
        self.kink: Tensor | None = None
        self._candidates: dict[bytes, tuple[Tensor, Tensor | None]] = {}
        check_signature(function, role, arguments, advice)

    def fresh(self) -> UserFunction:
        """Return this function with nothing found out or recorded."""
        other = copy.copy(self)
        other.manner, other.helped, other.has_kinks = (TOGETHER if self.is_pure else None), False, False
        other.leaves_torch, other.losses, other._candidates = set(), set(), {}
        other.n_calls, other.n_at_kink, other.kink = 0, 0, None
        return other

    def converted(self, dtype: torch.dtype, device: torch.device) -> UserFunction:
        """Return this function, a module's parameters converted; the original is not changed."""
        other = self.fresh()
        if isinstance(self.function, nn.Module):
            other.function = copy.deepcopy(self.function).to(device, dtype)
        return other

    def wrapped(self, wrap: Callable[[Callable], Callable], shape: tuple[int, ...]) -> UserFunction:
        """Return this function inside another, whose value for one trajectory has another shape."""
        other = self.fresh()
        other.function, other.shape, other.is_pure, other.manner = wrap(self.function), shape, False, None
        return other

    def call_once(self, state: Tensor, input: Tensor | None) -> None:
        """Find out how the function can be called, if that is not known."""
        if self.manner is None:
            self._find_manner((state,) if input is None else (state, input))

    @property
    def is_torch(self) -> bool:
        """Whether the function is made of torch operations, as far as its first call shows."""
        return self.manner in (TOGETHER, ONE_BY_ONE)

    def __call__(self, state: Tensor, input: Tensor | None) -> Tensor:
        """Return the function's value, (B, *shape), in the dtype of `state`."""
        arguments = (state,) if input is None else (state, input)
        if self.is_pure:
            self.manner = TOGETHER
            value = self.function(*arguments)
            return self._of_right_shape(value, len(state), arguments)
        if self.manner is None:
            self._find_manner(arguments)
        return self._value(arguments)

    def watched(self, state: Tensor, input: Tensor | None) -> Tensor:
        """Return the function's value, noting the states at which it stands at a kink."""
        arguments = (state,) if input is None else (state, input)
        if self.manner is None:
            self._find_manner(arguments)
        self.n_calls += 1
        if not self.has_kinks:
            return self._value(arguments)
        value, met = self._call_watching(arguments)
        if bool(met.any()):
            self._note_kinks(met, state, input)
        return self._of_right_shape(value, len(state), arguments)

    def pushed(self, state: Tensor, input: Tensor | None, tangent: Tensor) -> Tensor:
        """Return the tangent vectors (B, k, N) pushed by automatic differentiation."""
        if self.manner == TOGETHER:
            try:
                return self._pushed_together(state, input, tangent)
            except Exception:  # vmap of the derivative may allow less than the function alone
                if self.batched and self.is_differentiated_together:
                    self.is_differentiated_together = False
                    return self._pushed_together(state, input, tangent)
                if self.batched:
                    raise
                self.manner, self.has_kinks = ONE_BY_ONE, True
        arguments = (state,) if input is None else (state, input)
        jacobians = [self._jacobian_of_one(*rows) for rows in zip(*arguments, strict=True)]
        return tangent @ torch.stack(jacobians).mT

    def _pushed_together(self, state: Tensor, input: Tensor | None, tangent: Tensor) -> Tensor:
        state = state.clone()  # once is enough, unless the function writes into it

        def value(point: Tensor) -> Tensor:
            arguments = (point,) if input is None else (point, input)
            if self.is_pure:
                return self.function(*arguments)
            if self.batched or self.writes:
                return self._call(arguments, TOGETHER, self.helped)
            with _Arithmetic(state.dtype, self.helped):
                new = torch.vmap(self._as_tensor)(*arguments)
            return new if new.dtype == state.dtype else new.to(state.dtype)

        def derivative(direction: Tensor) -> Tensor:
            return torch.func.jvp(value, (state,), (direction,))[1]

        if self.is_differentiated_together:
            return torch.vmap(derivative, in_dims=1, out_dims=1)(tangent)
        return torch.stack([derivative(direction) for direction in tangent.unbind(1)], dim=1)

    def _jacobian_of_one(self, state: Tensor, *input: Tensor) -> Tensor:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about float(tensor): what is lost there is checked
            leaf = state.detach().clone().requires_grad_()
            value = self._call_one(self.helped, leaf.clone(), *input).reshape(-1)
            if not value.requires_grad:
                return state.new_zeros(len(value), len(state))
            rows = [
                torch.autograd.grad(entry, leaf, retain_graph=True, allow_unused=True, materialize_grads=True)[0]
                for entry in value.unbind()
            ]
        return torch.stack(rows)

    def findings(self, smallest_share: float = 0.0) -> list[str]:
        """Return what the calls so far showed that a user must know: lost digits, kinks met exactly.

        Kinks are not named where they were met at less than `smallest_share` of the calls.
        """
        found = sorted(self.losses)
        self._examine_candidates()
        if self.kink is not None and self.n_at_kink > smallest_share * self.n_calls:
            where = "it" if self.n_at_kink == 1 else f"it and at {self.n_at_kink - 1} other states"
            found.append(
                f"automatic differentiation of {self.role} met a kink at state {_listed(self.kink)} exactly; at "
                f"{where} the slope depends on the side, and the one that was used is neither or is zero: exponents "
                "may be −inf or off. Start elsewhere (no round numbers), or give jacobian="
            )
        return found

    def failure(self, arguments: tuple[Tensor, ...], error: Exception) -> ValueError:
        """Return the error that says that the function failed, on what, and why."""
        shapes = " and ".join(str(tuple(a.shape if self.batched else a.shape[1:])) for a in arguments)
        reason = str(error)
        if not isinstance(error, (TypeError, ValueError, RuntimeError, IndexError, AttributeError)) or not reason:
            reason = f"{type(error).__name__} {reason}".strip()
        if "expected Tensor as element" in reason:
            reason += "; numbers beside tensors may stand in a list, which need not be stacked: return [a, 1.0]"
        if self.batched:
            reason += " (a batched function has to take any number of trajectories)"
        return ValueError(f"{self.role} failed on arguments of shape {shapes}: {reason}")

    # ------------------------------------------------------------------------------------------ calling

    def _value(self, arguments: tuple[Tensor, ...]) -> Tensor:
        try:
            value = self._call(arguments, self.manner, self.helped)
        except _NotNumbersError as error:
            raise ValueError(str(error)) from None
        except Exception as error:
            raise self.failure(arguments, error) from error
        return self._of_right_shape(value, len(arguments[0]), arguments)

    def _call(self, arguments: tuple[Tensor, ...], manner: str, helped: bool) -> Tensor:
        """Return the function's value in the arguments' dtype, copied."""
        if manner == NUMPY:
            return self._call_numpy(*arguments)
        if manner == ONE_BY_ONE:
            return torch.stack([self._call_one(helped, *rows) for rows in zip(*arguments, strict=True)])
        function = self.function if self.batched else torch.vmap(self._as_tensor)
        private = [argument.clone() for argument in arguments]
        with _Arithmetic(arguments[0].dtype, helped):
            value = function(*private)
        if self.manner is None:  # being found out
            self.writes = not all(map(same_numbers, private, arguments))
        return self._as_real(value, arguments[0].dtype)

    def _call_one(self, helped: bool, *arguments: Tensor) -> Tensor:
        with _Arithmetic(arguments[0].dtype, helped):
            value = self._as_tensor(*(argument.clone() for argument in arguments))
        return self._as_real(value, arguments[0].dtype)

    def _as_tensor(self, *arguments: Tensor) -> Any:
        """Return the function's value; a list of tensors and numbers as a tensor."""
        return _stacked(self.function(*arguments), arguments[0])

    def _as_real(self, value: Any, dtype: torch.dtype) -> Tensor:
        """Return a copy of a tensor in `dtype`, or say why that would be something else."""
        if not isinstance(value, Tensor):
            raise TypeError(f"it returned a {type(value).__name__}, not a tensor, for tensors")
        if value.dtype == dtype:
            return value.clone()
        self._check_kind(value.dtype.is_complex, value.dtype.is_floating_point, value.dtype)
        if value.dtype.is_floating_point and torch.finfo(value.dtype).eps > torch.finfo(dtype).eps:
            self._lose_digits(value.dtype, dtype)
        return value.to(dtype, copy=True)

    def _call_numpy(self, *arguments: Tensor) -> Tensor:
        arrays = [argument.detach().cpu().numpy().copy() for argument in arguments]
        with np.errstate(all="ignore"):  # a state that diverges is found, and named, by its values
            if self.batched:
                value = self._as_array(self.function(*arrays), arrays[0].dtype)
            else:
                rows = (self._as_array(self.function(*rows), arrays[0].dtype) for rows in zip(*arrays, strict=True))
                value = np.stack(list(rows))
        return torch.as_tensor(value, device=arguments[0].device)

    def _as_array(self, value: Any, dtype: np.dtype) -> np.ndarray:
        """Return a copy of a function's value in `dtype`, or say why that would be something else."""
        if value is None:
            raise TypeError("it returned None: is there a return statement?")
        array = np.asarray(value)
        if array.dtype.kind == "O":
            array = array.astype(dtype)
        self._check_kind(array.dtype.kind == "c", array.dtype.kind == "f", array.dtype)
        if array.dtype.kind == "f" and array.dtype.itemsize < dtype.itemsize:
            self._lose_digits(array.dtype, dtype)
        return np.array(array, dtype=dtype)

    def _check_kind(self, is_complex: bool, is_floating: bool, dtype: Any) -> None:
        if is_complex:
            raise _NotNumbersError(
                f"{self.role} returned complex numbers for a real state: for a system of complex states give a complex "
                "initial_state, for a real one return the real part"
            )
        if not is_floating and (len(self.shape) == 1 or str(dtype).endswith("bool")):  # whole-number matrices are exact
            raise _NotNumbersError(
                f"{self.role} returned {str(dtype).removeprefix('torch.')} values, expected floating-point numbers: "
                "an array of whole numbers cuts off what comes after the point (write 1.0 for 1, or dtype=float)"
            )

    def _lose_digits(self, given: Any, expected: Any) -> None:
        given, expected = (str(dtype).removeprefix("torch.") for dtype in (given, expected))
        self.losses.add(
            f"{self.role} returned {given} numbers in a run in {expected}: the digits that {given} lacks are lost in "
            "every step, and the exponents are those of the rounded system"
        )

    def _of_right_shape(self, value: Tensor, batch: int, arguments: tuple[Tensor, ...]) -> Tensor:
        if value.shape != (batch, *self.shape):
            got, expected = (s if self.batched else s[1:] for s in (tuple(value.shape), (batch, *self.shape)))
            raise ValueError(
                f"{self.role} returned shape {got}, expected {expected} "
                f"(state_size={self.shape[0]}, batched={self.batched})"
            )
        return value

    # ------------------------------------------------------------------------------------------ finding out

    def _find_manner(self, arguments: tuple[Tensor, ...]) -> None:
        """Find out how the function can be called, and that it returns the same for the same arguments."""
        error = None
        for manner, helped in ((TOGETHER, False), (TOGETHER, True), (ONE_BY_ONE, False), (ONE_BY_ONE, True)):
            if manner == ONE_BY_ONE and self.batched:
                continue
            watch = KinkWatch()
            try:
                with warnings.catch_warnings(), watch:
                    warnings.simplefilter("ignore")
                    value = self._call(arguments, manner, helped)
            except _NotNumbersError as refusal:
                if not watch.called & _INTO_NUMPY:
                    raise ValueError(str(refusal)) from None
                error = refusal
            except Exception as raised:  # whatever the user's function raised: the last one is shown in the end
                error = raised
            else:
                if watch.called & _INTO_NUMPY and self._works_in_numpy(arguments) is None:
                    return
                if not isinstance(self.function, nn.Module) and self._means_numpy(arguments, value):
                    return
                self.manner, self.helped = manner, helped
                self.leaves_torch = watch.called & _OUT_OF_TORCH
                self.has_kinks = watch.met is not None or manner == ONE_BY_ONE or bool(self.leaves_torch)
                self._check_repeatable(arguments, value)
                return
            if watch.called & _INTO_NUMPY:
                break
        numpy_error = self._works_in_numpy(arguments)
        if numpy_error is None:
            return
        if watch.called & _INTO_NUMPY:
            raise self.failure(arguments, numpy_error) from numpy_error
        if str(numpy_error) != str(error):
            error = TypeError(f"{error} (with NumPy arrays: {numpy_error})")
        raise self.failure(arguments, error) from error

    def _means_numpy(self, arguments: tuple[Tensor, ...], value: Tensor) -> bool:
        """Whether a function that takes tensors and arrays alike gives other numbers for arrays, which then count.

        A function that writes into its argument does: ``x = s[0]`` is a number for an array, for a tensor a view.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                losses, other = set(self.losses), self._call_numpy(*arguments)
                self.losses = losses
            if other.shape != value.shape or torch.allclose(
                other, value, rtol=1e5 * torch.finfo(value.dtype).eps, equal_nan=True
            ):
                return False
        except Exception:
            return False
        if not same_numbers(self._call(arguments, TOGETHER if self.batched else ONE_BY_ONE, helped=False), value):
            return False  # not a function at all: that is said elsewhere
        self.manner = NUMPY
        self.differs_in_torch = True
        return True

    def _works_in_numpy(self, arguments: tuple[Tensor, ...]) -> Exception | None:
        """Return None if the function takes NumPy arrays, which then is its manner, or why it does not."""
        try:
            value = self._call_numpy(*arguments)
        except _NotNumbersError as error:
            raise ValueError(str(error)) from None
        except Exception as error:
            return error
        self.manner = NUMPY
        self._check_repeatable(arguments, value)
        return None

    def _check_repeatable(self, arguments: tuple[Tensor, ...], value: Tensor) -> None:
        again = self._value(arguments)
        if not same_numbers(again, value):
            raise ValueError(not_a_function(self.role, value, again))

    # ------------------------------------------------------------------------------------------ kinks

    def _call_watching(self, arguments: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Return the value and whether a kink was met, (B,)."""
        batch, dtype = len(arguments[0]), arguments[0].dtype
        try:
            if self.manner == TOGETHER and not self.batched:
                value, met = torch.vmap(self._watched_one)(*(argument.clone() for argument in arguments))
                return self._as_real(value, dtype), met
            if self.manner == TOGETHER:
                with _Arithmetic(dtype, self.helped), KinkWatch(batch) as watch:
                    value = self.function(*(argument.clone() for argument in arguments))
                met = torch.zeros(batch, dtype=torch.bool) if watch.met is None else watch.met
                return self._as_real(value, dtype), met
            pairs = [self._watched_one(*(row.clone() for row in rows)) for rows in zip(*arguments, strict=True)]
            return (
                torch.stack([self._as_real(value, dtype) for value, _ in pairs]),
                torch.stack([met for _, met in pairs]),
            )
        except _NotNumbersError as error:
            raise ValueError(str(error)) from None
        except Exception as error:
            raise self.failure(arguments, error) from error

    def _watched_one(self, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        with _Arithmetic(arguments[0].dtype, self.helped), KinkWatch() as watch:
            value = self._as_tensor(*arguments)
        return value, torch.zeros((), dtype=torch.bool) if watch.met is None else watch.met

    def _note_kinks(self, met: Tensor, state: Tensor, input: Tensor | None) -> None:
        for row in met.nonzero().flatten().tolist():
            one = state[row : row + 1].detach().clone()
            driven = None if input is None else input[row : row + 1].clone()
            key = one.cpu().numpy().tobytes() + (b"" if driven is None else driven.cpu().numpy().tobytes())
            self._candidates.setdefault(key, (one, driven))
        if len(self._candidates) >= _MOST_CANDIDATES:
            self._examine_candidates()

    def _examine_candidates(self) -> None:
        if not self._candidates:
            return
        states, inputs = zip(*self._candidates.values(), strict=True)
        self._candidates = {}
        state = torch.cat(states)
        input = None if inputs[0] is None else torch.cat(inputs)
        confirmed = are_kinks(self._flat, self._flat_pushed, state, input)
        self.n_at_kink += int(confirmed.sum())
        if self.kink is None and bool(confirmed.any()):
            self.kink = state[confirmed][0]

    def _flat(self, state: Tensor, input: Tensor | None) -> Tensor:
        return self(state, input).flatten(1)

    def _flat_pushed(self, state: Tensor, input: Tensor | None, tangent: Tensor) -> Tensor:
        return self.pushed(state, input, tangent)


class _NotNumbersError(TypeError):
    """A function returned what is not a real number with digits after the point."""


class _Arithmetic:
    """Inside this context new tensors have the run's dtype; `helped` by `OneArithmetic`, mixed ones, too."""

    def __init__(self, dtype: torch.dtype, helped: bool) -> None:
        self._dtype = dtype
        self._mode = OneArithmetic(dtype) if helped else None

    def __enter__(self) -> None:
        self._before = torch.get_default_dtype()
        if self._before != self._dtype:
            torch.set_default_dtype(self._dtype)
        if self._mode is not None:
            self._mode.__enter__()

    def __exit__(self, *raised: Any) -> None:
        if self._mode is not None:
            self._mode.__exit__(*raised)
        if self._before != self._dtype:
            torch.set_default_dtype(self._before)


def check_signature(function: Callable, role: str, arguments: tuple[str, ...], advice: str) -> None:
    """Raise a `ValueError` if a function cannot be called with these arguments."""
    called = function.forward if isinstance(function, nn.Module) else function
    if not callable(called):
        raise ValueError(f"{role} is a {type(called).__name__}, expected a function of ({', '.join(arguments)})")
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):  # built-in functions have none
        return
    try:
        signature.bind(*arguments)
    except TypeError:
        raise ValueError(
            f"{role} takes {signature}, but it is called as {role}({', '.join(arguments)})"
            + (f": {advice}" if advice else "")
        ) from None


def same_numbers(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are bitwise the same, up to what a GPU's order of summation may change; NaN equals NaN."""
    if first.device.type == "cpu":
        return torch.equal(first.nan_to_num(nan=1.25e300), second.nan_to_num(nan=1.25e300))
    return torch.allclose(first, second, rtol=64 * torch.finfo(first.dtype).eps, equal_nan=True)


def not_a_function(role: str, first: Tensor, second: Tensor) -> str:
    """Return what is wrong with a function that gave two values for the same arguments."""
    difference = (first - second).abs().nan_to_num(nan=torch.inf).flatten()
    worst = int(difference.argmax())
    return (
        f"{role} is not a function of its arguments: called twice with the same, it returned "
        f"{float(first.flatten()[worst]):.10g} and {float(second.flatten()[worst]):.10g}. Random numbers, dropout "
        "(call module.eval()), counters and other memory of its own do that: make them inputs (input_size=), state "
        "variables, or constants"
    )


def _stacked(value: Any, like: Tensor) -> Any:
    """Return lists of tensors and numbers, nested or not, as one tensor; anything else as it is."""
    if not isinstance(value, (list, tuple)) or not _has_tensor(value):
        return value
    return torch.stack(
        [
            entry if isinstance(entry, Tensor) else torch.as_tensor(entry, dtype=like.dtype, device=like.device)
            for entry in (_stacked(entry, like) for entry in value)
        ]
    )


def _has_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, (list, tuple)) and any(_has_tensor(v) for v in value))


def _listed(values: Tensor) -> str:
    shown = ", ".join(f"{value:.10g}" for value in values.tolist()[:6])
    return f"[{shown}{', …' if len(values) > 6 else ''}]"

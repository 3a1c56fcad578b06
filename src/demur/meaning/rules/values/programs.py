"""The value of a small arithmetic program, as models write one when they are asked to compute an answer in code.

Assignments, arithmetic, comparisons, ``if``, loops, functions of its own and a few built-in ones are evaluated on the
syntax tree, within a bound of steps and of the numbers' size. Nothing else is: no import but ``math``, no attribute but
its functions, no name that the program did not set. A program that needs more has no value (None).
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

MOST_STEPS = 20_000
LARGEST = 1e15  # magnitude up to which numbers are computed
RESULT_NAMES = ("ans", "answer", "result", "final_answer", "solution")

_FENCE = re.compile(r"```[a-zA-Z0-9_+-]*[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
_OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "float": float,
    "floor": math.floor,
    "int": int,
    "len": len,
    "max": max,
    "min": min,
    "round": round,
    "sqrt": math.sqrt,
    "sum": sum,
}


class _NoValueError(Exception):
    """The program does more than is evaluated here."""


class _ReturnError(Exception):
    """A function of the program has returned."""

    def __init__(self, value: Any) -> None:
        self.value = value


def program_value(text: str) -> float | None:
    """The number that a program sets last: ``ans`` or another result name, else what it prints, returns or ends with.

    ``text`` is a program, or holds fenced blocks of code of which the last counts. None if it is not a program, sets
    no number, or does more than arithmetic.
    """
    for tree in (_parse(code) for code in reversed(_FENCE.findall(text) or [text])):
        value = None if tree is None else _run(tree)
        if value is not None:
            return value
    return None


def is_program(text: str) -> bool:
    """True for a text that is nothing but Python with an assignment or a function in it."""
    return _parse(text) is not None


def parse_python(code: str) -> ast.Module | None:
    """Python's syntax tree; None for what is not Python. Warnings of its parser are those of others' code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _parse(code: str) -> ast.Module | None:
    tree = parse_python(code)
    sets = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.FunctionDef)
    return tree if tree is not None and any(isinstance(node, sets) for node in tree.body) else None


def _run(tree: ast.Module) -> float | None:
    machine = _Machine()
    try:
        machine.run(tree.body)
        if machine.last is None and machine.shown is None and len(machine.functions) == 1:
            machine.shown = machine.call(next(iter(machine.functions)), ())  # def solution(): ... that nothing calls
    except (_NoValueError, _ReturnError, ArithmeticError, TypeError, ValueError, LookupError, RecursionError):
        return None
    named = [machine.names[name] for name in RESULT_NAMES if name in machine.names]
    for value in (*named, machine.shown, machine.last):
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    return None


class _Machine:
    """The names of a program while it runs."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.functions: dict[str, ast.FunctionDef] = {}
        self.shown: Any = None  # printed, or a bare expression
        self.last: Any = None  # assigned
        self._steps = 0

    def run(self, statements: Sequence[ast.stmt]) -> None:
        for statement in statements:
            self._step()
            self._statement(statement)

    def call(self, name: str, given: Sequence[Any]) -> Any:
        """A function of the program, with its parameters over the program's names, or a built-in one."""
        self._step()
        if name not in self.functions:
            if name not in _FUNCTIONS:
                raise _NoValueError
            return _check_bounds(_FUNCTIONS[name](*given))
        outer = self.names
        parameters = [one.arg for one in self.functions[name].args.args]
        self.names = outer | dict(zip(parameters, given, strict=True))
        try:
            self.run(self.functions[name].body)
        except _ReturnError as returned:
            return returned.value
        finally:
            self.names = outer
        return None

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise _NoValueError

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                found = self._value(value)
                for target in targets:
                    self._assign(target, found)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._assign(target, self._value(value))
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                self._set(name, self._apply(op, self._name(name), self._value(value)))
            case ast.If(test=test, body=body, orelse=orelse):
                self.run(body if self._value(test) else orelse)
            case ast.For(target=ast.Name(id=name), iter=items, body=body, orelse=[]):
                for item in self._items(items):
                    self._step()
                    self._set(name, item)
                    self.run(body)
            case ast.While(test=test, body=body, orelse=[]):
                while self._value(test):
                    self._step()
                    self.run(body)
            case ast.FunctionDef(name=name, decorator_list=[]):
                self.functions[name] = node
            case ast.Return(value=ast.expr() as value):
                raise _ReturnError(self._value(value))
            case ast.Expr(value=ast.Constant(value=str())):  # a docstring
                pass
            case ast.Expr(value=ast.Call(func=ast.Name(id="print"), args=[*_, shown])):
                self.shown = self._value(shown)
            case ast.Expr(value=shown):
                self.shown = self._value(shown)
            case ast.Pass() | ast.Import(names=[ast.alias(name="math")]) | ast.ImportFrom(module="math"):
                pass
            case _:
                raise _NoValueError

    def _assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self._set(target.id, value)
        elif isinstance(target, ast.Tuple) and isinstance(value, list) and len(value) == len(target.elts):
            for one, part in zip(target.elts, value, strict=True):
                self._assign(one, part)
        else:
            raise _NoValueError

    def _set(self, name: str, value: Any) -> None:
        self.names[name] = self.last = value

    def _name(self, name: str) -> Any:
        if name not in self.names:
            raise _NoValueError
        return self.names[name]

    def _items(self, node: ast.expr) -> Sequence[Any]:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
            items = range(*(int(self._value(one)) for one in node.args))
            if len(items) > MOST_STEPS:
                raise _NoValueError
            return items
        found = self._value(node)
        if not isinstance(found, list):
            raise _NoValueError
        return found

    def _value(self, node: ast.expr) -> Any:
        self._step()
        match node:
            case ast.Constant(value=bool() | int() | float() | str() as value):
                return value
            case ast.Name(id=name):
                return self._name(name)
            case ast.BinOp(left=left, op=op, right=right):
                return self._apply(op, self._value(left), self._value(right))
            case ast.UnaryOp(op=op, operand=operand):
                return self._apply(op, self._value(operand))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self._apply(op, self._value(left), self._value(right))
            case ast.BoolOp(op=op, values=values):
                found = [bool(self._value(one)) for one in values]
                return all(found) if isinstance(op, ast.And) else any(found)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self._value(body if self._value(test) else orelse)
            case ast.List(elts=elts) | ast.Tuple(elts=elts):
                return [self._value(one) for one in elts]
            case ast.Subscript(value=ast.expr() as held, slice=ast.expr() as place):
                return self._value(held)[self._value(place)]
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self.call(name, [self._value(one) for one in args])
            case ast.Call(func=ast.Attribute(value=ast.Name(id="math"), attr=name), args=args, keywords=[]):
                return self.call(name, [self._value(one) for one in args])
            case _:
                raise _NoValueError

    def _apply(self, op: ast.AST, *operands: Any) -> Any:
        if isinstance(op, ast.Pow):
            return _power(*operands)
        if type(op) not in _OPERATORS or not all(isinstance(one, bool | int | float) for one in operands):
            raise _NoValueError
        return _check_bounds(_OPERATORS[type(op)](*operands))


def _power(base: Any, exponent: Any) -> Any:
    if not isinstance(base, int | float) or not isinstance(exponent, int | float) or abs(exponent) > 64:
        raise _NoValueError
    if abs(base) > 1e6:
        raise _NoValueError
    return _check_bounds(base**exponent)


def _check_bounds(value: Any) -> Any:
    if isinstance(value, int | float) and not abs(value) <= LARGEST:  # NaN is not
        raise _NoValueError
    if isinstance(value, complex):
        raise _NoValueError
    return value

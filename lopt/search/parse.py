"""Parser of program texts; the text is never executed."""

import ast
import itertools
import textwrap
from typing import Any

from lopt.search.functions import FUNCTIONS, INFIX, SHORT, Type
from lopt.search.program import Program, Statement, check_outputs, parameter_types, result_type, suggestion, type_of

_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_FORM = "def train(w, g, <extra variables>, lr): ... return update, <extra variables>"

MAX_LENGTH = 100_000
"""Largest number of characters of a program text."""
MAX_NAME = 100
"""Largest number of characters of a name in it."""


class ProgramError(ValueError):
    """A syntax or type error in a program text; `line` and `column` count from one."""

    def __init__(self, message: str, line: int, column: int):
        super().__init__(f"program, line {line}, column {column}: {message}")
        self.line, self.column = line, column


def parse(text: str, num_inputs: int = 2) -> Program:
    """Parse a program in the published form.

    The text is one function of the weights, the gradient, the extra variables and the learning-rate schedule's value,
    with any names, that ends by returning the update and the extra variables. Its statements assign (`=`, `+=`, `-=`,
    `*=`, `/=`) expressions of variables, numbers, `+ - * /`, parentheses and calls of `FUNCTIONS`; `interp` and `clip`
    abbreviate `interpolate` and `clip_by_global_norm`. A nested expression becomes one statement per call; a copy
    becomes a multiplication by one. The time is linear in the length of the text, of which at most `MAX_LENGTH`
    characters are read, in names of at most `MAX_NAME`.

    Args:
        text: the source.
        num_inputs: number of trees that are inputs at each step (w and g: 2).

    Example:
        program = parse("def train(w, g, lr): return g * lr")

    Raises:
        ProgramError: a `ValueError` with the line, the column and the reason of the first error.
    """
    if len(text) > MAX_LENGTH:
        raise ProgramError(f"the text is too long (got {len(text)} characters, expected {MAX_LENGTH} at most)", 1, 1)
    source = textwrap.dedent(text)
    indent = next((len(a) - len(b) for a, b in zip(text.splitlines(), source.splitlines(), strict=False) if b), 0)
    try:
        return _parse(source, num_inputs)
    except ProgramError as error:
        message = str(error).split(": ", 1)[1]
        raise ProgramError(message, error.line, error.column + indent) from error.__cause__
    except RecursionError as error:
        raise ProgramError("the expressions are nested too deeply", 1, 1) from error


def _parse(source: str, num_inputs: int) -> Program:
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise ProgramError(error.msg, error.lineno or 1, error.offset or 1) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise ProgramError(f"the text cannot be read ({error})", 1, 1) from error
    if len(body) != 1 or not isinstance(body[0], ast.FunctionDef):
        raise _error(body[1] if len(body) > 1 else None, f"expected one function, {_FORM}")
    define = body[0]
    *statements, end = define.body
    if not isinstance(end, ast.Return) or end.value is None:
        raise _error(end, f"the last statement must return the update and the extra variables ({_FORM})")
    outputs = end.value.elts if isinstance(end.value, ast.Tuple) else [end.value]
    lowered = _Lowering(_parameters(define, len(outputs) - 1, num_inputs), define)
    if statements and isinstance(statements[0], ast.Expr) and _is_text(statements[0].value):
        statements = statements[1:]
    for node in statements:
        lowered.statement(node)
    return lowered.returning(end, outputs)


def _parameters(define: ast.FunctionDef, num_extras: int, num_inputs: int) -> Program:
    """A program with the function's parameters and no statement."""
    arguments = define.args
    unsupported = (arguments.posonlyargs, arguments.kwonlyargs, arguments.defaults, arguments.vararg, arguments.kwarg)
    if any(unsupported):
        raise _error(define, f"parameters must be positional and have no defaults ({_FORM})")
    names = tuple(arg.arg for arg in arguments.args)
    expected = num_inputs + num_extras + 1
    if len(names) != expected:
        raise _error(
            define,
            f"a program that returns {num_extras + 1} values takes {num_inputs} inputs, {num_extras} extra variables "
            f"and the schedule's value, {expected} parameters (got {', '.join(names) or 'none'})",
        )
    return Program(names[num_inputs:-1], (), (), names[:num_inputs], names[-1])


class _Lowering:
    """Converts nested expressions into statements and checks their types."""

    def __init__(self, empty: Program, define: ast.FunctionDef):
        self.program = empty
        self.statements: list[Statement] = []
        self.names = {*empty.parameters}
        for node in ast.walk(define):
            if isinstance(node, ast.Name):
                self.names.add(node.id)
                if len(node.id) > MAX_NAME:
                    raise _error(node, f"a name has {len(node.id)} characters, expected {MAX_NAME} at most")
        self.numbers = itertools.count(1)
        with _At(define):
            self.bound = parameter_types(empty)

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            value: ast.expr = ast.BinOp(ast.Name(node.target.id, ast.Load()), node.op, node.value)
            ast.copy_location(value, node)
            ast.copy_location(value.left, node.target)  # type: ignore[attr-defined]
            self.assign(node.target.id, value)
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            self.assign(node.targets[0].id, node.value)
        else:
            raise _error(node, f"statements must be assignments to one name or a return (got {type(node).__name__})")

    def assign(self, target: str, node: ast.expr) -> None:
        call = self.call(node)
        if call is None:
            call = "multiply", (self.operand(node), 1.0)
        with _At(node):
            self.append(target, *call)

    def append(self, target: str, function: str, args: tuple[str | float, ...]) -> None:
        self.bound[target] = result_type(function, [type_of(arg, self.bound) for arg in args])
        self.statements.append(Statement(target, function, args))

    def operand(self, node: ast.expr) -> str | float:
        """The name or constant of an expression; a call is assigned to a new name first."""
        call = self.call(node)
        if call is not None:
            with _At(node):
                self.append(name := self.new_name(), *call)
            return name
        value = node.id if isinstance(node, ast.Name) else _number(node)
        if value is None:
            raise _error(node, f"unsupported syntax: {type(node).__name__}")
        with _At(node):
            type_of(value, self.bound)
        return value

    def call(self, node: ast.expr) -> tuple[str, tuple[str | float, ...]] | None:
        """The function and arguments of a call or an operation; None for a name or a constant."""
        if isinstance(node, ast.Call):
            return self.function(node), tuple(self.operand(arg) for arg in node.args)
        if isinstance(node, ast.BinOp):
            if type(node.op) not in _OPERATORS:
                raise _error(node, f"unsupported operator {type(node.op).__name__}; supported are + - * /")
            return INFIX[_OPERATORS[type(node.op)]], (self.operand(node.left), self.operand(node.right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and _number(node) is None:
            return "negative", (self.operand(node.operand),)
        return None

    def function(self, node: ast.Call) -> str:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise _error(node, "a call must be a function's name with positional arguments")
        name = SHORT.get(node.func.id, node.func.id)
        if name not in FUNCTIONS:
            raise _error(node, f"there is no function {name!r}{suggestion(name, [*FUNCTIONS, *SHORT])}")
        for arg in node.args:
            if isinstance(arg, ast.Starred):
                raise _error(arg, "unsupported syntax: Starred")
        return name

    def new_name(self) -> str:
        name = next(name for i in self.numbers if (name := f"t{i}") not in self.names)
        self.names.add(name)
        return name

    def returning(self, end: ast.Return, nodes: list[ast.expr]) -> Program:
        outputs = []
        for node in nodes:
            value = self.operand(node)
            if not isinstance(value, str):
                raise _error(node, "return: expected trees like the weights, T (got a constant, which is a scalar)")
            with _At(node):
                if self.bound[value] != Type.T:
                    raise ValueError(f"return: {value} must be a tree like the weights, T (got a scalar)")
            outputs.append(value)
        with _At(end):
            check_outputs(outputs, self.bound, len(self.program.extras))
        empty = self.program
        return Program(empty.extras, tuple(self.statements), tuple(outputs), empty.inputs, empty.rate)


class _At:
    """Context in which a `ValueError` is raised again with the position of this node."""

    def __init__(self, node: Any):
        self.node = node

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, ValueError) and not isinstance(error, ProgramError):
            raise _error(self.node, str(error)) from error


def _error(node: ast.AST | None, message: str) -> ProgramError:
    return ProgramError(message, getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1)


def _number(node: ast.expr) -> float | None:
    """The value of a literal number, with an optional minus sign; None for another expression."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _number(node.operand) if isinstance(node.operand, ast.Constant) else None
        return None if value is None else -value
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        try:
            return float(node.value)
        except OverflowError:
            return float("inf")
    return None


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)

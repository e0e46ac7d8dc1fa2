"""Counts what a compiled program launches, moves and exchanges, by the text that XLA prints of it."""

import math
import re
from collections import Counter
from typing import NamedTuple

COLLECTIVES = {"all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute", "collective-broadcast"}
HOST = {"infeed", "outfeed", "send", "recv"}
#: instructions that launch nothing on a device: they name values, or end what was launched before
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "iota", "partition-id", "replica-id"}
FREE |= {"opt-barrier", "after-all", "async-update"}
PARTS = {"slice", "dynamic-slice", "gather"}  #: they read only as much of their first operand as they return
#: {kind that updates its first operand in place: index of the operand with the new values}
IN_PLACE = {"dynamic-update-slice": 1, "scatter": 2}

HEAD = re.compile(r"(ENTRY )?%?([\w.\-]+) .*\{$")
LINE = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
ARRAY = re.compile(r"\b(?:pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")


class Instruction(NamedTuple):
    """One line of a computation."""

    is_root: bool
    name: str
    shape: str
    kind: str
    operands: list
    attributes: str

    def called(self, *roles: str) -> list[str]:
        """The computations that attributes such as "body" or "calls" name."""
        found = re.findall(rf"\b(?:{'|'.join(roles)})=(\{{.*?\}}|%?[\w.\-]+)", self.attributes)
        return [name for each in found for name in re.findall(r"[\w.\-]+", each)]

    @property
    def trips(self) -> int | None:
        """The number of iterations of a loop; None if it is known only at run time."""
        found = re.search(r"known_trip_count\W+n\W+(\d+)", self.attributes)
        return int(found[1]) if found else None


class Program:
    """The computations of a compiled program."""

    def __init__(self, text: str):
        self.computations: dict[str, list[Instruction]] = {}
        self.entry = ""
        lines: list[Instruction] = []
        for line in text.splitlines():
            if head := HEAD.match(line):
                lines = self.computations.setdefault(head[2], [])
                self.entry = head[2] if head[1] else self.entry
            elif found := LINE.match(line):
                operands, attributes = _split(found[5])
                lines.append(Instruction(bool(found[1]), *found.group(2, 3, 4), operands, attributes))

    def round(self) -> str:
        """The computation that the outermost loop repeats; of several, the one that launches the most kernels.

        For a training that is a step, for an encoder a batch of rows. A program without loops is one round.
        """
        loops = [each.called("body")[0] for each in self.computations[self.entry] if each.kind == "while"]
        return max(loops, key=lambda body: kernels(self.cost(body)), default=self.entry)

    def cost(self, name: str) -> Counter:
        """Returns what one run of a computation costs.

        The body of a loop counts as often as it runs, or once if the program doesn't say. Of the branches of a
        condition, the one that launches the most kernels counts.

        Returns:
            ("kernel", its name without its number): how many are launched; "bytes": bytes that they read and write;
            ("collective", its kind): how many there are; "collective bytes": bytes that one device contributes to them;
            "callbacks": calls of the host.
        """
        total, lines = Counter(), {each.name: each for each in self.computations[name]}
        for each in lines.values():
            if each.kind == "while":
                inner = self.cost(each.called("body")[0])
                total.update({key: number * (each.trips or 1) for key, number in inner.items()})
            elif each.kind == "call":
                total += self.cost(each.called("to_apply")[0])
            elif each.kind == "conditional":
                branches = each.called("true_computation", "false_computation", "branch_computations")
                total += max(map(self.cost, branches), key=kernels)
            elif each.kind not in FREE and not each.kind.endswith("-done"):
                total += self._kernel(each, lines)
        return total

    def _kernel(self, each, lines):
        called = each.called("calls")
        inside = {one.name: one for one in self.computations[called[0]]} if called else {each.name: each}
        cost = Counter({("kernel", re.sub(r"[.\d]+$", "", each.name)): 1})
        for one in inside.values():
            if (kind := one.kind.removesuffix("-start")) in COLLECTIVES:
                known = inside if called else lines
                cost[("collective", kind)] += 1
                cost["collective bytes"] += sum(size_of(known[name].shape) for name in one.operands)
            cost["callbacks"] += one.kind in HOST or (one.kind == "custom-call" and "callback" in one.attributes)
        if called:
            cost["bytes"] += sum(_read(one, inside) for one in inside.values() if one.kind == "parameter")
            cost["bytes"] += sum(_written(one, inside) for one in inside.values() if one.is_root)
        else:
            cost["bytes"] += sum(size_of(lines[name].shape) for name in each.operands) + size_of(each.shape)
        return +cost


def kernels(cost: Counter) -> int:
    """The number of kernels of a cost."""
    return sum(number for key, number in cost.items() if key[0] == "kernel")


def size_of(shape: str) -> int:
    """The bytes of the arrays of a shape, as HLO writes it.

    >>> size_of("(f32[8,50]{1,0:T(8,128)}, pred[3], s32[])")
    1607
    """
    sizes = [
        int(bits or 8) * math.prod(int(each) for each in dims.split(",") if each) for bits, dims in ARRAY.findall(shape)
    ]
    return sum(-(-size // 8) for size in sizes)


def _split(text):
    """Splits what follows the first parenthesis of an instruction into its operands and its attributes."""
    depth = 1
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return re.findall(r"%([\w.\-]+)", text[:at]), text[at + 1 :]
    return [], ""


def _read(one, inside):
    """The bytes that a fusion reads of the value of `one`."""
    whole, parts = size_of(one.shape), 0
    for user in inside.values():
        if one.name not in user.operands:
            continue
        if user.kind in PARTS and user.operands[0] == one.name:
            parts += size_of(user.shape)
        elif user.kind == "bitcast":
            parts += _read(user, inside)
        elif user.kind not in IN_PLACE or user.operands[0] != one.name:
            return whole
    return min(parts, whole)


def _written(root, inside):
    """The bytes that a fusion writes of its result."""
    if root.kind == "tuple":
        return sum(_written(inside[name], inside) for name in root.operands)
    if root.kind == "bitcast":
        return _written(inside[root.operands[0]], inside)
    return size_of(inside[root.operands[IN_PLACE[root.kind]]].shape) if root.kind in IN_PLACE else size_of(root.shape)

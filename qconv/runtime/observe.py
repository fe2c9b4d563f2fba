"""The evaluation callback: hands what a graph computes to whoever asked for it.

llama.cpp asks about every node before it computes it, and calls again once those that were wanted are computed.  A
wanted node splits the graph, so observers are asked about products only, and should want few.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol

from numpy.typing import NDArray

from qconv.runtime.library import EVAL_CALLBACK
from qconv.runtime.tensor import Tensors


class Node:
    """A product with a matrix that llama.cpp computes.

    ``name``: of the matrix.  ``weights``, ``inputs``, ``ids``: addresses of its operands: the matrix, the activations,
    and the experts chosen where there are experts, else 0.
    """

    def __init__(self, tensors: Tensors, tensor: int, op: int) -> None:
        self._tensors = tensors
        self.tensor = tensor
        self.weights = tensors.source(tensor, 0)
        self.inputs = tensors.source(tensor, 1)
        self.ids = tensors.source(tensor, 2) if op == tensors.mul_mat_id else 0

    @cached_property
    def name(self) -> str:
        return weight_name(self._tensors.name(self.weights))

    @property
    def columns(self) -> int:
        """Of the activations."""
        return self._tensors.columns(self.inputs)

    @property
    def is_float(self) -> bool:
        """Whether the activations are float32."""
        return self._tensors.type(self.inputs) == "F32"

    @cached_property
    def x(self) -> NDArray[Any]:
        """Activations, float32: ``(n3, n2, tokens, columns)``, for experts ``(1, tokens, chosen or 1, columns)``."""
        return self._tensors.array(self.inputs)

    @cached_property
    def chosen(self) -> NDArray[Any]:
        """The experts of each token, int32: ``(tokens, chosen)``."""
        ids: NDArray[Any] = self._tensors.array(self.ids)[0, 0]
        return ids

    @property
    def result(self) -> NDArray[Any]:
        """What was computed."""
        return self._tensors.array(self.tensor)


def weight_name(name: str) -> str:
    """A tensor's name without what the scheduler puts around it: ``CUDA0#blk.0.attn_k.weight#0``."""
    _, mark, rest = name.partition("#")
    return rest.partition("#")[0] if mark else name


class Observer(Protocol):
    """Asked about every product, in the order in which they are computed."""

    def begin(self) -> None:
        """A graph is about to be evaluated: what was seen of the last one has passed."""
        ...

    def wants(self, node: Node) -> bool: ...

    def observe(self, node: Node) -> None:
        """The node's operands and result can be read until this returns."""
        ...


class Observation:
    """Dispatches the callback to ``observers``; ``address`` is what the context is given.

    ``witness``, when set, is shown the address of every node asked about.
    """

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors
        self._ops = {tensors.mul_mat, tensors.mul_mat_id}
        self.observers: tuple[Observer, ...] = ()
        self.witness: Callable[[int], None] | None = None
        self._asked: set[int] = set()
        self._node: Node | None = None
        self._takers: list[Observer] = []
        self._failure: BaseException | None = None
        self._callback = EVAL_CALLBACK(self._call)  # kept: llama.cpp calls it

    @property
    def address(self) -> int | None:
        return ctypes.cast(self._callback, ctypes.c_void_p).value

    def begin(self) -> None:
        """Before a batch is computed."""
        self._asked.clear()
        for observer in self.observers:
            observer.begin()

    def finish(self) -> None:
        """After a batch: raises what an observer raised meanwhile."""
        failure, self._failure = self._failure, None
        self._node = None
        if failure is not None:
            raise failure

    def _call(self, tensor: int, ask: bool, _: int | None) -> bool:
        if self._failure is not None:
            return not ask
        try:
            return self._ask(tensor) if ask else self._take()
        except BaseException as e:  # it cannot pass through llama.cpp
            self._failure = e
            return False

    def _ask(self, tensor: int) -> bool:
        # a batch may take several evaluations of one graph, in each of which every node is asked about once
        if tensor in self._asked:
            self.begin()
        self._asked.add(tensor)
        if self.witness is not None:
            self.witness(tensor)
        op = self._tensors.op(tensor)
        if not self.observers or op not in self._ops:
            return False
        self._node = node = Node(self._tensors, tensor, op)
        self._takers = [observer for observer in self.observers if observer.wants(node)]
        return bool(self._takers)

    def _take(self) -> bool:
        if self._node is not None:
            for observer in self._takers:
                observer.observe(self._node)
        return True

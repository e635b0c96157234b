"""How what learns is spread over processes: whole in each of them (DDP), or cut into shards (FSDP2, HSDP).

All that a step does after its backward passes (norm, clipping, optimiser, average) is done on plain tensors:
on what this process *holds* of each parameter. Where nothing is cut these are the parameters themselves. A
shard's tensor shares its memory with the shard, so that no step pays for a `DTensor`'s dispatch, and fused
kernels work on all of them. Saved names are the objective's own, whatever the distribution:
`torch.distributed.checkpoint.state_dict` knows a module and an optimiser of DTensors, not these tensors.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import get_total_norm

from catlipctl.checkpoints.pieces import Piece
from catlipctl.errors import MachineError
from catlipctl.objectives import Objective
from catlipctl.settings.training import Sharding
from catlipctl.training.lars import norms_of
from catlipctl.training.world import World


@runtime_checkable
class Rows(Protocol):
    """A mapping that reads some rows of a tensor without the others."""

    def rows(self, name: str, first: int, count: int) -> Tensor: ...


class Distribution:
    """An objective that is whole in each process; gradients are averaged over processes.

    module: what is called. held: the objective's state, learned: its parameters that learn, as this process
    holds them, under the objective's names.
    """

    def __init__(self, objective: Objective, world: World) -> None:
        self.module: nn.Module = objective
        self.learned = {name: p for name, p in objective.named_parameters() if p.requires_grad}
        self.held: dict[str, Tensor] = objective.state_dict()
        if world.size > 1:
            self.module = DistributedDataParallel(objective)

    @contextmanager
    def synchronised(self, last: bool) -> Iterator[None]:
        """Around a piece's forward and backward pass: gradients are averaged at the step's last one only."""
        if last or not isinstance(self.module, DistributedDataParallel):
            yield
        else:
            with self.module.no_sync():
                yield

    def grad_norm(self, learned: Iterable[Tensor]) -> Tensor:
        """The norm of the gradients of what is held: 0-D, the same in all processes, not waited for."""
        return get_total_norm(_gradients(learned))

    def norms(self, tensors: Sequence[Tensor]) -> Tensor:
        """`[N]`, the norms of the whole tensors of which these are held; not waited for. All processes call.

        Tensors have a dimension or more.
        """
        return norms_of(tensors)

    def whole(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors of what processes hold: all of them in each process. All processes call."""
        return dict(values)

    def pieces(self, values: Mapping[str, Tensor]) -> dict[str, Tensor | Piece]:
        """What is saved of what this process holds. Names are `PARAMETER` or `PARAMETER/MOMENT`."""
        return dict(values)

    def own(self, name: str, saved: Mapping[str, Tensor], key: str) -> Tensor:  # noqa: ARG002
        """What this process holds of a parameter or buffer, of the tensor that is saved as `key`."""
        return saved[key]


class Sharded(Distribution):
    """An objective of which each process holds some rows of each parameter (`fully_shard`).

    hybrid: each node holds all of it (HSDP), so that parameters are gathered inside a node only. precision:
    of the forward pass. The blocks of its towers are gathered one after the other; so is the head, which is
    the largest layer; all the rest is gathered once for a forward pass and its backward pass.
    """

    def __init__(self, objective: Objective, world: World, *, hybrid: bool, precision: torch.dtype) -> None:
        self.module = objective
        self._mesh = _mesh(world, hybrid)
        # `fully_shard` cuts no scalars.
        scalars = [parameter for parameter in objective.parameters() if parameter.ndim == 0]
        self._scalars = [parameter for parameter in scalars if parameter.requires_grad]
        whole = MixedPrecisionPolicy(cast_forward_inputs=False)
        # Autocast takes a linear layer's weights in low precision: gathered so, they are the same. Elsewhere
        # they are not: it leaves norms and positions in float32.
        low = MixedPrecisionPolicy(precision, torch.float32, cast_forward_inputs=False)
        for unit in units(objective):
            is_low = isinstance(unit, nn.Linear) and precision != torch.float32
            fully_shard(unit, mesh=self._mesh, mp_policy=low if is_low else whole)
        root: Any = fully_shard(objective, mesh=self._mesh, ignored_params=set(scalars))
        if world.device.type == "cpu":
            root.set_force_sum_reduction_for_comms(True)  # gloo knows no average
        # It calls towers too, and before the first forward pass.
        register_fsdp_forward_method(objective, "prepare")
        self._root = root
        self._sharded = {
            name: parameter
            for name, parameter in objective.named_parameters()
            if isinstance(parameter, DTensor)
        }
        self.held = {name: _local(value) for name, value in objective.state_dict().items()}
        self.learned = {
            name: nn.Parameter(_local(parameter)) if name in self._sharded else parameter
            for name, parameter in objective.named_parameters()
            if parameter.requires_grad
        }
        self._shards, self._rank = self._mesh.size(-1), self._mesh.get_local_rank(self._mesh.ndim - 1)

    @contextmanager
    def synchronised(self, last: bool) -> Iterator[None]:
        """As above. After the last one `learned` has the gradients."""
        self._root.set_requires_gradient_sync(last)
        yield
        if last:
            self._average_scalars()
            for name, parameter in self._sharded.items():
                if parameter.grad is not None:
                    self.learned[name].grad = _local(parameter.grad)
                    parameter.grad = None

    @torch.no_grad()
    def _average_scalars(self) -> None:
        gradients = _gradients(self._scalars)
        if gradients:
            together = torch.stack(gradients)
            torch.distributed.all_reduce(together)
            torch._foreach_copy_(gradients, list((together / torch.distributed.get_world_size()).unbind()))

    def grad_norm(self, learned: Iterable[Tensor]) -> Tensor:
        """The norm of the gradients of what all processes hold."""
        scalars = set(self._scalars)
        shards = [tensor for tensor in learned if tensor not in scalars]
        # In float64: the square of a large norm is finite too.
        square = get_total_norm(_gradients(shards)).to(self._mesh.device_type).double().square()
        torch.distributed.all_reduce(square, group=self._mesh.get_group(self._mesh.ndim - 1))
        if whole := _gradients(self._scalars):
            square = square + get_total_norm(whole).double().square()
        return square.sqrt().float()

    def norms(self, tensors: Sequence[Tensor]) -> Tensor:
        """As above: from all processes' shards."""
        squares = norms_of(tensors).double().square()
        torch.distributed.all_reduce(squares, group=self._mesh.get_group(self._mesh.ndim - 1))
        return squares.sqrt().float()

    def whole(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """On the CPU of the first process, one after the other; nothing elsewhere."""
        found = {}
        for name, value in values.items():
            whole = value
            if (like := self._sharded.get(name)) is not None:
                spread = DTensor.from_local(
                    value, self._mesh, like.placements, shape=like.shape, stride=like.stride()
                )
                whole = spread.full_tensor()
            if torch.distributed.get_rank() == 0:
                found[name] = whole.cpu()
        return found

    def pieces(self, values: Mapping[str, Tensor]) -> dict[str, Tensor | Piece]:
        """This process's rows; where several nodes hold the same, only the first one's have any."""
        found: dict[str, Tensor | Piece] = {}
        is_first = torch.distributed.get_rank() < self._shards
        for key, value in values.items():
            like = self._sharded.get(key.partition("/")[0])
            if like is None or value.ndim == 0:
                found[key] = value
            else:
                own = value if is_first else value.new_empty((0, *value.shape[1:]))
                found[key] = Piece(own, self._first(len(like)), tuple(like.shape))
        return found

    def own(self, name: str, saved: Mapping[str, Tensor], key: str) -> Tensor:
        """Its rows alone are read, where `saved` can do that."""
        if name not in self._sharded:
            return saved[key]
        first, count = self._first(len(self._sharded[name])), len(self.held[name])
        return saved.rows(key, first, count) if isinstance(saved, Rows) else saved[key][first : first + count]

    def _first(self, rows: int) -> int:
        """The first of a tensor's rows that this process holds: it is cut as `torch.chunk` cuts."""
        return min(rows, self._rank * -(-rows // self._shards))


def spread(
    objective: Objective,
    world: World,
    sharding: Sharding = "none",
    precision: torch.dtype = torch.float32,
) -> Distribution:
    """The objective, on its device, over the processes of a world; a process alone has all of it.

    Its parameters may be others afterwards: an optimiser is made of `learned`.
    """
    if world.size == 1 or sharding == "none":
        return Distribution(objective, world)
    return Sharded(objective, world, hybrid=sharding == "hybrid", precision=precision)


def units(objective: Objective) -> list[nn.Module]:
    """What is gathered by itself: the blocks, and the head, which is the largest layer."""
    repeated = blocks(objective)
    largest = max(map(size, repeated), default=0)
    # A stem's few layers are not worth a gathering of their own.
    found = [block for block in repeated if size(block) >= largest / 10]
    return [*found, *(part for part in objective.tower.head.modules() if isinstance(part, nn.Linear))]


def blocks(module: nn.Module) -> list[nn.Module]:
    """What a tower repeats: the modules of one class that stand together in a list, the innermost such lists.

    A ViT's and a text tower's blocks, a ResNet's bottlenecks, a ConvNeXt's blocks.
    """
    children = list(module.children())
    found = [block for child in children for block in blocks(child)]
    alike = len({type(child) for child in children}) == 1 and len(children) > 1
    made = all(any(True for _ in child.children()) for child in children)
    if not found and alike and made and isinstance(module, nn.Sequential | nn.ModuleList):
        return children
    return found


def size(module: nn.Module) -> int:
    """How many numbers learn in it."""
    return sum(parameter.numel() for parameter in module.parameters())


def _mesh(world: World, hybrid: bool) -> DeviceMesh:
    """All processes in one row; hybrid: one row a node, as launchers count them."""
    if not hybrid:
        return init_device_mesh(world.device.type, (world.size,), mesh_dim_names=("shard",))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world.size))
    if world.size % local:
        raise MachineError(
            f"sharding=hybrid needs as many processes on each node: {world.size} are not a multiple of the "
            f"{local} on this one",
            "--set sharding=full",
        )
    shape = (world.size // local, local)
    return init_device_mesh(world.device.type, shape, mesh_dim_names=("replicate", "shard"))


@torch.no_grad()
def _local(tensor: Tensor) -> Tensor:
    """What this process holds, in the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]

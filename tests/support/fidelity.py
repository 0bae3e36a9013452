"""torch-fidelity without torchvision, which it imports for data sets and networks that are not used here.

torchvision has no CPU build everywhere; and where torch-fidelity is installed, torchmetrics imports it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

NAMES = ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional")


def load_torch_fidelity() -> bool:
    """Imports it, where it is installed, with empty modules in torchvision's place meanwhile. Whether it is there."""
    if importlib.util.find_spec("torch_fidelity") is None:
        return False
    modules = {} if importlib.util.find_spec("torchvision") else {name: ModuleType(name) for name in NAMES}
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    if modules:
        for name in ("CIFAR10", "CIFAR100", "STL10"):
            setattr(modules["torchvision.datasets"], name, type(name, (), {}))
    sys.modules.update(modules)
    try:
        importlib.import_module("torch_fidelity")
    finally:
        for name in modules:
            del sys.modules[name]
    return True

"""Reference outputs of torchvision for test/nn/torchvision.test.ts, with the weights of formula.py.

    python3 bench/torchvision/reference.py > test/nn/torchvision.json

Needs torch and torchvision (Debian: python3-torchvision). Everything is computed in float64, of float32 values.
"""

import json
import sys

import numpy as np
import torch
import torchvision
from formula import image, value_of
from torchvision.models import mobilenet_v2, resnet18, resnet50
from torchvision.models.segmentation import deeplabv3_resnet50, fcn_resnet50, lraspp_mobilenet_v3_large

SIDE = 64
POINTS = 96


def filled(model: torch.nn.Module) -> torch.nn.Module:
    state = {
        name: t if name.endswith("num_batches_tracked") else torch.from_numpy(value_of(name, tuple(t.shape)))
        for name, t in model.state_dict().items()
    }
    model.load_state_dict(state)
    return model


def sampled(t: torch.Tensor) -> dict:
    """Shape, Euclidean norm, largest magnitude, and values at positions that are spread evenly."""
    flat = t.detach().double().numpy().ravel()
    step = max(1, flat.size // POINTS)
    return {
        "shape": list(t.shape),
        "norm": float(np.sqrt(np.sum(flat**2))),
        "largest": float(np.max(np.abs(flat))),
        "step": step,
        "values": [float(f"{v:.9g}") for v in flat[::step]],
    }


def outputs(model: torch.nn.Module) -> dict:
    x = torch.from_numpy(image(1, SIDE))
    model = filled(model).eval()
    names = [n for n in model.state_dict() if not n.endswith("num_batches_tracked")]
    with torch.no_grad():
        single = model(x)
        double = model.double()(x.double())
    if not isinstance(double, dict):
        single, double = {"out": single}, {"out": double}
    for name, y in double.items():
        error = float((single[name].double() - y).abs().max() / y.abs().max())
        print(f"{type(model).__name__} {name}: torch's float32 is {error:.1e} away from its float64", file=sys.stderr)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "names": names,
        "outputs": {name: sampled(y) for name, y in double.items()},
    }


def trajectory(steps: int = 20, batch: int = 4, side: int = 32, classes: int = 10) -> dict:
    """Training of ResNet-18 by SGD with momentum and weight decay, in float64."""
    model = filled(resnet18(num_classes=classes)).double().train()
    x = torch.from_numpy(image(batch, side)).double()
    label = torch.tensor([(3 * i + 1) % classes for i in range(batch)])
    optimiser = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9, weight_decay=1e-4)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), label)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    running = {n: float(t.sum()) for n, t in model.state_dict().items() if n.rsplit(".")[-1].startswith("running")}
    return {"steps": steps, "batch": batch, "side": side, "classes": classes, "rate": LR, "losses": losses, "sums": running}


LR = 0.002


def main() -> None:
    torch.manual_seed(0)
    models = {
        "resnet18": lambda: resnet18(),
        "resnet50": lambda: resnet50(),
        "mobilenet_v2": lambda: mobilenet_v2(),
        "fcn_resnet50": lambda: fcn_resnet50(weights_backbone=None, aux_loss=True, num_classes=21),
        "deeplabv3_resnet50": lambda: deeplabv3_resnet50(weights_backbone=None, aux_loss=True, num_classes=21),
        "lraspp_mobilenet_v3_large": lambda: lraspp_mobilenet_v3_large(weights_backbone=None, num_classes=21),
    }
    result = {
        "made by": f"bench/torchvision/reference.py, torch {torch.__version__}, torchvision {torchvision.__version__}",
        "side": SIDE,
        "models": {name: outputs(make()) for name, make in models.items()},
        "trajectory": trajectory(),
    }
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()

"""
Makes the files that test/data/weights.test.ts reads, with PyTorch's own writer, and what they hold as JSON.

    python3 scripts/make-weights-fixtures.py test/data/weights

Needs torch and torchvision (made with 1.13 and 0.14; later versions write the same formats). All values are formulas, so that two runs
give the same tensors.
"""
import argparse
import base64
import collections
import json
import os
import pickle
import sys

import torch
import torchvision

folder = sys.argv[1]
os.makedirs(folder, exist_ok=True)
expected = {}


def ramp(*shape, dtype=torch.float32):
    """0, 1, 2, ... in that shape."""
    n = 1
    for d in shape:
        n *= d
    return torch.arange(n).reshape(shape).to(dtype)


def save(name, value, tensors, **how):
    torch.save(value, os.path.join(folder, name), **how)
    expected[name] = {
        key: {
            "dtype": str(t.dtype).removeprefix("torch."),
            "shape": list(t.shape),
            # Python's json has no 16-bit floats; every value here is exact in f64.
            "values": t.to(torch.float64).flatten().tolist(),
        }
        for key, t in tensors.items()
    }


def both(name, value, tensors):
    """The zip archive, and the stream that PyTorch wrote before 1.6."""
    save(f"{name}.zip.pth", value, tensors)
    save(f"{name}.stream.pth", value, tensors, _use_new_zipfile_serialization=False)


network = torch.nn.Sequential(
    collections.OrderedDict(conv=torch.nn.Conv2d(2, 3, 2), bn=torch.nn.BatchNorm2d(3))
)
with torch.no_grad():
    for i, t in enumerate(network.state_dict().values()):
        t.copy_(ramp(*t.shape) / 4 - i)
state = network.state_dict()
both("network", state, state)

numbers = torch.tensor([0.0, -0.0, 1.0, -2.5, 65504.0, 6.103515625e-05, 5.9604644775390625e-08, 0.333251953125])
dtypes = {
    "f64": numbers.to(torch.float64) / 3,
    "f32": numbers,
    "f16": numbers.to(torch.float16),
    "bf16": numbers.to(torch.bfloat16),
    "i64": torch.tensor([-(2**31), 2**31 - 1, 0]),
    "i32": torch.tensor([-5, 5], dtype=torch.int32),
    "i16": torch.tensor([-300, 300], dtype=torch.int16),
    "i8": torch.tensor([-128, 127], dtype=torch.int8),
    "u8": torch.tensor([0, 255], dtype=torch.uint8),
    "bool": torch.tensor([True, False, True]),
    "scalar": torch.tensor(1.5),
    "empty": torch.zeros(0, 3),
}
both("dtypes", dtypes, dtypes)

base = ramp(4, 6)
views = {
    "base": base,
    "transposed": base.t(),
    "inner": base[1:3, 2:5],
    "stepped": base[:, ::2],
    "expanded": base[0, 1:2].expand(3),
    "half": ramp(3, 4, dtype=torch.float16).t(),
    "bytes": ramp(3, 4, dtype=torch.uint8).t(),
    "double": ramp(3, 4, dtype=torch.float64).permute(1, 0),
    "channels_last": ramp(2, 3, 2, 2).to(memory_format=torch.channels_last),
    "parameter": torch.nn.Parameter(base[2]),
}
both("views", views, views)

optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
for p in network.parameters():
    p.grad = torch.zeros_like(p)
optimizer.step()
checkpoint = {
    "epoch": 3,
    "best_acc1": torch.tensor(0.5),
    "args": argparse.Namespace(lr=0.1, arch="tiny"),
    "optimizer": optimizer.state_dict(),
    "state_dict": collections.OrderedDict((f"module.{k}", v) for k, v in state.items()),
}
both("checkpoint", checkpoint, state)
save("protocol4.zip.pth", {"model": {"state_dict": state}}, state, pickle_protocol=4)
save("protocol5.stream.pth", state, state, pickle_protocol=5, _use_new_zipfile_serialization=False)

ambiguous = {"model": {"w": ramp(2)}, "model_ema": {"w": ramp(2) + 1}}
save("ambiguous.zip.pth", ambiguous, {})
save("module.zip.pth", torch.nn.Linear(1, 1), {})


class Shell:
    """What an attacker pickles: loading it in Python would run a command."""

    def __reduce__(self):
        return os.system, ("touch this-file-must-not-exist",)


both("code", {"state_dict": {"w": ramp(2)}, "payload": Shell()}, {"w": ramp(2)})

# Python's own pickles, in every protocol that is read, beside the value as JSON.
values = [
    None, True, False, 0, 1, 255, 256, 65535, 65536, -1, -(2**31), 2**31, 2**40, -(2**40), 1.5, -0.25,
    "", "weight", "ö" * 3, "x" * 300, [], [1, [2, 3]], (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4),
    {}, {"a": 1}, {"a": {"b": [1.5, None]}, "c": "a"}, ["same"] * 3, list(range(30)),
]  # fmt: skip
shared = ["shared"]
values.append({"one": shared, "two": shared})
pickles = [
    {"protocol": p, "base64": base64.b64encode(pickle.dumps(v, protocol=p)).decode()}
    for p in (2, 3, 4, 5)
    for v in [values]
]

# The modules with weights of torchvision's networks (of a residual one the first stage and the heads): 1 is a norm.
modules = {}
for name, network in {
    "mobilenet_v2": torchvision.models.mobilenet_v2(weights=None),
    "fcn_resnet50": torchvision.models.segmentation.fcn_resnet50(
        weights=None, weights_backbone=None, aux_loss=True
    ),
}.items():
    modules[name] = {
        path: int(isinstance(m, torch.nn.BatchNorm2d))
        for path, m in network.named_modules()
        if hasattr(m, "weight") and not path.startswith(("backbone.layer2", "backbone.layer3", "backbone.layer4"))
    }

with open(os.path.join(folder, "python.json"), "w") as file:
    json.dump({"values": values, "pickles": pickles, "modules": modules}, file, separators=(",", ":"))
    file.write("\n")

with open(os.path.join(folder, "expected.json"), "w") as file:
    json.dump(expected, file, separators=(",", ":"))
    file.write("\n")

"""PyTorch as a contender: the workloads of bench/workloads.ts under the same names, on the same inputs.

    python3 torch_bench.py cpu|cuda [channels-last] [THREADS]

Speaks as harness.mjs does: one JSON message a line on stdin, one marked JSON line an answer. Needs torch alone.
TF32 is off, so that f32 means f32. `start` as a workload is a process of its own: `torch_bench.py start`.
"""

import ctypes
import json
import math
import sys
import time

import torch
import torch.nn.functional as F

MARK = "@bench "
WARM_UP_STEPS, WARM_UP_S = 5, 1.5
# A turn begins with untimed steps for so many ms, in which threads wake, a host gives each its core and caches fill; long steps go without.
WAKE = 400
MASK = 0xFFFFFFFF


def imul(a, b):
    """The low 32 bits of a product; int64 wraps around, which keeps them."""
    return (a * b) & MASK


def values_of(spec, device):
    """Murmur3's finaliser of seed and position, as harness.mjs says it."""
    n = math.prod(spec["shape"])
    h = (torch.arange(n, dtype=torch.int64) + (spec["seed"] * 0x9E3779B1 & MASK)) & MASK
    h = imul(h ^ (h >> 16), 0x85EBCA6B)
    h = imul(h ^ (h >> 13), 0xC2B2AE35)
    u = ((h ^ (h >> 16)) >> 8).to(torch.float64) / 2**24
    if spec["dtype"] == "i32":
        data = torch.floor(u * spec["below"]).to(torch.int64)
    else:
        data = (spec.get("offset", 0) + spec.get("scale", 1) * (2 * u - 1)).to(torch.float32)
    return data.reshape(spec["shape"]).to(device)


def chain(x):
    t = torch.relu(1.01 * x + 0.5)
    return torch.tanh(0.5 * (1 - torch.exp(x * t - x))) + x


def cheap_chain(x):
    for _ in range(5):
        x = x * 0.99 + 0.25
    return x


def conv_backward(x, w, dy):
    x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
    y = F.conv2d(x, w, padding=1)
    return [y, *torch.autograd.grad(y, [x, w], dy)]


def bilinear(x, size):
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def cnn_step(inputs):
    """Three blocks of conv, batch norm, relu and max-pool; 1 x 1 conv, upsampling, cross-entropy, plain SGD."""
    params = [p.detach().requires_grad_() for p in inputs[:11]]
    running = [r.detach() for r in inputs[11:17]]
    image, label = inputs[17:]

    def step():
        x = image
        for i in range(3):
            w, gain, offset = params[3 * i : 3 * i + 3]
            x = F.conv2d(x, w, padding=1)
            x = F.batch_norm(x, running[2 * i], running[2 * i + 1], gain, offset, training=True)
            x = F.max_pool2d(F.relu(x), 2)
        logits = bilinear(F.conv2d(x, params[9], params[10]), label.shape[1:])
        loss = F.cross_entropy(logits, label)
        grads = torch.autograd.grad(loss, params)
        with torch.no_grad():
            for p, g in zip(params, grads):
                p.sub_(g, alpha=0.05)
        return [loss, *params, *running]

    return step


def pspnet_step(inputs, names):
    """PSPNet on ResNet-18 at stride 8, without dropout; SGD with momentum 0.9 and weight decay 1e-4."""
    table = dict(zip(names, inputs))
    params = {k[4:]: v.detach().requires_grad_() for k, v in table.items() if k.startswith("net.")}
    running = {k[8:]: v for k, v in table.items() if k.startswith("running.")}
    optimiser = torch.optim.SGD(params.values(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    image, label = table["image"], table["label"]

    def norm(x, name):
        stats = running[name + ".mean"], running[name + ".variance"]
        return F.batch_norm(x, *stats, params[name + ".weight"], params[name + ".bias"], training=True)

    def unit(x, name):
        """convBnRelu: the kernel is 1 x 1 or 3 x 3."""
        w = params[name + ".conv.weight"]
        return F.relu(norm(F.conv2d(x, w, padding=w.shape[2] // 2), name + ".bn"))

    def block(x, name, stride, entry, dilation):
        y = F.conv2d(x, params[name + ".conv1.weight"], stride=stride, padding=entry, dilation=entry)
        y = F.relu(norm(y, name + ".bn1"))
        y = F.conv2d(y, params[name + ".conv2.weight"], padding=dilation, dilation=dilation)
        y = norm(y, name + ".bn2")
        if name + ".downsample.0.weight" in params:
            x = norm(F.conv2d(x, params[name + ".downsample.0.weight"], stride=stride), name + ".downsample.1")
        return F.relu(x + y)

    def forward():
        x = F.conv2d(image, params["backbone.conv1.weight"], stride=2, padding=3)
        x = F.max_pool2d(F.relu(norm(x, "backbone.bn1")), 3, 2, 1)
        for stage, (stride, before, dilation) in enumerate([(1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 4)]):
            x = block(x, f"backbone.layer{stage + 1}.0", stride, before, dilation)
            x = block(x, f"backbone.layer{stage + 1}.1", 1, dilation, dilation)
        size = x.shape[2:]
        context = [bilinear(unit(F.adaptive_avg_pool2d(x, s), f"pyramid.pool{s}"), size) for s in (1, 2, 3, 6)]
        x = unit(torch.cat([x, *context], 1), "neck")
        x = F.conv2d(x, params["classifier.1.weight"], params["classifier.1.bias"])
        return F.cross_entropy(bilinear(x, image.shape[2:]), label)

    def step():
        optimiser.zero_grad(set_to_none=True)
        loss = forward()
        loss.backward()
        optimiser.step()
        moments = [optimiser.state[p]["momentum_buffer"] for p in params.values()]
        return [loss, *params.values(), *running.values(), *moments]

    return step


def step_of(task, device, channels_last):
    specs = task["inputs"]
    inputs = [values_of(s, device) for s in specs]
    if channels_last:
        inputs = [x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x for x in inputs]
    name = task["name"]
    if channels_last and not name.startswith(("conv", "cnn", "pspnet")):
        raise ValueError("has no images, whose layout could matter")
    if name.startswith("matmul"):
        return lambda: [torch.matmul(*inputs)]
    if name.startswith("add"):
        return lambda: [torch.add(*inputs)]
    if name.startswith("pspnet"):
        return pspnet_step(inputs, [s["name"] for s in specs])
    simple = {
        "conv": lambda: [F.conv2d(*inputs, padding=1)],
        "conv-backward": lambda: conv_backward(*inputs),
        "chain": lambda: [chain(*inputs)],
        "cheap-chain": lambda: [cheap_chain(*inputs)],
        "softmax": lambda: [torch.softmax(*inputs, dim=-1)],
    }
    if name == "cnn-step":
        return cnn_step(inputs)
    if name in simple:
        return simple[name]
    raise ValueError(f"not written for PyTorch: {name}")


def peak_bytes(step, device):
    """The most bytes that tensors take during a step, what lives before it included where the device tells it."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    held, most = 0, 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def bytes_of(tensor):
    flat = tensor.detach().to("cpu", torch.float32).contiguous()
    return ctypes.string_at(flat.data_ptr(), 4 * flat.numel())


class Contender:
    def __init__(self, device, channels_last):
        self.device, self.channels_last, self.step, self.last = device, channels_last, None, 0

    def timed(self):
        start = time.perf_counter()
        out = self.step()
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.last = (time.perf_counter() - start) * 1e3
        return self.last, out

    def setup(self, message):
        task = message["workload"]
        self.step = step_of(task, self.device, self.channels_last)
        first, out = self.timed()
        if message.get("out"):
            with open(message["out"], "wb") as f:
                for tensor in out:
                    f.write(bytes_of(tensor))
        start = time.perf_counter()
        for _ in range(WARM_UP_STEPS):
            if time.perf_counter() - start < WARM_UP_S and first < WARM_UP_S * 1e3:
                self.timed()
        facts = {}
        if task["state"] > 0:
            held = sum(4 * math.prod(s["shape"]) for s in task["inputs"])
            peak = peak_bytes(self.step, self.device)
            facts = {"peakBytes": peak if self.device == "cuda" else peak + held}
        return {"firstMs": first, "facts": facts}

    def measure(self, message):
        begin = time.perf_counter()
        while self.last < WAKE and (time.perf_counter() - begin) * 1e3 < WAKE:
            self.timed()
        times, start = [], time.perf_counter()
        while len(times) < message["reps"] and (not times or (time.perf_counter() - start) * 1e3 < message["ms"]):
            times.append(self.timed()[0])
        return {"times": times}

    def drop(self, _):
        self.step = None
        return {}


def say(answer):
    print(MARK + json.dumps(answer), flush=True)


def main():
    if sys.argv[1] == "start":
        a = torch.ones(256, 256)
        print(torch.matmul(a, a)[0, 0].item(), flush=True)
        return
    device, channels_last = sys.argv[1], "channels-last" in sys.argv
    threads = [a for a in sys.argv[2:] if a.isdigit()]
    if threads:
        torch.set_num_threads(int(threads[0]))
    if device == "cuda" and not torch.cuda.is_available():
        say({"error": "this PyTorch sees no CUDA device"})
        return
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    where = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    contender = Contender(device, channels_last)
    say({"description": f"PyTorch {torch.__version__} {device}, {where}"})
    for line in sys.stdin:
        message = json.loads(line)
        try:
            say(getattr(contender, message["op"])(message))
        except Exception as e:  # whatever fails is this contender's answer
            say({"error": f"{type(e).__name__}: {e}"[:400]})


main()

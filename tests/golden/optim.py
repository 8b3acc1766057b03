"""Makes tests/golden/optim.json, the trajectories that the optimisers must follow.

    pip install torch numpy
    python tests/golden/optim.py

AdamW and SGD are PyTorch's, in f32. Adafactor is written here from its description in T5X (without momentum) in f64. Gradients come from a formula, so that the file need not hold them.
"""

import json
import pathlib
import platform

import numpy as np
import torch

ROWS, COLUMNS, STEPS = 6, 5, 50
KEPT = [1, 2, 3, 10, 25, 50]


def start():
    i = np.arange(ROWS * COLUMNS)
    return ((i * 37 % 101) / 50.5 - 1.0).astype(np.float32)


def gradient(step):
    """Of step 1, 2, ...: of both signs, sizes from 1e-3 to 10 by column, one element always 0."""
    i = np.arange(ROWS * COLUMNS)
    g = ((step * 7919 + i * 104729 + 31) % 1009) / 504.5 - 1.0
    g = g * np.array([0.001, 0.01, 0.1, 1.0, 10.0])[i % COLUMNS]
    g[7] = 0.0
    return g.astype(np.float32)


def adafactor(factored, origin, decay_rate, weight_decay, rate, clip, dtype=np.float64, scaled=False):
    theta = start().astype(dtype).reshape(ROWS, COLUMNS)
    v, v_row, v_column = np.zeros_like(theta), np.zeros(ROWS, dtype), np.zeros(COLUMNS, dtype)
    for step in range(STEPS):
        g = gradient(step + 1).astype(dtype).reshape(ROWS, COLUMNS)
        beta = dtype(1) - dtype(origin + step + 1) ** dtype(-decay_rate)
        square = g * g + dtype(1e-30)
        if factored:
            v_row = beta * v_row + (1 - beta) * square.mean(1)
            v_column = beta * v_column + (1 - beta) * square.mean(0)
            y = g * ((v_row / v_row.mean()) ** -0.5)[:, None] * (v_column**-0.5)[None, :]
        else:
            v = beta * v + (1 - beta) * square
            y = g * v**-0.5
        y = y / max(dtype(1), np.sqrt((y * y).mean()) / dtype(clip))
        scale = max(dtype(1e-3), np.sqrt((theta * theta).mean())) if scaled else dtype(1)
        theta = (1 - dtype(weight_decay)) * theta - dtype(rate) * scale * y
        yield theta.reshape(-1)


def from_torch(make):
    theta = torch.nn.Parameter(torch.tensor(start()))
    optimizer = make([theta])
    for step in range(STEPS):
        theta.grad = torch.tensor(gradient(step + 1))
        optimizer.step()
        yield theta.detach().numpy().copy()


def case(name, settings, rate, trajectory):
    points = [[step, [float(f"{x:.9g}") for x in theta]] for step, theta in enumerate(trajectory, 1) if step in KEPT]
    return {"name": name, "settings": settings, "rate": rate, "trajectory": points}


def cases():
    for origin in (0, 1_100_000):
        for factored in (False, True):
            for decay in (1e-5, 1e-2):
                arguments = (factored, origin, 0.8, decay, 0.3, 1.0)
                settings = {"weight_decay": decay, "step_origin": origin, "min_dim_size_to_factor": 5 if factored else 128}
                name = f"adafactor from step {origin}, weight decay {decay}, {'' if factored else 'not '}factored"
                yield case(name, {"adafactor": settings}, 0.3, adafactor(*arguments))
                exact, rounded = list(adafactor(*arguments)), list(adafactor(*arguments, np.float32))
                print(f"{name}: f32 deviates by {np.abs(np.array(exact) - np.array(rounded)).max():.1e}")
    yield case(
        "adafactor, decay 0.5, clipped at 0.1",
        {"adafactor": {"decay_rate": 0.5, "clipping_threshold": 0.1}},
        0.05,
        adafactor(False, 0, 0.5, 1e-5, 0.05, 0.1),
    )
    for factored, rate in [(False, 0.001), (True, 0.3)]:
        settings = {"weight_decay": 0.0, "min_dim_size_to_factor": 5 if factored else 128}
        yield case(
            f"adafactor with parameter scaling, rate {rate}, {'' if factored else 'not '}factored",
            {"adafactor": settings | {"multiply_by_parameter_scale": True}},
            rate,
            adafactor(factored, 0, 0.8, 0.0, rate, 1.0, scaled=True),
        )
    for rate, beta1, beta2, decay in [(1e-2, 0.9, 0.999, 0.01), (1e-3, 0.8, 0.95, 0.1), (1e-1, 0.9, 0.999, 0.0)]:
        settings = {"beta1": beta1, "beta2": beta2, "weight_decay": decay}
        make = lambda p: torch.optim.AdamW(p, lr=rate, betas=(beta1, beta2), weight_decay=decay)
        yield case(f"adamw, rate {rate}, betas {beta1}, {beta2}", {"adamw": settings}, rate, from_torch(make))
    for momentum, decay in [(0.0, 0.0), (0.9, 0.0), (0.9, 0.01), (0.0, 0.1)]:
        make = lambda p: torch.optim.SGD(p, lr=0.05, momentum=momentum, weight_decay=decay)
        settings = {"momentum": momentum, "weight_decay": decay}
        yield case(f"sgd, momentum {momentum}, weight decay {decay}", {"sgd": settings}, 0.05, from_torch(make))


if __name__ == "__main__":
    torch.set_num_threads(1)
    golden = {
        "made_by": "tests/golden/optim.py",
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "rows": ROWS,
        "columns": COLUMNS,
        "cases": list(cases()),
    }
    path = pathlib.Path(__file__).parent / "optim.json"
    path.write_text(json.dumps(golden, separators=(",", ":")).replace("],[", "],\n[").replace("},{", "},\n{") + "\n")

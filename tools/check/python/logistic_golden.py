"""Writes the golden of the probes' regressions: scikit-learn's objective and an L1 objective, minimised in f64 by scipy to 1e-10.

Needs numpy and scipy: python tools/check/python/logistic_golden.py. Writes services/training/test/fixtures/logistic.json.
"""
import json
import pathlib

import numpy as np
from scipy.optimize import minimize

out = pathlib.Path(__file__).resolve().parents[3] / "services/training/test/fixtures/logistic.json"
rng = np.random.default_rng(11)


def losses(x, y, w):
    """log(1 + exp(-y f)) of every row, y = +-1."""
    return np.logaddexp(0, -y * (x @ w[:-1] + w[-1]))


def slopes(x, y, w):
    return -y / (1 + np.exp(y * (x @ w[:-1] + w[-1])))


def ridge(x, y, c):
    """1/2 |w|^2 + c sum_i log(1 + exp(-y_i f_i)), the intercept free: LogisticRegression(penalty="l2", C=c)."""
    def objective(w):
        s = c * slopes(x, y, w)
        return 0.5 * w[:-1] @ w[:-1] + c * losses(x, y, w).sum(), np.append(w[:-1] + x.T @ s, s.sum())

    def hessian(w):
        p = 1 / (1 + np.exp(-(x @ w[:-1] + w[-1])))
        z = np.column_stack([x, np.ones(len(x))])
        return c * z.T @ (z * (p * (1 - p))[:, None]) + np.diag(np.append(np.ones(x.shape[1]), 0))

    found = minimize(objective, np.zeros(x.shape[1] + 1), jac=True, hess=hessian, method="trust-exact", options={"gtol": 1e-10, "maxiter": 1000})
    assert np.abs(objective(found.x)[1]).max() < 1e-8, found.message
    return found.x


def lasso(x, y, decay):
    """mean_i log(1 + exp(-y_i f_i)) + decay |w|_1 as a smooth problem in the positive and negative parts of w."""
    d = x.shape[1]

    def objective(v):
        w = np.append(v[:d] - v[d:2 * d], v[-1])
        s = slopes(x, y, w) / len(x)
        g = x.T @ s
        return losses(x, y, w).mean() + decay * v[:-1].sum(), np.concatenate([g + decay, -g + decay, [s.sum()]])

    found = minimize(objective, np.zeros(2 * d + 1), jac=True, method="L-BFGS-B", bounds=[(0, None)] * (2 * d) + [(None, None)], options={"ftol": 1e-16, "gtol": 1e-10, "maxiter": 100000, "maxfun": 100000})
    return np.append(found.x[:d] - found.x[d:2 * d], found.x[-1])


def case(name, x, y, c):
    x = x.astype(np.float32)
    return {"name": name, "x": x.round(6).tolist(), "labels": ((y + 1) // 2).astype(int).tolist(), "c": c, "decay": 0.01, "ridge": ridge(np.float64(np.float32(x.round(6))), y, c).tolist(), "lasso": lasso(np.float64(np.float32(x.round(6))), y, 0.01).tolist()}


def labels(scores):
    return np.where(scores + rng.logistic(size=len(scores)) * 0.5 > 0, 1.0, -1.0)


dense = rng.normal(size=(60, 8)) * np.array([1, 1, 1, 1, 1, 1, 30, 0.1]) + np.array([0, 5, 0, 0, 0, 0, 100, 0])
sparse = np.maximum(rng.normal(size=(80, 12)) - 1, 0) * 3
apart = rng.normal(size=(40, 4))
cases = [
    case("dense, with a column of another scale", dense, labels(dense[:, 0] - dense[:, 1] + 5 + dense[:, 2]), 1.0),
    case("sparse activations", sparse, labels(2 * sparse[:, 0] - sparse[:, 3] - 0.5), 1.0),
    case("classes that a plane parts", apart, np.where(apart[:, 0] > 0, 1.0, -1.0), 10.0),
]
out.parent.mkdir(parents=True, exist_ok=True)
out.write_text(json.dumps(cases) + "\n")
print(out, out.stat().st_size)

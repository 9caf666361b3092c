"""Makes the golden data that the inference service's interventions are held against.

An implementation of its own: transformers runs the demo model in f64, plain torch computes the SAEs and the edits, both
written from the comments of proto/mistral_sae/common/v1/intervention.proto. Needs torch, transformers, safetensors:

    python tools/check/python/interventions.py

writes services/inference/test/fixtures/interventions.json (the cases, as Intervention messages) and
interventions.safetensors (for each case, logits of sampled tokens at some rows of the prompt and after each decoded
token, and the largest logit of those rows by magnitude). A case decodes greedily; its tokens are kept.
"""
import itertools
import json
import math
import pathlib

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

root = pathlib.Path(__file__).resolve().parents[3]
folder = root / "libs/demo-model/model"
fixtures = root / "services/inference/test/fixtures"
torch.manual_seed(0)
torch.set_grad_enabled(False)

N_STEPS = 6
MODEL = "models/demo"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
d_model = model.config.hidden_size
SPECIAL = sorted(set(tokenizer.all_special_ids))
# A special token stands in the middle of the prompt, so that leaving it alone is seen.
TEXT = tokenizer("Once upon a time, there was a little girl named Lily. She loved the big red").input_ids
PROMPT = TEXT[:8] + [2] + TEXT[8:]
# Who wrote what, as a chat template would say.
SPANS = [{"role": "CHAT_ROLE_SYSTEM", "start": 1, "end": 4}, {"role": "CHAT_ROLE_USER", "start": 4, "end": 10}, {"role": "CHAT_ROLE_ASSISTANT", "start": 10, "end": len(PROMPT)}]
PROMPT_ROWS = [0, 5, 8, len(PROMPT) - 1]
SAMPLED = np.linspace(3, model.config.vocab_size - 1, 12).astype(int).tolist()


def uniform(seed, n):
    """n numbers from -0.5 to 0.5, exact in f32: a 32-bit hash (lowbias32) of the index."""
    x = (np.arange(n, dtype=np.uint64) + np.uint64(seed * 0x9E3779B9)) & np.uint64(0xFFFFFFFF)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x ^= x >> np.uint64(shift)
        x = (x * np.uint64(factor)) & np.uint64(0xFFFFFFFF)
    x ^= x >> np.uint64(16)
    return torch.tensor((x >> np.uint64(8)).astype(np.float64) / 2**24 - 0.5)


def vector(seed):
    return uniform(seed, d_model)


class Sae:
    """Encoding and decoding by SAELens' definitions; rows of W_enc and W_dec are features."""

    def __init__(self, spec):
        n, seed = spec["d_sae"], spec["seed"]
        self.spec = spec
        self.w_enc = uniform(seed, n * d_model).view(n, d_model) * spec["scale"]
        self.b_enc = uniform(seed + 1, n)
        self.w_dec = uniform(seed + 2, n * d_model).view(n, d_model) * 0.25
        self.b_dec = uniform(seed + 3, d_model)
        self.norms = self.w_dec.norm(dim=1)
        self.directions = self.w_dec / self.norms[:, None] if spec["rescale"] else self.w_dec
        self.margin = math.inf

    def normalised(self, h):
        """Input, shift and scale of a row."""
        kind = self.spec["normalize"]
        if kind == "layer_norm":
            mean = h.mean()
            deviation = (h - mean).std(unbiased=True)
            return (h - mean) / (deviation + 1e-5), mean, deviation
        if kind == "constant_norm_rescale":
            factor = math.sqrt(d_model) / h.norm()
            return h * factor, 0.0, 1 / factor
        return h, 0.0, 1.0

    def encode(self, h):
        x, _, _ = self.normalised(h)
        pre = self.w_enc @ (x - self.b_dec if self.spec["apply_b_dec"] else x) + self.b_enc
        if self.spec["rescale"]:
            pre = pre * self.norms
        if self.spec["architecture"] == "standard":
            return pre.relu()
        if self.spec["architecture"] == "jumprelu":
            self.margin = min(self.margin, float((pre - self.spec["threshold"]).abs().min()))
            return pre.relu() * (pre > self.spec["threshold"])
        values, indices = pre.topk(self.spec["k"] + 1)
        self.margin = min(self.margin, float(values[-2] - values[-1]))
        return torch.zeros_like(pre).scatter(0, indices[:-1], values[:-1].relu())

    def decode(self, a, h):
        _, shift, scale = self.normalised(h)
        return scale * (a @ self.directions + self.b_dec) + shift


SPECS = {
    "relu": {"hook": "blocks.0.hook_resid_post", "architecture": "standard", "normalize": "none", "apply_b_dec": False, "rescale": False, "scale": 0.25, "d_sae": 160, "seed": 101},
    "topk": {"hook": "blocks.1.hook_resid_post", "architecture": "topk", "k": 16, "normalize": "none", "apply_b_dec": True, "rescale": False, "scale": 0.25, "d_sae": 256, "seed": 211},
    "rescaled": {"hook": "blocks.2.hook_resid_pre", "architecture": "topk", "k": 8, "normalize": "none", "apply_b_dec": True, "rescale": True, "scale": 0.25, "d_sae": 200, "seed": 307},
    "normed": {"hook": "blocks.2.hook_resid_post", "architecture": "topk", "k": 12, "normalize": "layer_norm", "apply_b_dec": True, "rescale": False, "scale": 0.5, "d_sae": 224, "seed": 401},
    "jump": {"hook": "blocks.2.hook_resid_post", "architecture": "jumprelu", "threshold": 0.75, "normalize": "constant_norm_rescale", "apply_b_dec": False, "rescale": False, "scale": 0.25, "d_sae": 192, "seed": 503},
}
SAES = {f"{MODEL}/saes/{name}": Sae(spec) for name, spec in SPECS.items()}


def point_of(hook):
    _, layer, name = hook.split(".")
    return int(layer) + (name == "hook_resid_post")


class Edit:
    """One intervention in one sequence."""

    def __init__(self, message):
        self.m = message
        self.method = message["method"].removeprefix("STEERING_METHOD_")
        if "direction" in message:
            self.point = point_of(message["direction"]["hook_name"])
            self.v = vector(message["direction"]["vector"]["seed"]) * message["direction"]["vector"].get("factor", 1)
        else:
            name = message["feature"]["sae"] if "feature" in message else message["sae"]
            self.sae = SAES[name]
            self.point = point_of(self.sae.spec["hook"])
            if "feature" in message:
                self.f = message["feature"].get("feature_index", 0)
                self.v = self.sae.directions[self.f]
        self.in_features = self.method.startswith("FEATURE") or self.method == "RECONSTRUCT"
        self.keeps_error = self.method != "RECONSTRUCT" and message.get("keep_error_term", True)
        self.history = [[] for _ in message.get("conditions", [])]
        self.counts = {"prompt_rows": 0, "steps": 0, "off_prompt_rows": 0, "off_steps": 0}

    def in_set(self, s, position, token):
        n = len(PROMPT)
        t = position - n
        if token in s.get("token_ids", []):
            return True
        if t >= 0:
            w = s.get("generation_window")
            window = w is not None and t >= w.get("start", 0) and (w.get("end") is None or t < w["end"])
            return s.get("generation_all", False) or window or "CHAT_ROLE_ASSISTANT" in s.get("roles", [])
        absolute = lambda p: p + n if p < 0 else p
        w = s.get("prompt_window")
        window = w is not None and absolute(w.get("start", 0)) <= position < absolute(w.get("end", n))
        role = any(span["role"] in s.get("roles", []) and span["start"] <= position < span["end"] for span in SPANS)
        return s.get("prompt_all", False) or position in map(absolute, s.get("prompt_positions", [])) or window or role

    def selects(self, position, token):
        p = self.m.get("positions", {})
        if p.get("skip_special_tokens", True) and token in SPECIAL:
            return False
        return ("include" not in p or self.in_set(p["include"], position, token)) and not ("exclude" in p and self.in_set(p["exclude"], position, token))

    def holds(self, action, position):
        """Whether all conditions of an action hold."""
        results = []
        for condition, seen in zip(self.m.get("conditions", []), self.history):
            if condition.get("action", "APPLY").removeprefix("CONDITION_ACTION_") != action:
                continue
            most = max(seen[max(0, position + 1 - max(1, condition.get("lookback", 0))) : position + 1])
            threshold = condition.get("threshold", 0)
            sign = condition["comparison"].removeprefix("COMPARISON_")
            assert abs(most - threshold) > 1e-3 or threshold == 0, f"{most} is too near {threshold}"
            results.append({"GREATER": most > threshold, "GREATER_EQUAL": most >= threshold, "LESS": most < threshold, "LESS_EQUAL": most <= threshold}[sign])
        return results

    def g(self, position):
        t = max(0, position - len(PROMPT))
        s = self.m.get("schedule", {})
        if "linear" in s or "cosine" in s:
            r = s.get("linear") or s["cosine"]
            a, b, x = r.get("start", 0), r.get("end", 0), min(t, r["steps"]) / r["steps"]
            return a + (b - a) * x if "linear" in s else b + (a - b) * (1 + math.cos(math.pi * x)) / 2
        if "decay" in s:
            return 2 ** (-t / s["decay"]["half_life"])
        if "values" in s:
            return s["values"]["factors"][min(t, len(s["values"]["factors"]) - 1)]
        return s.get("constant", 1)

    def row(self, h, position):
        """h' of the vector methods."""
        m, v, g = self.m, self.v, self.g(position)
        u = v / v.norm() if v.norm() > 0 else v
        s = m.get("strength", 1)
        if self.method == "ADD":
            if m.get("unit") == "STRENGTH_UNIT_RESID_NORM_FRACTION":
                return h + s * g * h.norm() * u
            return h + s * g * (u if m.get("normalize") else v)
        if self.method == "NORM_SCALED_ADD":
            q = s * g * h.norm() * (u if m.get("normalize") else v)
            return h + q * min(1, m.get("max_fraction", 1) * h.norm() / q.norm()) if q.norm() > 0 else h
        if self.method == "ORTHOGONAL":
            return h + (s - 1) * g * (h @ u) * u
        if self.method == "PROJECTION_CAP":
            return h + (torch.clip(h @ u, m.get("min", -math.inf), m.get("max", math.inf)) - h @ u) * u
        if self.method == "ABLATE":
            return h - (h @ u) * u
        if self.method == "SWAP":
            target = vector(m["swap_target"]["vector"]["seed"])
            return h + (h @ u) * (target / target.norm() - u)
        assert self.method == "REPLACE"
        return s * g * v

    def activation(self, a, position):
        """a'_f from a_f."""
        m, g, s = self.m, self.g(position), self.m.get("strength", 0)
        if self.method == "FEATURE_SET":
            return s * g
        if self.method == "FEATURE_ADD":
            return a + s * g if m.get("allow_negative") else max(0.0, a + s * g)
        if self.method == "FEATURE_SCALE":
            return (1 + (s - 1) * g) * a
        return min(max(a, m.get("min", -math.inf)), m.get("max", math.inf))


class Run:
    """One sequence through the model with its edits."""

    def __init__(self, messages):
        self.edits = [Edit(m) for m in messages]
        self.cache = DynamicCache()
        self.tokens = []
        self.ended_by = None

    def feed(self, tokens):
        """Logits after each of the tokens."""
        first = len(self.tokens)
        self.tokens += tokens
        hooks = [model.model.embed_tokens.register_forward_hook(lambda _m, _i, out: self.at(0, out, first))]
        for i, layer in enumerate(model.model.layers):
            hooks.append(layer.register_forward_hook(lambda _m, _i, out, point=i + 1: self.at(point, out, first)))
        logits = model(torch.tensor([tokens]), past_key_values=self.cache, use_cache=True).logits[0]
        for hook in hooks:
            hook.remove()
        for edit in self.edits:
            for position in range(first, len(self.tokens)):
                aborts = edit.holds("ABORT", position) if edit.selects(position, self.tokens[position]) else []
                if self.ended_by is None and aborts and all(aborts):
                    self.ended_by = edit.m["id"]
        return logits

    def at(self, point, out, first):
        rows = (out[0] if isinstance(out, tuple) else out).clone()
        rows = rows.view(-1, d_model)
        for i in range(rows.shape[0]):
            rows[i] = self.edited(point, rows[i], first + i)
        rows = rows.view(1, -1, d_model)
        return (rows, *out[1:]) if isinstance(out, tuple) else rows

    def edited(self, point, h, position):
        for edit in self.edits:
            for condition, seen in zip(edit.m.get("conditions", []), edit.history):
                sae = SAES[condition["feature"]["sae"]]
                if point_of(sae.spec["hook"]) == point:
                    seen.append(float(sae.encode(h)[condition["feature"].get("feature_index", 0)]))
        here = [edit for edit in self.edits if edit.point == point]
        for _, run in itertools.groupby(here, lambda edit: id(edit.sae) if edit.in_features else id(edit)):
            active = [edit for edit in run if self.applies(edit, position)]
            if active and active[0].in_features:
                h = self.feature_edits(active, h, position)
            elif active:
                h = active[0].row(h, position)
        return h

    def applies(self, edit, position):
        if not edit.selects(position, self.tokens[position]):
            return False
        held = all(edit.holds("APPLY", position))
        edit.counts[("" if held else "off_") + ("prompt_rows" if position < len(PROMPT) else "steps")] += 1
        return held

    def feature_edits(self, edits, h, position):
        sae = edits[0].sae
        a = sae.encode(h)
        changed = a.clone()
        for edit in edits:
            if edit.method != "RECONSTRUCT":
                changed[edit.f] = edit.activation(float(changed[edit.f]), position)
        if all(edit.keeps_error for edit in edits):
            _, _, scale = sae.normalised(h)
            return h + scale * ((changed - a) @ sae.directions)
        return sae.decode(changed, h)


def baseline_activations(name):
    """Activations of every feature over prompt and a plain continuation, [tokens - 1, d_sae], at the SAE's hook."""
    sae = SAES[f"{MODEL}/saes/{name}"]
    tokens = PROMPT + model.generate(torch.tensor([PROMPT]), max_new_tokens=N_STEPS, do_sample=False)[0, len(PROMPT) :].tolist()
    states = model(torch.tensor([tokens]), output_hidden_states=True).hidden_states
    point = point_of(sae.spec["hook"])
    assert point < len(model.model.layers), "the last hidden state is normed"
    # Without BOS, whose row is unlike all others.
    return torch.stack([sae.encode(h) for h in states[point][0][1:]])


WATCHED = {}
for name in SPECS:
    codes = baseline_activations(name)
    ranked = sorted(range(codes.shape[1]), key=lambda f: abs(float((codes[:, f] > 0).double().mean()) - 0.5))
    found = []
    for f in ranked[:12]:
        values = sorted({0.0, *codes[:, f].tolist()})
        gap, threshold = max((b - a, (a + b) / 2) for a, b in zip(values[1:-1], values[2:-1] or values[2:]))
        found.append((f, round(threshold, 4)))
    WATCHED[name] = found
    print(name, "features", found[:3], "of", sum((codes > 0).any(0).tolist()), "that fire; norm of b_dec", round(float(SAES[f"{MODEL}/saes/{name}"].b_dec.norm()), 2))


def feature(name, rank=0):
    return {"feature": {"sae": f"{MODEL}/saes/{name}", "feature_index": WATCHED[name][rank][0]}}


def direction(seed, hook="blocks.1.hook_resid_post", **more):
    return {"direction": {"hook_name": hook, "vector": {"seed": seed, **more}}}


def condition(name, sign, rank=0, **more):
    f, threshold = WATCHED[name][rank]
    return {**feature(name, rank), "comparison": f"COMPARISON_{sign}", "threshold": threshold, **more}


CASES = []


def case(name, *messages):
    CASES.append({"name": name, "interventions": [{"id": f"i{i}", **m, "method": f"STEERING_METHOD_{m['method']}"} for i, m in enumerate(messages)]})


FRACTION = {"unit": "STRENGTH_UNIT_RESID_NORM_FRACTION"}
RAW = {"unit": "STRENGTH_UNIT_RAW"}

# Every method with every unit and option that it takes.
for name, m in {
    "add": {**direction(1), "strength": 1.5},
    "add, raw, negative": {**direction(1), **RAW, "strength": -2},
    "add, normalised": {**direction(1), "strength": 4, "normalize": True},
    "add, a fraction of the norm": {**direction(2), **FRACTION, "strength": 0.4},
    "add, a negative fraction, at the embedding": {**direction(2, "blocks.0.hook_resid_pre"), **FRACTION, "strength": -0.3},
    "add, a feature's direction": {**feature("rescaled"), "strength": 3},
    "add, a feature's direction by a fraction": {**feature("normed"), **FRACTION, "strength": 0.5},
    "add, at the end of the model": {**direction(3, "blocks.3.hook_resid_post"), "strength": 2},
}.items():
    case(name, {"method": "ADD", **m})
for name, m in {
    "below its bound": {"strength": 0.02},
    "above its bound": {"strength": 3},
    "its bound set": {"strength": -3, "max_fraction": 0.25},
    "normalised": {"strength": 0.6, "normalize": True},
    "normalised, its bound set": {"strength": 0.6, "normalize": True, "max_fraction": 0.3},
}.items():
    case(f"norm scaled add, {name}", {"method": "NORM_SCALED_ADD", **direction(4), **m})
for s in (0, -1, 3, 0.5):
    case(f"orthogonal, {s}", {"method": "ORTHOGONAL", **direction(5), "strength": s})
case("orthogonal, a feature's direction", {"method": "ORTHOGONAL", **feature("topk"), "strength": 2})
for name, m in {"from below": {"min": 0.5}, "from above": {"max": -0.25}, "on both sides": {"min": -0.1, "max": 0.1}}.items():
    case(f"projection cap, {name}", {"method": "PROJECTION_CAP", **direction(6), **m})
case("ablate", {"method": "ABLATE", **direction(7)})
case("ablate, a feature's direction", {"method": "ABLATE", **feature("jump")})
case("swap", {"method": "SWAP", **direction(8), "swap_target": {"vector": {"seed": 9}}})
case("swap, from a feature", {"method": "SWAP", **feature("topk"), "swap_target": {"hook_name": "blocks.2.hook_resid_pre", "vector": {"seed": 9}}})
case("replace", {"method": "REPLACE", **direction(10), "strength": 2})
case("replace, as it is", {"method": "REPLACE", **direction(10)})
case("replace, by zero", {"method": "REPLACE", **direction(10, factor=0), "positions": {"include": {"prompt_positions": [4, -1], "generation_all": True}}})
for sae in SPECS:
    f, threshold = WATCHED[sae][0]
    for name, m in {
        "set": {"method": "FEATURE_SET", "strength": 2.5},
        "set to 0": {"method": "FEATURE_SET", "strength": 0},
        "add": {"method": "FEATURE_ADD", "strength": 1.5},
        "add below 0": {"method": "FEATURE_ADD", "strength": -0.8},
        "scale": {"method": "FEATURE_SCALE", "strength": 3},
        "clamp": {"method": "FEATURE_CLAMP", "min": round(threshold / 2, 4), "max": threshold},
    }.items():
        case(f"feature {name}, {sae}", {**feature(sae), **m})
    case(f"feature set without the error term, {sae}", {**feature(sae, 1), "method": "FEATURE_SET", "strength": 2, "keep_error_term": False})
    case(f"reconstruct, {sae}", {"sae": f"{MODEL}/saes/{sae}", "method": "RECONSTRUCT"})
case("feature add, negative allowed", {**feature("topk"), "method": "FEATURE_ADD", "strength": -3, "allow_negative": True})
case("feature set, negative allowed", {**feature("relu"), "method": "FEATURE_SET", "strength": -2, "allow_negative": True})
case("feature clamp from below, error dropped", {**feature("jump"), "method": "FEATURE_CLAMP", "min": 1.5, "keep_error_term": False})

# Every kind of selector, under a vector edit, a feature edit and a reconstruction in turn.
SELECTORS = {
    "prompt": {"include": {"prompt_all": True}},
    "generation": {"include": {"generation_all": True}},
    "positions from both ends": {"include": {"prompt_positions": [2, 5, -1]}},
    "a window of the prompt": {"include": {"prompt_window": {"start": 3, "end": 7}}},
    "a window from the end": {"include": {"prompt_window": {"start": -4}}},
    "a window of the generation": {"include": {"generation_window": {"start": 1, "end": 4}}},
    "an open window": {"include": {"generation_window": {"start": 2}}},
    "token ids": {"include": {"token_ids": [PROMPT[2], PROMPT[10], 16, 18]}},
    "the user": {"include": {"roles": ["CHAT_ROLE_USER"]}},
    "the assistant": {"include": {"roles": ["CHAT_ROLE_ASSISTANT", "CHAT_ROLE_SYSTEM"]}},
    "special tokens too": {"skip_special_tokens": False},
    "all but a window": {"exclude": {"prompt_window": {"start": 0, "end": 6}, "generation_window": {"start": 2, "end": 4}}},
    "all but tokens and roles": {"exclude": {"token_ids": [16, 18, PROMPT[3]], "roles": ["CHAT_ROLE_SYSTEM"]}},
    "a union less a union": {
        "include": {"prompt_positions": [1, 8], "prompt_window": {"start": 9, "end": -2}, "generation_window": {"start": 0, "end": 3}, "token_ids": [355]},
        "exclude": {"prompt_positions": [10], "generation_window": {"start": 1, "end": 2}},
        "skip_special_tokens": False,
    },
}
turns = itertools.cycle([
    ("add", {**direction(11), "method": "ADD", "strength": 3}),
    ("feature set", {**feature("topk", 1), "method": "FEATURE_SET", "strength": 3}),
    ("reconstruct", {"sae": f"{MODEL}/saes/normed", "method": "RECONSTRUCT"}),
    ("swap", {**direction(12), "method": "SWAP", "swap_target": {"vector": {"seed": 13}}}),
    ("feature scale", {**feature("jump"), "method": "FEATURE_SCALE", "strength": -2}),
])
for name, positions in SELECTORS.items():
    for turn, m in itertools.islice(turns, 2):
        case(f"at {name}, {turn}", {**m, "positions": positions})

# Every schedule, under each method that has a strength.
SCHEDULES = {
    "constant": {"constant": 0.5},
    "linear": {"linear": {"start": 0.25, "end": 1.5, "steps": 4}},
    "cosine": {"cosine": {"start": 1, "steps": 4}},
    "decay": {"decay": {"half_life": 1.5}},
    "values": {"values": {"factors": [1, 0, -0.5, 0.75]}},
}
turns = itertools.cycle([
    ("add", {**direction(14), "method": "ADD", "strength": 3}),
    ("orthogonal", {**direction(15), "method": "ORTHOGONAL", "strength": -1}),
    ("feature scale", {**feature("topk"), "method": "FEATURE_SCALE", "strength": 4}),
    ("add by a fraction", {**direction(14), **FRACTION, "method": "ADD", "strength": 0.6}),
    ("feature set", {**feature("normed"), "method": "FEATURE_SET", "strength": 3, "allow_negative": True}),
    ("norm scaled add", {**direction(16), "method": "NORM_SCALED_ADD", "strength": 0.4, "normalize": True}),
    ("feature add", {**feature("jump"), "method": "FEATURE_ADD", "strength": 2}),
    ("replace", {**direction(17), "method": "REPLACE", "strength": 2, "positions": {"include": {"generation_all": True}}}),
])
for name, schedule in SCHEDULES.items():
    for turn, m in itertools.islice(turns, 3):
        case(f"{name} schedule, {turn}", {**m, "schedule": schedule})

# Conditions: every comparison, over one token and over several, on every kind of SAE, before and at the edit's own hook.
for sae, (sign, lookback) in zip(itertools.cycle(SPECS), itertools.product(["GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"], [0, 1, 3])):
    case(f"when {sae} {sign.lower()}, lookback {lookback}", {**direction(18, "blocks.2.hook_resid_post"), "method": "ADD", "strength": 3, "conditions": [condition(sae, sign, lookback=lookback)]})
case("when silent", {**feature("normed"), "method": "FEATURE_SET", "strength": 2, "conditions": [{**feature("topk"), "comparison": "COMPARISON_LESS_EQUAL", "threshold": 0}]})
case("when two hold", {**feature("jump", 1), "method": "FEATURE_SET", "strength": 2, "conditions": [condition("topk", "GREATER", lookback=4), condition("relu", "LESS")]})
case("when its own feature fires", {**feature("topk"), "method": "FEATURE_SCALE", "strength": 0, "conditions": [condition("topk", "GREATER")]})
case("when, selected and scheduled", {**direction(19), "method": "ADD", "strength": 4, "conditions": [condition("relu", "LESS", lookback=2)], "positions": {"include": {"prompt_window": {"start": -6}, "generation_all": True}}, "schedule": SCHEDULES["linear"]})
case("reconstruct when", {"sae": f"{MODEL}/saes/rescaled", "method": "RECONSTRUCT", "conditions": [condition("topk", "LESS_EQUAL")]})
case("two settings by one condition", *({**feature("normed", 1), "method": "FEATURE_SET", "strength": s, "conditions": [condition("topk", sign)]} for s, sign in ((3, "GREATER"), (0, "LESS_EQUAL"))))
for lookback in (1, 3):
    case(f"ended by a condition, lookback {lookback}", {**direction(20, "blocks.0.hook_resid_pre"), "method": "ADD", "strength": 0.01, "positions": {"include": {"generation_all": True}}, "conditions": [condition("topk", "GREATER", action="CONDITION_ACTION_ABORT", lookback=lookback)]})
case("gated by one condition, ended by another", {**direction(20), "method": "ADD", "strength": 3, "positions": {"include": {"generation_window": {"start": 1}}}, "conditions": [condition("relu", "LESS"), condition("normed", "GREATER", 1, action="CONDITION_ACTION_ABORT")]})

# Several at once: at one hook, at several layers, with SAEs of different layers.
case("in order at one hook", {**direction(21), "method": "ADD", "strength": 3}, {**direction(22), "method": "ABLATE"}, {**direction(23), "method": "SWAP", "swap_target": {"vector": {"seed": 24}}})
case("a vector between two features", {**feature("topk"), "method": "FEATURE_SET", "strength": 2}, {**direction(25), "method": "ADD", "strength": 2}, {**feature("topk", 1), "method": "FEATURE_SET", "strength": 2})
case("features of one SAE together", {**feature("topk"), "method": "FEATURE_SET", "strength": 3}, {**feature("topk", 1), "method": "FEATURE_ADD", "strength": 1}, {**feature("topk", 2), "method": "FEATURE_SCALE", "strength": 0})
case("a feature set in a reconstruction", {"sae": f"{MODEL}/saes/normed", "method": "RECONSTRUCT"}, {**feature("normed", 1), "method": "FEATURE_SET", "strength": 3})
case("two SAEs at one hook", {**feature("normed"), "method": "FEATURE_SET", "strength": 2}, {**feature("jump"), "method": "FEATURE_SET", "strength": 2})
case("SAEs of every layer", *({**feature(sae), "method": "FEATURE_SET", "strength": 1.5} for sae in SPECS))
case("every layer", *({**direction(30 + i, hook), "method": "ADD", "strength": 0.8} for i, hook in enumerate(["blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post", "blocks.3.hook_resid_pre", "blocks.3.hook_resid_post"])))
case("reconstructed at every layer", *({"sae": f"{MODEL}/saes/{sae}", "method": "RECONSTRUCT"} for sae in ("relu", "topk", "normed")))
case("one feature set to this and then to that", *({**feature("topk"), "method": "FEATURE_SET", "strength": s, "positions": {"include": include}} for s, include in ((4, {"prompt_all": True, "generation_window": {"start": 0, "end": 2}}), (0, {"generation_window": {"start": 2}}))))
case("one direction, the later one in sequence", {**direction(26), "method": "ADD", "strength": 4}, {**direction(26), "method": "ORTHOGONAL", "strength": 0.25, "conflict": "CONFLICT_POLICY_SEQUENTIAL"})
case("an edit that a later layer's condition sees", {**direction(27, "blocks.0.hook_resid_post"), "method": "ADD", "strength": 1}, {**direction(28, "blocks.3.hook_resid_pre"), "method": "ADD", "strength": 3, "conditions": [condition("topk", "GREATER"), condition("jump", "GREATER", lookback=5)]})
case("all together", {**direction(29, "blocks.0.hook_resid_pre"), "method": "NORM_SCALED_ADD", "strength": 0.1, "schedule": SCHEDULES["decay"]}, {**feature("relu"), "method": "FEATURE_CLAMP", "max": 0.25}, {**feature("topk"), "method": "FEATURE_SET", "strength": 2, "conditions": [condition("relu", "LESS")]}, {**direction(30, "blocks.3.hook_resid_pre"), "method": "PROJECTION_CAP", "max": 0.5, "positions": {"include": {"generation_all": True}}})

tensors = {}
plain = Run([]).feed(PROMPT)
moved = []
for index, c in enumerate(CASES):
    run = Run(c["interventions"])
    logits = run.feed(PROMPT)
    rows = [logits[p] for p in PROMPT_ROWS]
    fed = []
    while run.ended_by is None and len(fed) < N_STEPS:
        fed.append(int(rows[-1].argmax()))
        rows.append(run.feed([fed[-1]])[0])
    tensors[f"c{index}"] = np.array([[*row[SAMPLED].tolist(), row.abs().max().item()] for row in rows], dtype=np.float32)
    c.update(tokens=fed, ended_by=run.ended_by or "", proofs=[edit.counts for edit in run.edits])
    prompt_moved = max(float((a - plain[p]).abs().max() / a.abs().max()) for a, p in zip(rows, PROMPT_ROWS))
    if all(edit.counts["steps"] == 0 for edit in run.edits):
        moved.append((prompt_moved, c["name"]))
    applied = sum(edit.counts["prompt_rows"] + edit.counts["steps"] for edit in run.edits)
    held_off = sum(edit.counts["off_prompt_rows"] + edit.counts["off_steps"] for edit in run.edits)
    if "ended" in c["name"]:
        print(c["name"], "after", len(fed), [edit.counts for edit in run.edits])
    if applied == 0 or ("when" in c["name"] and held_off == 0):
        print("one-sided:", c["name"], [edit.counts for edit in run.edits])
for name, sae in SAES.items():
    print(name, "least margin of membership", sae.margin)
print(len(CASES), "cases; least moved", sorted(moved)[:5])
fixtures.mkdir(exist_ok=True)
save_file(tensors, fixtures / "interventions.safetensors")
head = {"prompt": PROMPT, "special_ids": SPECIAL, "spans": SPANS, "prompt_rows": PROMPT_ROWS, "sampled": SAMPLED, "max_tokens": N_STEPS, "saes": SPECS}
lines = ",\n".join(f"  {json.dumps(c)}" for c in CASES)
(fixtures / "interventions.json").write_text(json.dumps(head)[:-1] + f', "cases": [\n{lines}\n]}}\n')

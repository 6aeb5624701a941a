"""Goldens for the lora crate: transformers' schedules, torch's clipping and AdamW, PEFT's config files.

usage: make.py   (writes beside itself)   needs: pip install torch transformers peft
"""
import json, math, pathlib, random, tempfile
import peft, torch, transformers
from peft import LoraConfig
from transformers import get_scheduler

HERE = pathlib.Path(__file__).resolve().parent
VERSIONS = dict(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__)


def save(name, value):
    (HERE / name).write_text(json.dumps(dict(versions=VERSIONS, **value), indent=1) + "\n")


def schedules():
    """The rate of every update: warm-up by ratio (`ceil(ratio * total)`, as TrainingArguments counts), then by steps."""
    runs = [(2e-4, dict(ratio=0.03), 63), (5e-5, dict(ratio=0.0), 10), (1e-3, dict(ratio=0.5), 7), (2e-4, dict(ratio=0.03), 1),
            (1.0, dict(ratio=1.0), 4), (3e-4, dict(steps=5), 20), (3e-4, dict(steps=0), 11), (3e-4, dict(steps=9), 6)]
    cases = []
    for name in ["constant", "constant_with_warmup", "linear", "cosine", "warmup_stable_decay"]:
        for peak, how, total in runs:
            for decay in [None, 3, 1, total] if name == "warmup_stable_decay" else [None]:
                warmup = how["steps"] if "steps" in how else math.ceil(how["ratio"] * total)
                opt = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=peak)
                extra = {}
                if name == "warmup_stable_decay":
                    extra["scheduler_specific_kwargs"] = dict(num_decay_steps=decay if decay is not None else math.ceil(total / 10))
                sched, rates = get_scheduler(name, opt, num_warmup_steps=warmup, num_training_steps=total, **extra), []
                for _ in range(total):
                    rates.append(opt.param_groups[0]["lr"])
                    opt.step()
                    sched.step()
                cases.append(dict(schedule=name, peak=peak, ratio=how.get("ratio", 0.03), warmup_steps=how.get("steps"), decay_steps=decay,
                                  total=total, warmup=0 if name == "constant" else warmup, rates=rates))
    save("schedules.json", dict(cases=cases))


def adamw():
    """Two tensors, twelve steps of given gradients: clipped at 1.0, changing lr, weight decay on and off."""
    cases = []
    for decay in [0.0, 0.1]:
        rng = random.Random(3)
        draw = lambda n, s: [rng.gauss(0, s) for _ in range(n)]
        starts = [draw(6, 0.5), draw(4, 0.5)]
        params = [torch.nn.Parameter(torch.tensor(s, dtype=torch.float32)) for s in starts]
        opt = torch.optim.AdamW(params, lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=decay)
        steps = []
        for step in range(12):
            grads = [draw(6, 10.0 ** (step % 4 - 2)), draw(4, 10.0 ** (step % 4 - 2))]
            if step < 2:
                grads[0] = [0.0] * 6   # as LoRA's A while B is zero
            lr = 0.0 if step == 0 else 1e-2 / step
            for p, g in zip(params, grads):
                p.grad = torch.tensor(g, dtype=torch.float32)
            opt.param_groups[0]["lr"] = lr
            norm = torch.nn.utils.clip_grad_norm_(params, 1.0).item()
            opt.step()
            steps.append(dict(lr=lr, grads=grads, norm=norm, params=[p.tolist() for p in params]))
        cases.append(dict(weight_decay=decay, starts=starts, steps=steps))
    save("adamw.json", dict(cases=cases))


def configs():
    base = dict(r=8, lora_alpha=32, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    variants = dict(
        plain={}, default_init_off=dict(init_lora_weights=False), gaussian=dict(init_lora_weights="gaussian"),
        rslora=dict(use_rslora=True), all_linear=dict(target_modules="all-linear"), one_name=dict(target_modules="q_proj"),
        use_dora=dict(use_dora=True), bias=dict(bias="lora_only"), lora_bias=dict(lora_bias=True),
        modules_to_save=dict(modules_to_save=["lm_head"]), rank_pattern=dict(rank_pattern={"q_proj": 4}),
        alpha_pattern=dict(alpha_pattern={"q_proj": 4}), layers_to_transform=dict(layers_to_transform=[0]),
        fan_in_fan_out=dict(fan_in_fan_out=True), init_lora_weights=dict(init_lora_weights="olora"),
        exclude_modules=dict(exclude_modules=["v_proj"]), target_parameters=dict(target_parameters=["x.weight"]),
        trainable_token_indices=dict(trainable_token_indices=[1]), task_type=dict(task_type="SEQ_CLS"),
        target_modules=dict(target_modules=["q_proj", "lm_head"]), regex=dict(target_modules=".*q_proj"),
        layer=dict(layers_to_transform=3), exclude_regex=dict(exclude_modules=".*v_proj"), patterns=dict(
            rank_pattern={".*v_proj": 2, "q_proj": 4}, alpha_pattern={r"layers\.0\..*": 1.5}), endings=dict(target_modules=["self_attn.q_proj", "layers.1.mlp.up_proj"]))
    out = {}
    for name, extra in variants.items():
        with tempfile.TemporaryDirectory() as d:
            config = LoraConfig(**{**base, **extra})
            config.save_pretrained(d)
            out[name] = json.loads((pathlib.Path(d) / "adapter_config.json").read_text())
            if isinstance(out[name]["target_modules"], list):
                out[name]["target_modules"].sort()   # PEFT holds a set: its order is another each time
    save("peft_configs.json", dict(configs=out))


schedules()
adamw()
configs()

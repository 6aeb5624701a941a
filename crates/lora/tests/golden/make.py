"""Goldens for the lora crate: transformers' schedules, clipping and optimisers (torch's, transformers' Adafactor, lion-pytorch), PEFT's config files.

usage: make.py   (writes beside itself)   needs: pip install torch transformers peft lion-pytorch
"""
import importlib.metadata, json, math, pathlib, random, tempfile, types
import peft, torch, transformers
from lion_pytorch import Lion
from peft import LoraConfig
from torch.optim import _muon
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import get_scheduler
from transformers.optimization import Adafactor

HERE = pathlib.Path(__file__).resolve().parent
VERSIONS = dict(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__)


def save(name, value, compact=False, **more):
    (HERE / name).write_text(json.dumps(dict(versions=dict(VERSIONS, **more), **value), indent=None if compact else 1).replace('}, {"optim"', '},\n{"optim"').replace('}, {"decay"', '},\n{"decay"') + "\n")


def short(values):
    """What an f32 needs."""
    return [float(f"{v:.9g}") for v in values]


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


def in_f32():
    """torch's Muon with its bf16 read as f32: the same code, so that its arithmetic can be followed to the last digits."""
    names = {name: getattr(torch, name) for name in dir(torch)}
    return types.SimpleNamespace(**{**names, "bfloat16": torch.float32})


def optimisers():
    """Two matrices and (where the optimiser takes one) a vector, twelve steps of given gradients: clipped at 1.0, changing lr."""
    def sgd(**more):
        return lambda p, wd: torch.optim.SGD(p, lr=1e-2, weight_decay=wd, **more)
    muon = lambda p, wd: torch.optim.Muon(p, lr=1e-2, weight_decay=wd, adjust_lr_fn="match_rms_adamw")
    kinds = [
        (dict(optim="adamw"), lambda p, wd: torch.optim.AdamW(p, lr=1e-2, weight_decay=wd)),
        (dict(optim="adamw", beta2=0.95), lambda p, wd: torch.optim.AdamW(p, lr=1e-2, betas=(0.9, 0.95), weight_decay=wd)),
        (dict(optim="sgd"), sgd()),
        (dict(optim="sgd", momentum=0.9), sgd(momentum=0.9)),
        (dict(optim="sgd", momentum=0.9, nesterov=True), sgd(momentum=0.9, nesterov=True)),
        (dict(optim="adafactor"), lambda p, wd: Adafactor(p, lr=1e-2, scale_parameter=False, relative_step=False, weight_decay=wd)),
        (dict(optim="lion"), lambda p, wd: Lion(p, lr=1e-2, weight_decay=wd)),
        (dict(optim="muon"), muon), (dict(optim="muon_bf16"), muon),
    ]
    cases = []
    for kind, make in kinds:
        _muon.torch = in_f32() if kind["optim"] == "muon" else torch
        for decay in [0.0, 0.1]:
            shapes = [[2, 5], [6, 3]] if "muon" in kind["optim"] else [[2, 3], [4, 2], [4]]
            sizes = [math.prod(shape) for shape in shapes]
            rng = random.Random(3)
            draw = lambda n, s: short(rng.gauss(0, s) for _ in range(n))
            starts = [draw(n, 0.5) for n in sizes]
            params = [torch.nn.Parameter(torch.tensor(s, dtype=torch.float32).reshape(n)) for s, n in zip(starts, shapes)]
            opt = make(params, decay)
            steps = []
            for step in range(12):
                grads = [draw(n, 10.0 ** (step % 4 - 2)) for n in sizes]
                if step < 2:
                    grads[0] = [0.0] * sizes[0]   # as LoRA's A while B is zero
                lr = 0.0 if step == 0 else 1e-2 / step
                for p, g in zip(params, grads):
                    p.grad = torch.tensor(g, dtype=torch.float32).reshape(p.shape)
                opt.param_groups[0]["lr"] = lr
                norm = torch.nn.utils.clip_grad_norm_(params, 1.0).item()
                opt.step()
                steps.append(dict(lr=lr, grads=grads, norm=norm, params=[short(p.flatten().tolist()) for p in params]))
            cases.append(dict(kind, weight_decay=decay, shapes=shapes, starts=starts, steps=steps))
    _muon.torch = torch
    save("optimisers.json", dict(cases=cases), compact=True, lion_pytorch=importlib.metadata.version("lion-pytorch"))


def averages():
    """Two tensors, twelve updates, averaged with three decays."""
    cases = []
    for decay in [0.9, 0.999, 0.25]:
        rng = random.Random(5)
        draw = lambda n: short(rng.gauss(0, 1) for _ in range(n))
        model = torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(n)) for n in (6, 4)])
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
        steps = []
        for _ in range(12):
            values = [draw(6), draw(4)]
            for p, v in zip(model, values):
                p.data = torch.tensor(v)
            average.update_parameters(model)
            steps.append(dict(values=values, averages=[short(p.tolist()) for p in average.module]))
        cases.append(dict(decay=decay, steps=steps))
    save("averages.json", dict(cases=cases), compact=True)


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
optimisers()
averages()
configs()

"""Every bad config is refused, with its place, what was found and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import checks, options
from engine.config.schema import Config
from tests.support.settings import file_of, holds, problems_of

FILES = [
    # mistaken names
    (
        "train:\n  epoch: 3",
        "c.yaml, line 2: train.epoch: no such option; did you mean train.epochs",
    ),
    ("tran:\n  epochs: 3", "line 1: tran: no such section; did you mean train?"),
    ("epochs: 3", "line 1: epochs: no such option; did you mean train.epochs?"),
    ("\nname: sgd", "line 2: name: no such option; did you mean model.name, optim.name, "),
    ("train.epoch: 3", "did you mean train.epochs?"),
    ("data: {epochs: 3}", "data.epochs: no such option; did you mean train.epochs?"),
    ("wd: 3", "did you mean optim.weight_decay?"),
    ("train: {train.epochs: 3}", "train.train.epochs: no such option; did you mean train.epochs?"),
    ("TRAIN: {epochs: 3}", "TRAIN: no such section"),
    ("zzz: 3", "line 1: zzz: no such option"),
    ("? [a, b]\n: 3", "expected a name before the colon"),
    ("? {a: b}\n: 3", "expected a name before the colon"),
    ("1: 3", "1: no such option"),
    ("<<: {train: {epochs: 3}}", "<<: no such"),
    # duplicates
    ("train:\n  epochs: 3\n  epochs: 4", "line 3: train.epochs: already given on line 2"),
    ("train: {epochs: 3}\ntrain: {seed: 4}", "line 2: train: already given on line 1"),
    ("train: {epochs: 3}\ntrain.epochs: 4", "line 2: train.epochs: already given on line 1"),
    ('train: {epochs: 3}\n"train": {seed: 1}', "line 2: train: already given on line 1"),
    # wrong types
    ("train: {batch_size: 5.9}", "expected a whole number, 2 to 65,536, found 5.9"),
    ("train: {batch_size: 5.0}", "batch_size: expected a whole number, 2 to 65,536, found 5.0"),
    ("train: {batch_size: 1e2}", "expected a whole number"),
    ("train: {batch_size: 010}", "expected a whole number"),
    ("train: {batch_size: 0x10}", "expected a whole number"),
    ("train: {batch_size: 1_0_}", "expected a whole number"),
    ("train: {epochs: 0}", "expected a number, above 0 and at most 100,000, found 0"),
    ("train: {epochs: ten}", "found ten"),
    ("train: {batch_size: true}", "expected a whole number, 2 to 65,536, found true"),
    ("train: {epochs: '5'}", 'found "5"; take the quotes off'),
    ("train: {batch_size: }", "expected a whole number, 2 to 65,536, found nothing"),
    ("train: {batch_size: ''}", 'expected a whole number, 2 to 65,536, found ""'),
    ("train: {batch_size: [5]}", "expected a whole number, 2 to 65,536, found [5]"),
    ("train: {epochs: {a: 5}}", "found a nested mapping"),
    ("train: {epochs: |\n  5\n  }", "c.yaml"),
    ("train:\n  epochs: |\n    5", "take the quotes off"),
    ("train: {batch_size: ٣}", "expected a whole number"),
    ("optim: {lr: fast}", "expected a number, above 0, found fast"),
    ("optim: {lr: yes}", "expected a number, above 0, found yes"),
    ("optim: {lr: '0.1'}", "take the quotes off"),
    ("optim: {lr: 1:30}", "expected a number, above 0, found 1:30"),
    ("schedule: {cycle_momentum: 1}", "expected true or false, found 1"),
    ("schedule: {cycle_momentum: 'true'}", "take the quotes off"),
    ("schedule: {cycle_momentum: maybe}", "expected true or false, found maybe"),
    ("augment: {flip: maybe}", "expected random, alternating or none, found maybe"),
    ("augment: {flip: 1}", "expected random, alternating or none, found 1"),
    ("augment: {flip: 'true'}", "expected random, alternating or none"),
    ("runtime: {compile: atuo}", "expected auto or true or false, found atuo; did you mean auto?"),
    ("data: {train: 5}", "data.train: expected text, found 5; put it in quotes"),
    ("data: {train: true}", "expected text, found true; put it in quotes"),
    ("data: {train: null}", "expected text, found nothing"),
    ("data: {train: [a]}", "expected text, found [a]"),
    ("model: {blocks: 3}", "expected a list of whole numbers, each 1 to 1,000, found 3; write [3]"),
    ("model: {blocks: [3, x]}", "entry 2 is x"),
    ("model: {blocks: [3, [4]]}", "entry 2 is a nested mapping"),
    ("model: {blocks: [3, null]}", "entry 2 is nothing"),
    ("model: {blocks: [3, 4.5]}", "entry 2 is 4.5"),
    ("model: {blocks: ['3']}", 'entry 1 is "3"; take the quotes off'),
    ("augment: {mean: [0.1, 0.2]}", "a list of 3 numbers, each 0 to 1, found [0.1, 0.2]; it has 2"),
    ("augment: {mean: []}", "it has 0"),
    ("augment: {mean: dat}", "expected data or a list of 3 numbers"),
    ("model: {pool: globl}", "expected global or a whole number, 1 to 32, found globl"),
    # out of range, not finite
    ("train: {batch_size: 0}", "expected a whole number, 2 to 65,536, found 0"),
    ("train: {epochs: -3}", "found -3"),
    ("train: {epochs: 100001}", "found 100001"),
    ("train: {seed: 9223372036854775808}", "train.seed: expected"),
    ("checkpoint: {keep: 9223372036854775808}", "at most 9,223,372,036,854,775,807"),
    ("train: {seed: %s}" % ("9" * 6000), "it is out of range"),
    ("optim: {lr: 0}", "expected a number, above 0, found 0"),
    ("optim: {lr: 1e-999}", "expected a number, above 0"),
    ("optim: {lr: .nan}", "found .nan; it must be finite"),
    ("optim: {lr: nan}", "found nan; it must be finite"),
    ("optim: {lr: .inf}", "it must be finite"),
    ("optim: {lr: -Infinity}", "it must be finite"),
    ("optim: {lr: 1e999}", "it must be finite"),
    ("optim: {lr: %s}" % ("9" * 6000), "it must be finite"),
    ("optim: {momentum: 1.0}", "expected a number, at least 0 and below 1, found 1.0"),
    ("augment: {mean: [0.1, 0.2, .nan]}", "entry 3 is .nan; it must be finite"),
    ("augment: {std: [0.1, 0.2, 0]}", "entry 3 is 0"),
    ("model: {blocks: [0]}", "entry 1 is 0"),
    ("optim: {name: sdg}", "expected sgd, adam, adamw or muon, found sdg; did you mean sgd?"),
    ("model: {se: on}", "expected none, stem or block, found on"),
    ('data: {train: "a\\0b"}', "it has a control character"),
    ('data: {train: "a\\ud800b"}', "is not UTF-8"),
    ('run: {name: "a\\nb"}', "it has a control character"),
    # broken or hostile YAML
    ("", "c.yaml: the file is empty"),
    ("# only a comment", "c.yaml: the file is empty"),
    ("---\n...\n", "expected sections such as `data:` at the top"),
    ("- a", "c.yaml, line 1: expected sections such as `data:` at the top"),
    ("just words", "expected sections"),
    ("null", "expected sections"),
    ("train: 5", "line 1: train: expected this section's settings, indented below it"),
    ("train:\noptim: {lr: 3}", "line 1: train: expected this section's settings"),
    ("train: [1, 2]", "train: expected this section's settings"),
    ("train: {epochs: 3", "c.yaml, line 1: not valid YAML"),
    ("train:\n  epochs: 3\n seed: 4", "line 3: not valid YAML"),
    ("train:\n\tepochs: 3", "line 2: not valid YAML: .*indent with spaces, not tabs"),
    ("train: {epochs: 3}\n---\ntrain: {epochs: 4}", "line 2: not valid YAML: a second document"),
    ("train: {epochs: !!int 5}", "1: explicit tags are not allowed, found tag:yaml.org,2002:int"),
    ("run: {name: !!python/object/apply:os.system id}", "explicit tags are not allowed"),
    ("!!map {train: {epochs: 3}}", "explicit tags are not allowed"),
    ("train: {epochs: *missing}", "not valid YAML: found undefined alias"),
    ("a: &a [*a]", "a: no such option"),
    ("train: {epochs: \x07}", "c.yaml, line 1: a character that YAML forbids"),
    ('data: {train: "\\UFFFFFFFF"}', "not valid YAML"),
    ("%YAML 9.9\n---\ntrain: {epochs: 3}", "not valid YAML"),
    ("[" * 5000, "nested too deeply"),
    ("{train: " * 3000, "nested too deeply"),
    ("train: {epochs: @}", "not valid YAML"),
    # settings that contradict each other
    ("optim: {nesterov: true, momentum: 0}", "line 1: optim.nesterov: needs a momentum"),
    ("optim: {nesterov: true, name: adam}", "only sgd and muon have it; optim.name is adam"),
    ("optim: {clip_value: 0.1, clip_norm: 1}", "expected only one of optim.clip_value"),
    ("schedule: {name: onecycle, base_momentum: 0.99}", "schedule.max_momentum, which is 0.95"),
    (
        "schedule: {name: cyclic, base_momentum: 0.91}",
        "at most schedule.max_momentum, which is 0.9",
    ),
    ("schedule: {name: onecycle, base_momentum: 1.0}", "above 0 and below 1, found 1.0"),
    ("schedule: {minimum: 0.2}", "expected at most optim.lr, which is 0.1"),
    ("schedule: {name: cyclic, t_max: 10}", "t_max: only with cosine, onecycle or linear; sch"),
    (
        "schedule: {name: constant, minimum: 0.01}",
        "only with cosine, restarts, cyclic, linear or trapezoid;",
    ),
    ("schedule: {name: restarts, minimum: 0.11}", "expected at most optim.lr, which is 0.1"),
    ("schedule: {name: cosine, gamma: 0.5}", "schedule.gamma: only with step, multistep, exp"),
    ("schedule: {name: cyclic, gamma: 0.85}", "only with exp_range; schedule.cycle is triangular"),
    ("schedule: {base_momentum: 0.5}", "base_momentum: only with onecycle or cyclic; schedule.na"),
    ("schedule: {period: 3}", "schedule.period: only with restarts; schedule.name is cosine"),
    ("schedule: {name: lineal}", "expected cosine, restarts, onecycle, cyclic, step, multistep"),
    ("schedule: {name: step, gamma: 1.5}", "expected a number, above 0 and at most 1, found 1.5"),
    ("schedule: {name: multistep}", "milestones: multistep decays after these epochs; give"),
    ("schedule: {name: multistep, milestones: [6, 9, 8]}", "expected rising epochs, found [6, 9"),
    ("schedule: {name: multistep, milestones: [6, 6]}", "expected rising epochs"),
    ("schedule: {name: onecycle, t_max: 199}", "ends before train.epochs, which is 200: torch"),
    ("optim: {lookahead_k: -1}", "optim.lookahead_k: expected a whole number, at least 0"),
    ("optim: {lookahead_k: 5, lookahead_alpha: 0}", "expected a number, above 0 and at most 1"),
    ("optim: {lookahead_k: 5, lookahead_start: 5}", "expected first or k, found 5"),
    ("optim: {lookahead_alpha: 0.8}", "there is no Lookahead; optim.lookahead_k is 0"),
    ("optim: {lookahead_start: k}", "there is no Lookahead; optim.lookahead_k is 0"),
    ("optim: {lookahead_power: 3}", "there is no Lookahead; optim.lookahead_k is 0"),
    ("optim: {lookahead_buffers: true}", "there is no Lookahead; optim.lookahead_k is 0"),
    ("optim: {lookahead_end: slow}", "there is no Lookahead; optim.lookahead_k is 0"),
    ("optim: {lookahead_k: 5, lookahead_end: slow, ema_decay: 0.9}", "is the moving average"),
    ("optim: {ema_every: 5}", "there is no moving average; optim.ema_decay is 0"),
    ("optim: {ema_start: 0.5}", "there is no moving average; optim.ema_decay is 0"),
    ("optim: {name: adamw, nesterov: true}", "only sgd and muon have it; optim.name is adamw"),
    ("optim: {muon_steps: 5}", "only with muon; optim.name is sgd"),
    ("optim: {muon_normalise: false}", "only with muon; optim.name is sgd"),
    ("optim: {rest_momentum: 0.9}", "only with muon; optim.name is sgd"),
    ("optim: {decay_biases: false, norm_weight_decay: 0.1}", "these are biases (and scales)"),
    ("optim: {decay_biases: false, rest_weight_decay: 0.1}", "optim.decay_biases is false"),
    ("optim: {decay_biases: false, weight_decay: 0}", "nothing decays; optim.weight_decay is 0"),
    ("optim: {norm_lr: 0}", "optim.norm_lr: expected a number, above 0, found 0"),
    ("schedule: {warmup_start: 0.1}", "there is no warm-up; schedule.warmup is 0"),
    ("schedule: {name: onecycle, warmup: 5}", "only with cosine, linear, trapezoid or constant"),
    ("schedule: {warmup: 200}", "expected fewer epochs than train.epochs, which is 200"),
    ("schedule: {warmup: 8, t_max: 8}", "expected fewer epochs than schedule.t_max, which is 8"),
    ("schedule: {decay: 5}", "only with trapezoid; schedule.name is cosine"),
    ("schedule: {name: trapezoid, t_max: 5}", "only with cosine, onecycle or linear; schedule"),
    ("schedule: {name: trapezoid, decay: 150, warmup: 60}", "warm-up (60 epochs) and fall (150)"),
    ("schedule: {name: linear, minimum: 0.2}", "expected at most optim.lr, which is 0.1"),
    ("augment: {sizes: [20, 24], sizes_until: [0.5]}", "one share of the run for each of"),
    ("augment: {cutout_fill: mean}", "nothing is filled; augment.cutout and augment.erasing are"),
    ("augment: {sizes_until: [0.5]}", "for each of augment.sizes (0), found 1"),
    ("augment: {sizes: [20, 24], sizes_until: [0.5, 0.4]}", "expected rising shares of the run"),
    ("augment: {sizes: [3], sizes_until: [0.5]}", "augment.sizes: expected a list of whole"),
    ("train: {freeze_layers: 2}", "nothing is frozen; train.freeze_from is 1, the end of the run"),
    ("train: {freeze_from: 0.5}", "nothing is frozen; train.freeze_layers is 0"),
    ("model: {init: he}", "expected default, xavier_uniform, xavier_normal, he_uniform, he_normal"),
    ("model: {init: he_normal, init_std: 0.5}", "only with normal; model.init is he_normal"),
    ("model: {init: normal, init_gain: 1}", "only with xavier_uniform, xavier_normal or orthog"),
    ("data: {limit: -1}", "data.limit: expected a whole number, at least 0, found -1"),
    ("augment: {normalize: none}", "augment.normalize: expected true or false, found none"),
    ("data: {validation: 1.5}", "expected a fraction below 1 or a whole number of images"),
    ("data: {train: ''}", "data.train: expected a path"),
    ("run: {root: ' '}", "run.root: expected a path"),
    ("run: {name: ../x}", "run.name: expected a folder's name"),
    ("run: {name: a\\b}", "run.name: expected a folder's name"),
    ("run: {name: ..}", "run.name: expected a folder's name"),
    ("run: {name: %s}" % ("é" * 101), "run.name: expected at most 200 bytes"),
    ("runtime: {device: tpu}", "runtime.device: expected auto, cpu, cuda or cuda:N"),
    ("runtime: {device: 'cuda:01'}", "expected auto, cpu, cuda or cuda:N"),
]

ARGUMENTS = [
    ("--train.batch_size 5.9", "--train.batch_size 5.9: expected a whole number"),
    ("--train.batch_size", "--train.batch_size: expected a whole number, 2 to 65,536 after it"),
    ("--train.batch_size --train.seed 3", "--train.batch_size: expected a whole number"),
    ("--train.batch_size=", '--train.batch_size "": expected a whole number'),
    ("--train.batch_size -5", "--train.batch_size -5: expected a whole number, 2 to 65,536"),
    ("--train.batch_size null", "--train.batch_size null: expected a whole number"),
    ("--train.epoch 3", "--train.epoch: no such option; did you mean --train.epochs?"),
    ("--train.epo 3", "--train.epo: no such option; did you mean --train.epochs?"),
    ("--train-epochs 3", "--train-epochs: no such option; did you mean --train.epochs?"),
    ("--epochs 3", "--epochs: no such option; did you mean --train.epochs?"),
    ("--optim.learning_rate 1", "--optim.learning_rate: no such option; did you mean --optim.lr?"),
    ("--config x.yaml", "--config: no such option; did you mean --config-file?"),
    ("--dry", "--dry: no such option; did you mean --dry-run?"),
    ("--no-train.epochs", "--no-train.epochs: no such option; did you mean --train.epochs?"),
    ("--train.epochs 3 --train.epochs 3", "--train.epochs 3: given more than once"),
    ("--dry-run --dry-run", "--dry-run: given more than once"),
    ("--dry-run=yes", "--dry-run: takes no value, found yes"),
    ("--schedule.cycle_momentum maybe", "--schedule.cycle_momentum maybe: expected true or false"),
    ("--schedule.cycle_momentum 1", "--schedule.cycle_momentum 1: expected true or false"),
    ("--model.blocks 4,x,3", "entry 2 is x"),
    ("--model.blocks 4,,3", 'entry 2 is ""'),
    ("--model.blocks [4,5", "entry 1 is [4"),
    ("--augment.mean=", "it has 0"),
    ("--optim.lr nan", "--optim.lr nan: expected a number, above 0; it must be finite"),
    ("configs/x.yaml", "unexpected argument; did you mean --config-file configs/x.yaml?"),
    ("stray", "stray: unexpected argument"),
    ("-x", "-x: unexpected argument"),
    ("--", "--: unexpected argument"),
    ("--config-file", "--config-file: expected the name of a YAML file after it"),
    ("-C", "-C: expected the name of a YAML file after it"),
    ("--config-file=", "--config-file: expected the name of a YAML file after it"),
    ("--config-file no/such.yaml", "no/such.yaml: no such config file; nor the folder no"),
    ("--run.name=a\x1b[31m", "it has a control character"),
    ("--run.name \udcff", "is not UTF-8"),
    ("--optim.nesterov --optim.momentum 0", "--optim.nesterov true: needs a momentum"),
]


@pytest.mark.parametrize(("text", "part"), FILES, ids=lambda text: text[:40])
def test_a_mistake_in_a_file_is_one_clear_line(tmp_path: Path, text: str, part: str) -> None:
    problems = problems_of(["--config-file", str(file_of(tmp_path, text))])
    assert len(problems) == 1
    assert holds(problems, part), problems
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


@pytest.mark.parametrize(("line", "part"), ARGUMENTS, ids=lambda text: ascii(text[:40]))
def test_a_bad_command_line_is_refused_with_the_reason(line: str, part: str) -> None:
    problems = problems_of(line.split(" "))
    assert holds(problems, part), problems


def test_all_problems_are_reported_at_once_and_in_order(tmp_path: Path) -> None:
    first = tmp_path / "a.yaml"
    first.write_text("train:\n  epoch: 3\n  seed: -1\noptim: {lr: fast, nesterov: true}\n")
    second = tmp_path / "b.yaml"
    second.write_text("train: {batch_size: 1}\n")
    flags = ["--optim.momentum=0", "--x", "--data.train=5", "--runtime.device=tpu"]
    problems = problems_of([f"--config-file={first}", "-C", str(second), *flags])
    places = [line.partition(": ")[0] for line in problems]
    assert places == [
        f"{first}, line 2",
        f"{first}, line 3",
        f"{first}, line 4",
        f"{second}, line 1",
        "--x",
        f"{first}, line 4",  # nesterov without momentum, from a file and a flag
        "--runtime.device tpu",
    ]


def test_a_check_is_skipped_where_a_setting_it_reads_is_wrong(tmp_path: Path) -> None:
    text = "schedule: {name: onecycle, base_momentum: x, max_momentum: 0.5}\nruntime: {device: tpu}"
    problems = problems_of([f"--config-file={file_of(tmp_path, text)}"])
    assert len(problems) == 2  # not: 0.85, the default, is above 0.5
    assert "base_momentum: expected a number" in problems[0]
    assert "runtime.device" in problems[1]


def test_a_onecycle_is_refused_exactly_where_torchs_would_raise(tmp_path: Path) -> None:
    def text(per: str, epochs: int) -> str:
        return f"schedule: {{name: onecycle, per: {per}, t_max: 100}}\ntrain: {{epochs: {epochs}}}"

    for per, allowed in (("epoch", 101), ("step", 100), ("auto", 100)):
        path = file_of(tmp_path, text(per, allowed))
        argv = [f"--config-file={path}"]
        config = options.read(Config, argv, program="", summary="", checks=checks.TRAINING).config
        assert config.train.epochs == allowed
        (problem,) = problems_of([f"--config-file={file_of(tmp_path, text(per, allowed + 1))}"])
        assert "line 1: schedule.t_max: a OneCycle of 100 epochs ends before" in problem


def test_a_bad_value_is_reported_even_if_a_later_one_wins(tmp_path: Path) -> None:
    path = file_of(tmp_path, "train: {batch_size: 5.9}")
    assert len(problems_of([f"--config-file={path}", "--train.batch_size=5"])) == 1

"""Configuration: what loads, what is refused and in which words, and what a resumed run may change."""

import json
import re

import pytest
from pydantic import ValidationError

from distgan.config.help import help_text
from distgan.config.keys import flatten, walk
from distgan.config.load import load_config, resume_changes, to_yaml, validate
from distgan.config.messages import first_mistake
from distgan.config.method import Adam, AdamW, Rmsprop
from distgan.config.recipes import RECIPES
from distgan.config.schema import BestConfig, Config, EvaluateConfig, WatchdogConfig
from distgan.utils.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    def _write(text):
        path = tmp_path / "recipe.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return _write


def _refusal(path, *overrides):
    """The sentences of a refusal, each without the place where it stands."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return [line.removeprefix(f"{path}: ").removeprefix("override: ") for line in str(caught.value).splitlines()]


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_loads_by_name_and_by_path(recipe):
    assert load_config(recipe.stem) == load_config(recipe) == load_config(recipe.name)


def test_an_empty_file_is_the_default_configuration(write):
    assert load_config(write("")) == load_config(write("# nothing\n")) == Config()


def test_a_configuration_cannot_be_changed(write):
    config = load_config(write(""))
    with pytest.raises(ValidationError, match="frozen"):
        config.train.batch_size = 2
    with pytest.raises(ValidationError, match="frozen"):
        config.train = config.train


@pytest.mark.parametrize("word", ["no", "No", "yes", "on", "off", "y", "2026-01-01", "1:30x"])
def test_words_that_yaml_1_1_converts_stay_words(write, word):
    assert load_config(write(f"wandb: {{project: {word}}}")).wandb.project == word
    assert load_config(write(""), [f"wandb.project={word}"]).wandb.project == word


def test_precision_no_is_a_word(write):
    assert load_config(write("train:\n  precision: no\n")).train.precision == "no"


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "0.0001", "1E-4"])
def test_exponents_without_a_point_are_numbers(write, text):
    assert load_config(write(f"optimizer: {{generator: {{lr: {text}}}}}")).optimizer.generator.lr == 1e-4
    assert load_config(write(""), [f"optimizer.generator.lr={text}"]).optimizer.generator.lr == 1e-4


TEXTS = ["0123", "1_5", "1e6", "2026-01-01", "12", "true", "1.50", "0x1F", "1:30"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_key_that_takes_text_keeps_it_as_it_is_written(write, text):
    assert load_config(write(""), [f"wandb.project={text}"]).wandb.project == text
    assert load_config(write(f"wandb:\n  project: {text}\n")).wandb.project == text
    assert load_config(write(f"wandb:\n  tags:\n  - {text}\n")).wandb.tags == (text,)
    assert load_config(write(""), [f"wandb.tags=[{text}]"]).wandb.tags == (text,)


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("data.path=/tmp/my images #2", "/tmp/my images #2"),
        ("data.path='/tmp/my images #2'", "/tmp/my images #2"),
        ('data.path="/tmp/it\'s"', "/tmp/it's"),
        ("data.path=/tmp/it's", "/tmp/it's"),
        ("data.path=[1] {a} *b &c !d: e", "[1] {a} *b &c !d: e"),
        ("data.path=007", "007"),
        ("data={path: '/tmp/a #b'}", "/tmp/a #b"),
    ],
)
def test_a_path_is_taken_as_it_is_written_and_quotes_are_optional(write, override, path):
    assert str(load_config(write(""), [override]).data.path) == path


@pytest.mark.parametrize(
    ("text", "number"),
    [("0123", 123), ("016", 16), ("1e6", 10**6), ("1_000_000", 10**6), ("1.5e3", 1500), ("+7", 7), ("1e22", 10**22)],
)
def test_numbers_are_decimal_and_whole_ones_may_have_an_exponent(write, text, number):
    assert load_config(write(""), [f"run.seed={text}"]).run.seed == number
    assert load_config(write(f"run: {{seed: {text}}}")).run.seed == number


def test_a_list_of_numbers_may_be_one_number_and_follows_the_same_rules(write):
    recipe = ["generator={family: r3gan}", "discriminator={family: r3gan}"]
    for text, widths in (("64", (64,)), ("016,1e2", (16, 100)), ("[016, 1_0]", (16, 10))):
        config = load_config(write(""), [*recipe, f"generator.widths={text}", "generator.group_width=1"])
        assert config.generator.widths == widths


@pytest.mark.parametrize(
    ("text", "names"),
    [("7", ("7",)), ("01,1e3", ("01", "1e3")), ('"a,b",c', ("a,b", "c")), ('["a,b", 07]', ("a,b", "07"))],
)
def test_names_of_classes_are_never_numbers_and_may_hold_a_comma_in_quotes(write, text, names):
    assert load_config(write(""), [f"data.classes={text}"]).data.classes == names
    assert load_config(write(to_yaml(load_config(write(""), [f"data.classes={text}"])))).data.classes == names


def test_the_home_directory_is_expanded_in_overrides_and_files(write, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    keys = ("run.dir", "data.path", "data.cache", "evaluate.weights", "evaluate.reference")
    given = load_config(write(""), [f"{key}=~/x" for key in keys])
    read = load_config(
        write("run: {dir: ~/x}\ndata: {path: ~/x, cache: ~/x}\nevaluate: {weights: ~/x, reference: ~/x}")
    )
    for config in (given, read):
        paths = (config.run.dir, config.data.path, config.data.cache, config.evaluate.weights)
        assert {*paths, config.evaluate.reference} == {tmp_path / "x"}
    assert load_config("~/recipe.yaml").run.dir == tmp_path / "x"
    literal = load_config(write(""), ["run.dir=./~"])
    assert load_config(write(to_yaml(literal))).run.dir == literal.run.dir == tmp_path / "~"


def test_an_override_of_the_path_alone_turns_the_recipe_s_preparation_off(write):
    recipe = write("data: {path: data/shapes, prepare: shapes}")
    assert load_config(recipe).data.prepare == "shapes"
    assert load_config(recipe, ["run.seed=1"]).data.prepare == "shapes"
    for path in ("data.path=x", "data={path: x}", "data.path=https://host/x"):
        assert load_config(recipe, [path]).data.prepare is None
        if "://" not in path:
            assert load_config(recipe, [path, "data.prepare=shapes"]).data.prepare == "shapes"
            assert load_config(recipe, ["data.prepare=cifar10", path.replace("data={", "data={prepare: cifar10, ")])


def test_overrides_win_over_the_file_and_later_ones_over_earlier(write):
    path = write("train: {batch_size: 8, images: 100}")
    config = load_config(path, ["train.batch_size=16", "train.batch_size=32", "data.classes=circle, star"])
    assert (config.train.batch_size, config.train.images) == (32, 100)
    assert config.data.classes == ("circle", "star")


def test_an_override_reaches_into_a_section_that_the_file_leaves_empty(write):
    assert load_config(write("train:\n"), ["train.batch_size=7"]).train.batch_size == 7


def test_trailing_commas_name_no_class_or_tag(write):
    config = load_config(write(""), ["data.classes=star,", "wandb.tags="])
    assert config.data.classes == ("star",)
    assert config.wandb.tags == ()


def test_derived_numbers_count_real_images_and_round_up(write):
    config = load_config(write("train: {images: 1001, batch_size: 10, d_steps: 5}"))
    assert (config.images_per_step, config.total_steps) == (50, 21)
    assert str(config.run_dir) == "runs/quickstart"


def test_each_player_keeps_its_own_defaults_when_one_of_its_values_is_set(write):
    optimizer = load_config(
        write(""), ["optimizer.discriminator.clip_value=1", "optimizer.generator.rho=0.5"]
    ).optimizer
    assert optimizer.discriminator == Rmsprop(lr=8e-4, clip_value=1)
    assert optimizer.generator == Rmsprop(lr=4e-4, rho=0.5)
    named = load_config(write(""), ["optimizer.discriminator.name=rmsprop"]).optimizer
    assert named.discriminator == Rmsprop(lr=8e-4)


def test_the_name_chooses_the_update_rule(write):
    optimizer = load_config(
        write("optimizer: {generator: {name: adam}, discriminator: {name: adamw, lr: 1}}")
    ).optimizer
    assert optimizer.generator == Adam()
    assert optimizer.discriminator == AdamW(lr=1)


REFUSALS = [
    # override, key, rule, what works
    ("train.batchsize=3", "unknown key train.batchsize", "", "nearest: train.batch_size"),
    ("train.batch-size=3", "unknown key train.batch-size", "", "nearest: train.batch_size"),
    ("batch_size=3", "unknown key batch_size", "", "nearest: train.batch_size"),
    ("discriminator.lr=3", "unknown key discriminator.lr", "", "nearest: optimizer.discriminator.lr"),
    ("optimiser.generator.lr=3", "unknown key optimiser", "", "nearest: optimizer"),
    ("qqq=3", "unknown key qqq", "", "`distgan train --help` lists all keys"),
    ("generator={1: 2}", "unknown key generator.1", "", ""),
    ("train.batch_size=0", "train.batch_size=0", "must be greater than 0", "nearest valid: 1"),
    ("train.bucket_mb=0", "train.bucket_mb=0", "must be auto, or greater than 0", "use more than 0"),
    ("data.workers=-1", "data.workers=-1", "must be auto, or greater than or equal to 0", "nearest valid: 0"),
    ("data.workers=many", "data.workers=many", "must be auto, or a valid integer", ""),
    ("train.batch_size=abc", "train.batch_size=abc", "must be a valid integer", ""),
    ("train.batch_size=1.5", "train.batch_size=1.5", "must be a valid integer", ""),
    ("train.batch_size=", "train.batch_size=", "must be a valid integer", ""),
    ("train.batch_size=null", "train.batch_size=null", "must be a valid integer", ""),
    ("train.batch_size.x=3", "train.batch_size=", "must be a valid integer", ""),
    ("run.seed=-1", "run.seed=-1", "must be greater than or equal to 0", "nearest valid: 0"),
    ("loss.label_noise=0.6", "loss.label_noise=0.6", "must be less than or equal to 0.5", "nearest valid: 0.5"),
    ("discriminator.dropout=1", "discriminator.dropout=1", "must be less than 1", "use less than 1"),
    ("ema.half_life_images=0", "ema.half_life_images=0", "must be greater than 0", "use more than 0"),
    ("ema.half_life_images=.inf", "ema.half_life_images=.inf", "must be a valid number", ""),
    ("ema.half_life_images=inf", "ema.half_life_images=inf", "must be a finite number", ""),
    ("data.shuffle=maybe", "data.shuffle=maybe", "must be true or false", ""),
    ("data.mode=streem", "data.mode=streem", "must be one of auto, stream, resident", "nearest: stream"),
    ("train.precision=fp8", "train.precision=fp8", "must be one of auto, no, fp16, bf16", "nearest: fp16"),
    ("loss.real_label=2", "loss.real_label=2", "must be one of 0, 1", ""),
    ("data.prepare=cifar", "data.prepare=cifar", "must be one of shapes, cifar10", "nearest: cifar10"),
    ("data.classes=", "data.classes=", "must have at least 1 item", ""),
    ("run.name=a/b", "run.name: 'a/b'", "must be letters, digits", "nearest: a_b"),
    ("train.images=3.000", "train.images=3.000", "may mean 3, or thousands", "write 3, or 3_000"),
    ("run.dir=null", "run.dir=null", "must be text", "write it in quotes: \"'null'\""),
    ("data.path=null", "data.path=null", "must be text", "write it in quotes: \"'null'\""),
    ("run={dir: null}", "run.dir=null", "must be text", "write it in quotes"),
    ("data.path=", "data.path: it is empty", "", "such as . for the working directory"),
    ("run.dir= ", "run.dir: it is empty", "", "such as . for the working directory"),
    ("data.cache=''", "data.cache: it is empty", "", "such as . for the working directory"),
    ("evaluate.reference=", "evaluate.reference: it is empty", "", "such as . for the working directory"),
    ("run.dir=~nobody_here/runs", "run.dir: ~nobody_here is nobody's home directory", "", "or ./~nobody_here for that"),
    ("train.batch_size=0x10", "train.batch_size=0x10", "must be a valid integer", ""),
    ("train.batch_size=1:30", "train.batch_size=1:30", "must be a valid integer", ""),
    ("train.batch_size=64 # images", "train.batch_size=64 # images", "must be a valid integer", ""),
    ("train.batch_size=true", "train.batch_size=true", "must be a valid integer", ""),
    ("train.batch_size=1e-3", "train.batch_size=0.001", "must be a valid integer", ""),
    (f"run.seed={'9' * 101}", "run.seed=9", "a number of more than 100 digits", ""),
    ("train=5", "train=5", "train is a section", "such as train.images"),
    ("train=null", "train=null", "train is a section", "such as train.images"),
    ("ema=3", "ema=3", "ema is a section", "such as ema.half_life_images"),
    ("optimizer.generator=adam", "optimizer.generator=adam", "is a section", "such as optimizer.generator.lr"),
    (
        "optimizer.generator.name=adamm",
        "optimizer.generator.name=adamm",
        "one of rmsprop, adam, adamw",
        "nearest: adam",
    ),
    ("optimizer.generator.name=null", "optimizer.generator.name=null", "one of rmsprop, adam, adamw", ""),
    ("optimizer.generator.lr=0", "optimizer.generator.lr=0", "must be greater than 0", "use more than 0"),
    ("optimizer.generator.betaa=0", "unknown key optimizer.generator.betaa", "", "nearest: optimizer.generator.beta"),
    (
        "optimizer.generator.beta1=0",
        "optimizer.generator.beta1",
        "does not go with",
        "optimizer.generator.name=rmsprop",
    ),
    (
        "generator.conditional=true",
        "generator.conditional=true",
        "discriminator.conditional=false",
        "set both the same",
    ),
    ("balance.accuracy_low=0.96", "balance: accuracy_low=0.96", "must be below", "accuracy_high=0.95"),
    ("train={share_fakes: true, d_steps: 2}", "train: share_fakes=true", "needs accumulation=1 and d_steps=1", ""),
]


@pytest.mark.parametrize(("override", "key", "rule", "works"), REFUSALS, ids=[case[0] for case in REFUSALS])
def test_a_mistake_is_one_line_with_the_key_the_rule_and_what_works(write, override, key, rule, works):
    (line,) = _refusal(write(""), override)
    assert line.startswith(key)
    assert rule in line
    assert works in line


def test_outward_noise_on_logits_is_refused_and_on_clipped_probabilities_taken(write):
    path = write("loss: {noise_direction: outward, label_noise: 0.05}")
    (line,) = _refusal(path)
    assert line.startswith("loss: noise_direction=outward with cross_entropy=logits has no lower bound")
    assert line.endswith("use noise_direction=inward, or cross_entropy=keras_clipped")
    assert load_config(path, ["loss.cross_entropy=keras_clipped"]).loss.label_noise == 0.05
    assert load_config(path, ["loss.label_noise=0"]).loss.noise_direction == "outward"


def test_keys_of_one_update_rule_do_not_go_with_another(write):
    lines = _refusal(write("optimizer: {generator: {name: adam, rho: 0.9}, discriminator: {weight_decay: 1}}"))
    assert lines == [
        "optimizer.generator.rho does not go with optimizer.generator.name=adam; leave it out, or set the whole "
        "section: 'optimizer.generator={name: adam}'",
        "optimizer.discriminator.weight_decay does not go with optimizer.discriminator.name=rmsprop; leave it out, or "
        "set the whole section: 'optimizer.discriminator={name: rmsprop}'",
    ]


def test_every_mistake_gets_a_line_that_names_the_file(write):
    path = write("train: {batch_size: -1, images: x}\nfoo: 1\ndata: {mode: ram}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert all(line.startswith(f"{path}: ") for line in lines)
    for key in ("train.batch_size=-1", "train.images=x", "unknown key foo", "data.mode=ram"):
        assert sum(key in line for line in lines) == 1


@pytest.mark.parametrize(
    ("override", "example"),
    [
        ("--train.batch-size=64", "train.batch_size=64"),
        ("--train.batch-size", "train.batch_size=VALUE"),
        ("train.batch_size", "train.batch_size=VALUE"),
        ("=3", "train.batch_size=3"),
        (".train=3", "train=3"),
        ("train..batch_size=3", "key=value"),
    ],
)
def test_an_override_in_another_form_is_refused_with_the_right_form(write, override, example):
    (line,) = _refusal(write(""), override)
    assert line.startswith(f"'{override}' is not an override; write key=value")
    assert example in line


def test_an_override_of_a_key_below_a_value_is_refused(write):
    (line,) = _refusal(write("train: {batch_size: 3}"), "train.batch_size.big=4")
    assert line.startswith("train.batch_size.big=4: batch_size is a value, not a section")


@pytest.mark.parametrize("text", ["[", "{", "{a: *x}", "[!!python/object:os.system x]", "{a: 1} # b", "{path: /a #b}"])
def test_an_override_with_a_broken_value_is_one_line(write, text):
    (line,) = _refusal(write(""), f"data={text}")
    assert line.startswith(f"data={text} is not valid YAML: ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: {batch_size: 1, batch_size: 2}", "key 'batch_size' appears twice"),
        ("train: {images: 1}\ndata: {}\ntrain: {images: 2}", "key 'train' appears twice"),
        ("- train\n- data\n", "must hold sections such as `train:`, not a list"),
        ("train", "must hold sections such as `train:`, not text"),
        ("7", "must hold sections such as `train:`, not a single value"),
        ("train: [", "is not valid YAML"),
        ("train:\n\tbatch_size: 3", "is not valid YAML"),
        ("? [a, b]\n: c", "is not valid YAML"),
        ("train: !!python/object/apply:os.getcwd []", "is not valid YAML"),
        (b"\x89PNG\r\n\x1a\n", "is not a text file: byte 0 is not UTF-8"),
        (b"PK\x03\x04\x00\x00", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_in_one_line(write, text, words):
    path = write(text)
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_unreadable_file_is_refused_with_the_reason(write, monkeypatch):
    path = write("")

    def refuse(*_arguments, **_options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("distgan.config.recipes.read_bytes", refuse)
    with pytest.raises(ConfigError, match=r"recipe\.yaml cannot be read: Permission denied$"):
        load_config(path)


@pytest.mark.parametrize("name", ["nothing", "nothing.yaml", "./quickstart.yml", "configs", "sub/quickstart"])
def test_a_missing_file_is_refused_with_the_recipes_that_exist(name):
    hint = "(nearest: quickstart; )?recipes .*quickstart"
    with pytest.raises(ConfigError, match=rf"^no configuration file {re.escape(name)}; {hint}"):
        load_config(name)


def test_the_written_configuration_reads_back_the_same(write):
    changed = {
        "run": {"name": "no", "dir": "a b/c", "seed": 2**70},
        "data": {"classes": "1e-4,null,yes", "shuffle": False, "prepare": "shapes"},
        "optimizer": {"generator": {"name": "adamw", "lr": 1e-7}, "discriminator": {"clip_value": 1}},
        "loss": {"real_label": 0, "label_noise": 0.05},
        "ema": {"rampup_ratio": None},
        "wandb": {"project": "2026-01-01: é # 'x'", "tags": ["true", "7"]},
        "train": {"precision": "no"},
    }
    for config in (Config(), validate(changed, "test")):
        assert load_config(write(to_yaml(config))) == config
        assert validate(json.loads(config.model_dump_json()), "test") == config


def test_help_lists_every_leaf_once_with_rule_default_and_meaning():
    lines = help_text().splitlines()
    heads, meanings = lines[::2], lines[1::2]
    keys = []
    for head, meaning in zip(heads, meanings, strict=True):
        parts = re.fullmatch(r"  (\S+)  <(.+)>  \[(.*)\]", head)
        assert parts, head
        keys.append(parts[1])
        assert re.fullmatch(r" {6}\S.*\.", meaning), head
    leaves = {key for key, _ in walk(Config)}
    assert len(keys) == len(set(keys))
    assert set(keys) == leaves
    assert set(flatten(Config().model_dump())) <= leaves


def test_help_shows_the_defaults_that_an_empty_file_gives():
    shown = {
        line.split()[0]: line[line.rindex("  [") + 3 : -1].split(" | ")[0] for line in help_text().splitlines()[::2]
    }
    for key, value in flatten(Config().model_dump()).items():
        expected = {None: "null", True: "true", False: "false"}.get(value) if value in (None, True, False) else None
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            assert float(shown[key]) == value
        elif not isinstance(value, tuple):
            assert shown[key] == (expected or str(value))
    assert shown["optimizer.generator.lr"] == "0.0004"
    assert shown["optimizer.discriminator.lr"] == "0.0008"
    assert shown["optimizer.generator.beta1"] == "0.5"


FREE_KEYS = {
    *("run.name", "run.dir", "data.path", "data.prepare", "data.mode", "data.resident_limit_mb", "data.resident_on"),
    *("data.cache", "data.tries", "data.stall_seconds", "data.on_error", "data.max_skipped"),
    *("data.workers", "train.images", "train.compile", "train.graphs", "train.bucket_mb"),
    *("train.cpu_threads", "train.timeout_minutes"),
    *("log.every_steps", "log.samples_every_steps", "log.samples", "log.to"),
    *("wandb.mode", "wandb.project", "wandb.entity", "wandb.tags", "wandb.group", "wandb.job_type", "wandb.notes"),
    *("checkpoint.every_steps", "checkpoint.keep_last", "checkpoint.keep_every_steps"),
    *("checkpoint.max_failures", "checkpoint.retry_minutes", "guard.every_steps", "train.seconds"),
    *(f"evaluate.{field}" for field in EvaluateConfig.model_fields),
    *(f"best.{field}" for field in BestConfig.model_fields),
    *(f"watchdog.{field}" for field in WatchdogConfig.model_fields),
}  # fmt: skip


def test_a_resumed_run_may_change_the_free_keys_and_no_others():
    config = Config()
    for key in flatten(config.model_dump(mode="json")):
        saved = config.model_dump(mode="json")
        *sections, leaf = key.split(".")
        section = saved
        for name in sections:
            section = section[name]
        old = ["before"] if key in ("data.classes", "wandb.tags") else "before"
        new, section[leaf] = section[leaf], old
        harmless, refused = resume_changes(saved, config)
        change = [f"{key}: {old} -> {new}"]
        assert (harmless, refused) == ((change, []) if key in FREE_KEYS else ([], change))


def test_a_configuration_that_went_through_json_or_yaml_has_no_changes(write):
    config = validate({"wandb": {"tags": "a,b"}, "data": {"classes": "x"}, "ema": {"half_life_images": 5}}, "test")
    assert resume_changes(json.loads(config.model_dump_json()), config) == ([], [])
    assert resume_changes(load_config(write(to_yaml(config))).model_dump(mode="json"), config) == ([], [])


def test_a_key_that_came_after_a_checkpoint_was_made_has_its_default_there():
    saved = Config().model_dump(mode="json")
    del saved["loss"]["r1_gamma"]
    del saved["optimizer"]["discriminator"]["eps"]
    assert resume_changes(saved, Config()) == ([], [])
    changed = validate({"loss": {"r1_gamma": 1}}, "test")
    assert resume_changes(saved, changed) == ([], ["loss.r1_gamma: 0.0 -> 1.0"])


def test_keys_that_only_one_side_has_are_changes():
    config = Config()
    saved = config.model_dump(mode="json")
    del saved["loss"]["real_label"]
    saved["loss"]["margin"] = 3
    assert resume_changes(saved, config) == (
        [],
        ["loss.real_label: not there -> 1", "loss.margin: 3 -> not there"],
    )


def test_another_update_rule_is_a_refused_change():
    saved = Config().model_dump(mode="json")
    config = validate({"optimizer": {"generator": {"name": "adam"}}}, "test")
    harmless, refused = resume_changes(saved, config)
    assert harmless == []
    assert "optimizer.generator.name: rmsprop -> adam" in refused
    assert "optimizer.generator.beta1: not there -> 0.5" in refused


def test_help_shows_every_default_or_that_a_value_is_required():
    text = help_text()
    assert "Undefined" not in text
    assert "optimizer.generator.lr.start  <float >= 0>  [required]" in text
    assert "generator.latent_dim  <int > 0>  [32 | 128 | 64]" in text
    assert "generator.widths  <number,number" in text


def test_widths_are_written_with_commas_on_the_command_line():
    config = load_config("r3gan", ["generator.widths=64,64,32,32"])
    assert config.generator.widths == (64, 64, 32, 32)


def test_a_schedule_s_key_where_there_is_a_number_is_answered_with_the_whole_schedule():
    with pytest.raises(ConfigError) as error:
        load_config("quickstart", ["loss.r1_gamma.start=2"])
    assert str(error.value).endswith("set all of it: 'loss.r1_gamma={start: 1e-3, end: 1e-4, images: 100_000}'")


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("best.metric=fid", "best.metric=fid needs evaluations, and there are none"),
        ("loss={name: wasserstein}", "set loss.gradient_penalty=10"),
    ],
)
def test_settings_that_would_do_nothing_or_harm_are_refused(override, text):
    with pytest.raises(ConfigError, match=re.escape(text)):
        load_config("quickstart", [override])


@pytest.mark.parametrize(
    ("section", "values", "text"),
    [
        ("", {"patience": 0}, "patience: Input should be greater than 0"),
        ("best", {"patience": 0}, "best.patience: Input should be greater than 0"),
        ("best", [], "best: Input should be a valid dictionary or instance of BestConfig"),
        ("", [], "Input should be a valid dictionary or instance of BestConfig"),
        ("", {"x\x1b": 1}, r"x\x1b: Extra inputs are not permitted"),
    ],
)
def test_the_first_mistake_of_any_model_is_a_sentence(section, values, text):
    with pytest.raises(ValidationError) as caught:
        BestConfig.model_validate(values)
    assert str(first_mistake(caught.value, section)) == text


def test_the_first_mistake_has_the_key_the_value_and_the_rule_in_our_own_words():
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"loss": {"noise_direction": "outward", "label_noise": 0.5}})
    key, value, rule = first_mistake(caught.value)
    assert (key, value["label_noise"]) == ("loss.bce", 0.5)
    assert rule.startswith("noise_direction=outward with cross_entropy=logits")


@pytest.mark.parametrize(
    ("text", "width"), [("64", 64), ("64,32,16", (64, 32, 16)), ("[64, 32]", (64, 32)), ("[64]", (64,))]
)
def test_sngan_s_width_is_a_number_or_one_for_each_size(text, width):
    config = load_config("sngan", [f"generator.width={text}"])
    assert config.generator.width == width
    assert load_config("sngan", [f"generator.width={config.model_dump(mode='json')['generator']['width']}"]) == config


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0", "generator.width=0 must be greater than 0; nearest valid: 1"),
        ("64,0", "generator.width.1=0 must be greater than 0; nearest valid: 1"),
        ("x", "generator.width=x must be a valid integer"),
        ("[]", "generator.width=[] must have at least 1 item, not 0"),
    ],
)
def test_a_width_that_is_none_is_refused_in_one_sentence(text, sentence):
    with pytest.raises(ConfigError) as caught:
        load_config("sngan", [f"generator.width={text}"])
    assert str(caught.value) == f"override: {sentence}"


def test_a_dotted_key_of_a_mapping_replaces_one_key_as_its_text_does_and_a_section_what_it_chooses():
    as_text = load_config("quickstart", ["loss.name=hinge", "optimizer.generator.name=adamw"])
    assert load_config("quickstart", {"loss.name": "hinge", "optimizer.generator.name": "adamw"}) == as_text
    assert as_text.loss.r1_gamma == 1.0
    assert load_config("quickstart", {"loss": {"name": "hinge"}}).loss.r1_gamma == 0.0


def test_an_option_that_does_not_exist_gets_the_key_that_is_meant():
    with pytest.raises(ConfigError, match="as in train.images=3000"):
        load_config("quickstart", ["--images=3000"])

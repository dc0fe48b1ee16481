"""Read a study's ``study.json`` and list and select its runs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Required

from pydantic import AfterValidator, ConfigDict, Field, PrivateAttr, model_validator
from typing_extensions import TypedDict  # that of typing from Python 3.12 on only

from benchmark.base import project
from benchmark.base.declared import FileName, Name, Names, Numbers, Record, distinct, read, without_comments
from benchmark.base.declared import check as checked
from benchmark.base.files import complete_files
from benchmark.base.records import InputError, OtherTest, Run, model_name
from benchmark.data.folds import partition
from benchmark.data.manifest import Manifest, manifest_of
from benchmark.studies import bundle, trust, tune

SELECTORS = ("bundle", "variant", "fold", "seed")
Pair = tuple[str, str]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Split = Literal["patient", "slice", "published"]
VARIANTS = {"tuned": "tuned", "native": "native"}
"""Variants of models that name only their track; others are `default`."""


class Model(Record):
    """A model of a study: a bundle, perhaps with some ids changed, or what joins other models."""

    bundle: FileName = Field(description="Folder of `bundles/`; of an `ensemble` a name of its own.")
    track: Literal["identical", "tuned", "native"] = Field(
        default="identical",
        description="`identical`: the protocol that all models share. `tuned`: the same but for the value that `tune` "
        "chose for this model. `native`: the bundle's own recipe where it has one.",
    )
    variant: FileName = Field(
        default_factory=lambda entries: VARIANTS.get(entries.get("track", ""), "default"),
        description="Name of what `set` changes; two models differ in bundle or variant. In tables a model is called "
        "`bundle`, or `bundle/variant` where that is not `default`.",
    )
    split: Split | None = Field(
        default=None, description="Another split than the study's. Its scores stand apart and are not compared."
    )
    folds: Numbers | None = Field(default=None, description="Its folds, where another split has another number.")
    set: dict[str, Any] = Field(
        default_factory=dict, description="Ids of the bundle's configs with other values, for this model alone."
    )
    stages: Pair | tuple[()] = Field(
        default=(),
        description="Names of a classifier and a segmenter of the study: the model is the segmenter's label maps in "
        "the slices that the classifier of the same fold and seed lets through, and is trained nowhere.",
    )
    ensemble: tuple[Name, ...] = Field(
        default=(),
        description="Names of two or more models of the study: the model is what these, of the same fold and seed, "
        "predict together, and is trained nowhere.",
    )
    by: Literal["mean", "majority", "staple"] = Field(
        default="mean",
        description="How an `ensemble` is joined: by the `mean` of the probabilities that runs keep, or, region by "
        "region, label maps by the `majority` (a tie is no tumour) or by `staple` (ITK's, over the whole volume). "
        "Other tests (`test_on`) keep no probabilities, so that an ensemble by the mean has none.",
    )
    assumes: tuple[Name, ...] = Field(default=(), description="What it does that a paper leaves open.")

    @property
    def joins(self) -> tuple[str, ...]:
        """Names of the models that it joins; none where it is trained itself."""
        return self.stages or self.ensemble

    @property
    def joining(self) -> str:
        """What it joins, and how, in words; empty where it is trained itself."""
        how = {"mean": "the mean of their probabilities", "majority": "majority", "staple": "STAPLE"}[self.by]
        names = ", ".join(self.joins[:-1]) + f" and {self.joins[-1]}" if self.joins else ""
        return f"joins {names}{f' by {how}' * bool(self.ensemble)}" if names else ""

    @property
    def name(self) -> str:
        """Name in every table."""
        return model_name(self.bundle, self.variant)

    @property
    def settings(self) -> dict[str, Any]:
        """What it changes, a split of its own among it."""
        return {**({"split": self.split} if self.split else {}), **self.set}


class Primary(TypedDict, total=False):
    """The family of comparisons that a study is about; without an entry it has all that `compare` declares of it."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]
    metrics: Annotated[Names, Field(description="Some of the declared metrics; by default the first.")]
    pairs: Annotated[tuple[Pair, ...], Field(min_length=1, description="Some of the declared pairs.")]
    regions: Annotated[Names, Field(description="Some of the data set's regions.")]


class Compare(TypedDict, total=False):
    """What is compared, and how, declared before scores are seen. Holm's correction is over all of it."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]
    metrics: Required[
        Annotated[Names, Field(description="Metrics to compare by, the primary one first (docs/scores_and_tests.md).")]
    ]
    pairs: Annotated[
        Literal["all"] | Annotated[tuple[Pair, ...], Field(min_length=1)],
        Field(description="Pairs of models' names, or `all`, which is the default. Fewer pairs leave more power."),
    ]
    test: Annotated[
        Literal["wilcoxon", "paired_t", "permutation", "two_level"],
        Field(
            description="By default `two_level`, of methods, with several seeds, and `wilcoxon`, of these trained "
            "networks only, with one."
        ),
    ]
    margin: Annotated[
        Positive | dict[str, Positive],
        Field(
            description="Largest difference that does not matter, one number or one per metric: without it no pair can "
            "be called equivalent or no worse."
        ),
    ]
    alpha: Annotated[float, Field(gt=0, lt=1, description="Level of the corrected tests; 0.05 if it is not said.")]
    primary: Annotated[
        Primary,
        Field(
            description="The comparisons that the study is about. All others are tested only where all of these showed "
            "a difference."
        ),
    ]


class Check(TypedDict, total=False):
    """When `benchmark check` calls a model worse than the accepted baseline."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]
    metrics: Required[Annotated[Names, Field(description="Metrics to look at.")]]
    margin: Required[
        Annotated[
            NotNegative | dict[str, NotNegative],
            Field(description="Loss that is accepted, one number or one per metric."),
        ]
    ]


class Tune(Record):
    """What is chosen for each model of the track `tuned`, on validation patients alone and under one budget for all."""

    id: Name = Field(default="learning_rate", description="Id of the configs whose value is chosen.")
    values: Annotated[tuple[Positive, ...], Field(min_length=2), AfterValidator(distinct)] = Field(
        description="The values that each model is trained with, the same for all."
    )
    fold: int = Field(ge=0, description="The fold whose training patients they are trained on.")
    seed: int = Field(ge=0, lt=2**32, description="The seed of these trainings, and of the partition of their fold.")


class TestOn(TypedDict, total=False):
    """What trained networks are tested on besides their own test cases; nothing of it is compared."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]
    sets: Annotated[Names, Field(description="Other scanned data sets of the same sequences and regions.")]
    sweep: Annotated[
        dict[
            Literal["noise", "bias_field", "blur", "missing", "shift"],
            Annotated[tuple[Positive | str, ...], Field(min_length=1)],
        ],
        Field(description="Levels of each corruption of the own test cases; of `missing` names of sequences."),
    ]


class Study(Record):
    """What ``reports/<name>/study.json`` declares before anything is run.

    Its name is that of its folder. A ``study.json`` with the entry ``extends``, the name of another study, takes from
    that each entry that it does not have. Without ``models`` nothing is trained: the tables in the study's folder
    ``external/`` are all that is compared, and that folder may be anywhere.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)?$")]
    title: str = Field(description="Heading of the report.")
    data: FileName = Field(description="A scanned data set (`benchmark data list`).")
    folds: Numbers = Field(description="Folds to run, of those that the data set has.")
    seeds: Numbers = Field(description="Each fold is trained once per seed. One seed says nothing of methods.")
    models: tuple[Model, ...] = Field(
        description="Models, in the order of tables. Without any, nothing is trained, and what is compared are the "
        "tables in the study's folder `external/`."
    )
    compare: Compare = Field(description="What is compared, and how.")
    split: Split = Field(
        default="patient", description="Anything but `patient` is to show what another split is worth: patients leak."
    )
    partitions: Literal["per_seed", "shared"] = Field(
        default="per_seed",
        description="`per_seed` deals the patients into folds anew for each seed, so that training sets are sampled as "
        "often as random numbers; seed 1 has the set's own folds. `shared`: all seeds have these, as the "
        "publisher's split always is, which says less about methods.",
    )
    set: dict[str, Any] = Field(
        default_factory=dict,
        description="Ids of the configs with other values than the protocol's, for every model; of the track `native` "
        "where neither its own recipe nor `set_native` says otherwise. The report calls them deviations.",
    )
    set_native: dict[str, Any] = Field(
        default_factory=dict, description="The same for every model of the track `native` alone."
    )
    deviations: str = Field(default="", description="Why `set` and `set_native` deviate, in a sentence.")
    not_comparable: str = Field(
        default="",
        description="Why no number here is a verdict on a paper, besides what the runs' records say.",
    )
    tune: Tune | None = Field(default=None, description="How a value is chosen for models of the track `tuned`.")
    scores: tuple[str, ...] = Field(default=(), description="Metrics that are scored on request only: `mean_bf`.")
    check: Check | Annotated[dict[str, Any], Field(max_length=0)] = Field(
        default_factory=dict, description="What `benchmark check` calls worse."
    )
    test_on: TestOn = Field(default_factory=lambda: TestOn(), description="What trained networks are tested on too.")
    notes: tuple[str, ...] = Field(
        default=(),
        description="What a reader must know to trust the numbers: changes after scores were seen, trials, errors. "
        "Each is printed at the head of the report.",
    )
    names: dict[str, Name] = Field(
        default_factory=dict, description='What figures call models, by their names in tables: `{"unet": "U-Net"}`.'
    )
    version: Literal[1] = Field(default=1, description="Of the file's format.")
    _place: Path | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _complete(self) -> Study:
        # Their folders must differ where a file system takes capitals and small letters for the same.
        models = {(model.bundle.casefold(), model.variant.casefold()) for model in self.models}
        if len(models) < len(self.models):
            raise ValueError("expected models that differ in bundle or variant")
        if self.set_native and all(model.track != "native" for model in self.models):
            raise ValueError("expected a model of the track native, as set_native holds for no other")
        _check_tune(self)
        for settings in (self.set, self.set_native, *(model.set for model in self.models)):
            if "split" in settings:
                raise ValueError("expected `split` as a field of the study or of a model, found it in a set")
        # Over patients alone, two trainings of one method differ far more often than alpha (research/calibration).
        self.compare.setdefault("test", "two_level" if len(self.seeds) > 1 else "wilcoxon")
        return self

    @property
    def folder(self) -> Path:
        """Where the study is declared and its report is written."""
        return self._place or project.reports() / self.name

    @property
    def argument(self) -> str:
        """What names it on a command line."""
        return str(self._place) if self._place else self.name

    def at(self, folder: Path) -> Study:
        """Return the same study with its folder at another place than ``reports/<name>``."""
        moved = self.model_copy()
        moved._place = folder
        return moved

    @property
    def settings(self) -> dict[str, Any]:
        """What it sets for the track ``identical``, a split other than by patient among it."""
        return {**({} if self.split == "patient" else {"split": self.split}), **self.set}

    def runs(self, changes: Mapping[str, Any] | None = None) -> list[Run]:
        """Every run of the study, by model, fold and seed.

        ``changes`` are more ids to set in all of them, or as ``BUNDLE:ID`` in those of one bundle, which wins.

        Raises:
            InputError: if no model is of a bundle in ``changes``, these set the split, which a study declares, or runs
                whose probabilities the study joins would not keep them.
        """
        by_bundle = _by_bundle(changes or {}, self.bundles)
        _check_kept(self, by_bundle)
        others = self.other_tests
        found = []
        for model in self.models:
            stages, own = self.stages(model), self.recipe(model)
            by, tests = model.by if model.ensemble else "", () if _by_mean(model) else others
            settings = self._settings(own)
            for fold, seed in itertools.product(model.folds or self.folds, self.seeds):
                joined = tuple(Run(self.name, stage.bundle, stage.variant, fold, seed).id for stage in stages)
                changed = {**self._partition(model, seed), **settings, **by_bundle[own.bundle]}
                found.append(Run(self.name, model.bundle, model.variant, fold, seed, changed, joined, tests, by))
        return found

    @property
    def tuned(self) -> list[Model]:
        """Its models of the track ``tuned``."""
        return [model for model in self.models if model.track == "tuned"]

    def trials(self, model: Model) -> list[Run]:
        """The trainings that choose the value of ``tune`` for a model, one per value; none of another track."""
        if self.tune is None or model.track != "tuned":
            return []
        id_, fold, seed = self.tune.id, self.tune.fold, self.tune.seed
        shared = {**self._partition(model, seed), **self._declared(model)}
        return [
            Run(self.name, model.bundle, trial_name(model, value), fold, seed, {**shared, id_: value}, trial=True)
            for value in self.tune.values
        ]

    @property
    def other_tests(self) -> tuple[OtherTest, ...]:
        """What ``test_on`` declares, one by one: sets first, then each corruption level by level."""
        sets = [OtherTest(name, data=name) for name in self.test_on.get("sets", ())]
        levels = [(kind, level) for kind, levels in self.test_on.get("sweep", {}).items() for level in levels]
        named = [(f"{kind}-{level if isinstance(level, str) else f'{level:g}'}", kind, level) for kind, level in levels]
        return (*sets, *(OtherTest(name, corruption=kind, level=level) for name, kind, level in named))

    def stages(self, model: Model) -> list[Model]:
        """The models that a model joins, a classifier before its segmenter; none for one that is trained itself."""
        known = {other.name: other for other in self.models}
        return [known[name] for name in model.joins]

    def trained(self, model: Model) -> list[Model]:
        """The models whose trainings a model follows from: itself, or those of all that it joins, in their order."""
        return [one for part in self.stages(model) for one in self.trained(part)] or [model]

    def recipe(self, model: Model) -> Model:
        """The model whose configs and split a model has: of one that joins others that of the last."""
        return self.trained(model)[-1]

    @property
    def bundles(self) -> list[str]:
        """Folders of ``bundles/`` that its models are of, each once."""
        return list(dict.fromkeys(self.recipe(model).bundle for model in self.models))

    @property
    def splits(self) -> list[str]:
        """Every partition of every split that its runs are on, as the id ``split`` names it, sorted."""
        return sorted({split for model in self.models for split in self.splits_of(split_of(self, model))})

    def splits_of(self, split: str) -> list[str]:
        """The partition of a split for each seed, each once."""
        return list(dict.fromkeys(self.split_of_seed(split, seed) for seed in self.seeds))

    def split_of_seed(self, split: str, seed: int) -> str:
        """The partition of a split that a seed is trained on, as the id ``split`` names it."""
        return partition(split, seed if self.partitions == "per_seed" else 1)

    def _partition(self, model: Model, seed: int) -> dict[str, str]:
        """The id ``split`` of a model's runs with a seed; none where it is by patient in the set's own folds."""
        split = self.split_of_seed(split_of(self, model), seed)
        return {} if split == "patient" else {"split": split}

    def _settings(self, model: Model) -> dict[str, Any]:
        return {**self._declared(model), **(tune.settings(self, model) if model.track == "tuned" else {})}

    def _declared(self, model: Model) -> dict[str, Any]:
        """What a model is set to besides what is chosen for it."""
        native = model.track == "native"
        own = {**bundle.compose(model.bundle).get("native", {}), **self.set_native} if native else {}
        dimensions = {**self.set, **own, **model.set}.get("spatial_dims", 2)
        return {**self.set, **bundle.chosen(own, dimensions), **model.set}


def _check_tune(study: Study) -> None:
    """Raise ValueError where `tune` cannot be done: without tuned models, in another fold, of what these set."""
    if bool(study.tune) != bool(study.tuned):
        raise ValueError("expected `tune` and models of the track tuned, both or neither")
    if study.tune is None:
        return
    if study.tune.fold not in study.folds or study.tune.seed not in study.seeds:
        raise ValueError("expected the fold and the seed of `tune` to be of the study's")
    names = {(model.bundle.casefold(), model.variant.casefold()) for model in study.models}
    for model in study.tuned:
        if study.tune.id in model.set:
            raise ValueError(f"expected {study.tune.id} of {model.name} to be tuned, found it set")
        if names & {(model.bundle.casefold(), trial_name(model, value)) for value in study.tune.values}:
            raise ValueError(f"expected no model that is named like a trial of {model.name}")


def trial_name(model: Model, value: float) -> str:
    """Variant that a trial of a model with a value of ``tune`` is called."""
    return f"{model.variant}-{value:g}".casefold()


def split_of(study: Study, model: Model) -> str:
    """The split that a model of a study is trained and tested on; of one that joins others, that of the last."""
    return study.recipe(model).split or study.split


def _check_kept(study: Study, by_bundle: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse runs that keep no probabilities where a model, or an ensemble over seeds in a pair, is a mean of these."""
    from benchmark.studies.ensemble import name_of

    means = {model.name: study.stages(model) for model in study.models if _by_mean(model)}
    pairs = study.compare.get("pairs", "all")
    compared = () if pairs == "all" else tuple(name for pair in pairs for name in pair)
    of_seeds = {name_of(model): [model] for model in study.models}
    means |= {name: models for name, models in of_seeds.items() if name in compared and not models[0].joins}
    for name, members in means.items():
        for member in members:
            if not _keeps(study, member, by_bundle[member.bundle]):
                raise InputError(
                    f"Study {study.name}: {name} is a mean of probabilities: expected {member.name} to keep them, "
                    f"found {bundle.KEEP} false."
                )


def _keeps(study: Study, model: Model, changes: Mapping[str, Any]) -> bool:
    """Whether runs of a model that is trained keep their probabilities, with ``changes`` of ids of its bundle."""
    composed = bundle.compose(model.bundle)["inference"]
    return bool({**composed, **study._declared(model), **changes}.get(bundle.KEEP, False))


def _by_mean(model: Model) -> bool:
    return bool(model.ensemble) and model.by == "mean"


def apart(study: Study) -> list[str]:
    """Names of models under another split than the study's: they are compared with themselves only."""
    return [model.name for model in study.models if split_of(study, model) != study.split]


def check_code(study: Study, changes: Mapping[str, Any]) -> None:
    """Refuse code in what a study and a command line set.

    Raises:
        InputError: naming the place.
    """
    path = study.folder / "study.json"
    for settings in (study.set, study.set_native, *(model.set for model in study.models)):
        trust.check(f"{path}: set", settings)
    trust.check("--set", {match[2] if (match := _addressed(key)) else key: value for key, value in changes.items()})


def _by_bundle(changes: Mapping[str, Any], bundles: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what to set in the runs of each bundle; a key ``BUNDLE:ID`` is for one (MONAI writes ids with ``::``)."""
    addressed = {key: match for key in changes if (match := _addressed(key))}
    found = {name: {key: value for key, value in changes.items() if key not in addressed} for name in bundles}
    for key, match in addressed.items():
        if match[1] not in found:
            raise InputError(f"Cannot set {key!r}: expected a bundle of the study, one of {', '.join(found)}.")
        found[match[1]][match[2]] = changes[key]
    if any("split" in own for own in found.values()):
        # A report would call these scores those of the declared split, and compare them.
        raise InputError(
            "Id 'split' cannot be set: expected it in study.json, as the field `split` of the study or of a model."
        )
    return found


def _addressed(key: str) -> re.Match[str] | None:
    return re.fullmatch(r"([^:#]+):(?!:)(.+)", key)


def names() -> list[str]:
    """Names of all studies, sorted: the folders of ``reports/``, and those within them, with a ``study.json``."""
    found = (path for depth in ("*", "*/*") for path in project.reports().glob(f"{depth}/study.json"))
    return sorted(path.parent.relative_to(project.reports()).as_posix() for path in found)


def check_compare(path: Path, compare: Mapping[str, Any]) -> None:
    """Refuse comparisons of metrics that are unknown or share a margin of several units, and a pair that stands twice.

    Raises:
        InputError: naming ``path`` and the entry.
    """
    _check_metrics(path, "compare", compare)
    _check_pairs(path, compare)


def load(name: str) -> Study:
    """Read a study, after what a killed command left to be moved in its folder.

    ``name`` is a folder of ``reports/``, or the path of any folder with a ``study.json`` without models of its own.

    >>> import benchmark
    >>> study = benchmark.read_study("quickstart")
    >>> study.data, len(study.runs()), study.runs()[0].id
    ('phantom', 6, 'unet/default/fold0-seed1')

    Raises:
        InputError: for an unknown study, a missing or mistyped entry, a model without a bundle or named twice.
    """
    from benchmark.scoring.metrics import ON_REQUEST

    name, place = _find(name)
    path = (place or project.reports() / name) / "study.json"
    content = _content(path, name)
    complete_files(path.parent)
    found = checked(path, {"name": name, **content}, Study)
    if found.name != name:
        raise InputError(f"{path}: name: expected no such entry, as the folder names the study; found {found.name!r}.")
    if not found.models and not any((path.parent / "external").glob("*.[cC][sS][vV]")):
        raise InputError(f"{path}: models: expected at least 1 item, found [], and no tables in external/ either.")
    if place:
        if found.models:
            raise InputError(
                f"{path}: expected a study that trains models in a folder of reports/, found it elsewhere."
            )
        found = found.at(place)
    check_compare(path, found.compare)
    _check_metrics(path, "check", found.check)
    if unknown := set(found.scores) - set(ON_REQUEST):
        raise InputError(f"{path}: scores: expected some of {', '.join(ON_REQUEST)}, found {min(unknown)!r}.")
    _check_stages(path, found)
    _check_ensembles(path, found)
    _check_test_on(path, found)
    return found


def _find(name: str) -> tuple[str, Path | None]:
    """Return the name of a study and its folder, None for one in ``reports/``, from its name or its folder's path.

    Raises:
        InputError: if there is none.
    """
    known = names()
    if name in known:
        return name, None
    folder = Path(name).resolve()
    if (folder / "study.json").is_file():
        named = named_after(folder)
        return named, None if named in known and project.reports().resolve() / named == folder else folder
    places = f"one of {', '.join(known)} (folders of reports/), or" if known else ""
    raise InputError(f"There is no study {name!r}: expected {places} a folder with a study.json.".replace("  ", " "))


def named_after(folder: Path) -> str:
    """Return the name of a study in any folder: that below ``reports/``, else the folder's, in letters it may have."""
    if folder.parent.is_relative_to(project.reports().resolve()):
        return folder.relative_to(project.reports().resolve()).as_posix()
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.name).lstrip("_.-") or "comparison"


def _check_metrics(path: Path, part: str, declared: Mapping[str, Any]) -> None:
    """Refuse unknown metrics, a margin of a metric that is not declared, and one for metrics of several units."""
    from benchmark.scoring.metrics import METRICS

    margin, names = declared.get("margin"), declared.get("metrics", [])
    for name in set(names) - set(METRICS):
        raise InputError(f"{path}: there is no metric {name!r}: expected one of {', '.join(METRICS)}.")
    if isinstance(margin, Mapping):
        for name in set(margin) - set(names):
            raise InputError(f"{path}: {part}/margin: expected metrics of {part}, {', '.join(names)}; found {name!r}.")
    elif margin is not None and len({METRICS[name].unit for name in names}) > 1:
        raise InputError(f"{path}: {part}/margin: expected one per metric, as their units differ; found {margin}.")


def _check_pairs(path: Path, compare: Mapping[str, Any]) -> None:
    """Refuse a pair that stands twice, and a primary family with a metric or pair that is not among those declared."""
    primary, pairs = compare.get("primary", {}), compare.get("pairs", "all")
    for part, several in (("compare", compare), ("compare/primary", primary)):
        listed = [frozenset(pair) for pair in several.get("pairs", ()) if pairs != "all" or part != "compare"]
        for pair in listed:
            # Each row of a pair makes the correction of all others stricter.
            if len(pair) < 2 or listed.count(pair) > 1:
                found = " and ".join(sorted(pair))
                raise InputError(f"{path}: {part}/pairs: expected each pair of two models once, found {found}.")
    for name in set(primary.get("metrics", ())) - set(compare["metrics"]):
        raise InputError(
            f"{path}: compare/primary/metrics: expected metrics of compare, {', '.join(compare['metrics'])}; found "
            f"{name!r}."
        )
    for pair in primary.get("pairs", ()):
        if pairs != "all" and set(pair) not in [set(declared) for declared in pairs]:
            raise InputError(f"{path}: compare/primary/pairs: expected pairs of compare, found {' and '.join(pair)}.")


def _check_stages(path: Path, study: Study) -> None:
    """Refuse a model that joins others unless these are a classifier and a segmenter of one split that it trains."""
    trained = {model.name: model for model in study.models if not model.joins}
    for model in (model for model in study.models if model.stages):
        where = f"{path}: models: {model.name}: stages"
        if unknown := [name for name in model.stages if name not in trained]:
            raise InputError(f"{where}: expected two of {', '.join(trained)}, found {unknown[0]!r}.")
        gate, segmenter = (trained[name].bundle for name in model.stages)
        tasks = [bundle.compose(name)["inference"]["task"] for name in (gate, segmenter)]
        if tasks != ["classification", "segmentation"]:
            raise InputError(f"{where}: expected bundles for classification and segmentation, found {tasks}.")
        if model.bundle != segmenter or {"set", "track"} & model.model_fields_set:
            raise InputError(
                f"{where}: a two-stage model must name its segmenter's bundle {segmenter!r} and may not use set or "
                "track."
            )
        splits = [split_of(study, stage) for stage in study.stages(model)]
        if splits[0] != splits[1]:
            raise InputError(f"{where}: expected two models of one split, found {' and '.join(splits)}.")


def _check_ensembles(path: Path, study: Study) -> None:
    """Refuse an ensemble unless it joins segmenters of one split and of its folds, with probabilities for a mean."""
    known = {model.name: model for model in study.models if not model.ensemble}
    for model in study.models:
        where = f"{path}: models: {model.name}: ensemble"
        if not model.ensemble:
            if "by" in model.model_fields_set:
                raise InputError(f"{where}: expected names of models to join, as it has `by`; found none.")
            continue
        if unknown := [name for name in model.ensemble if name not in known]:
            raise InputError(f"{where}: expected models of {', '.join(known)}, found {unknown[0]!r}.")
        if len(set(model.ensemble)) < max(len(model.ensemble), 2):
            raise InputError(f"{where}: expected two or more models, each once; found {', '.join(model.ensemble)}.")
        if model.bundle in bundle.names():
            raise InputError(f"{where}: expected a name of its own as `bundle`, found {model.bundle!r} of bundles/.")
        if taken := {"set", "track", "split", "stages"} & model.model_fields_set:
            raise InputError(f"{where}: expected its members to decide {min(taken)}, found it set for the ensemble.")
        _check_members(where, study, model, study.stages(model))


def _check_members(where: str, study: Study, model: Model, members: Sequence[Model]) -> None:
    """Refuse members of an ensemble that cannot be joined case by case."""
    splits = list(dict.fromkeys(split_of(study, member) for member in members))
    if len(splits) > 1:
        raise InputError(f"{where}: expected models of one split, found {' and '.join(splits)}.")
    for member in members:
        composed = bundle.compose(study.recipe(member).bundle)["inference"]
        if composed["task"] != "segmentation":
            raise InputError(f"{where}: expected models that segment, found {member.name} for {composed['task']}.")
        if lacking := set(model.folds or study.folds) - set(member.folds or study.folds):
            raise InputError(f"{where}: expected models of its folds, found {member.name} without {min(lacking)}.")
        if model.by == "mean" and (member.joins or not _keeps(study, member, {})):
            raise InputError(
                f"{where}: expected models that keep probabilities, for their mean, found {member.name} without; join "
                "label maps, by majority or staple."
            )


def _check_test_on(path: Path, study: Study) -> None:
    """Refuse another set that a network trained on this one cannot be scored on, and levels that a corruption lacks."""
    where = f"{path}: test_on"
    for test in study.other_tests:
        own = manifest_of(study.data)
        if test.data == study.data:
            raise InputError(f"{where}/sets: expected sets other than {study.data}, found it.")
        for what, expected, found in _unlike(own, manifest_of(test.data)) if test.data else []:
            raise InputError(
                f"{where}/sets: expected the {what} of {study.data}, {expected}, found in {test.data} {found}."
            )
        if test.corruption == "missing" and test.level not in own.modalities:
            raise InputError(f"{where}/sweep/missing: expected of {', '.join(own.modalities)}, found {test.level!r}.")
        if test.corruption not in ("", "missing") and isinstance(test.level, str):
            raise InputError(f"{where}/sweep/{test.corruption}: expected numbers, found {test.level!r}.")
        if test.corruption == "shift" and test.level != int(test.level):
            raise InputError(f"{where}/sweep/shift: expected whole voxels, found {test.level}.")
    names = [test.name.casefold() for test in study.other_tests]
    for twice in {name for name in names if names.count(name) > 1}:
        raise InputError(f"{where}: expected each test only once, found {twice!r} again.")


def _unlike(own: Manifest, other: Manifest) -> list[tuple[str, str, str]]:
    """What differs between two sets of what a network reads and predicts; labels follow from the regions' names."""
    found = [
        ("modalities", own.modalities, other.modalities),
        ("regions", tuple(own.regions), tuple(other.regions)),
        ("unit", (own.unit,), (other.unit,)),
    ]
    return [(what, ", ".join(one), ", ".join(two)) for what, one, two in found if one != two]


def _content(path: Path, name: str, extending: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read a study's file, and for what it lacks the one that it extends; ``extending`` are those that led here."""
    content: dict[str, Any] = without_comments(path, read(path, dict[str, Any], "a study"))
    if "extends" not in content:
        return content
    parent = content.pop("extends")
    if parent not in names() or parent in (name, *extending):
        chain = f" which extends it ({' → '.join((*extending, name, parent))})" if parent in extending else ""
        raise InputError(f"{path}: extends: expected another study, found {parent!r}{chain}.")
    return {**_content(project.reports() / parent / "study.json", parent, (*extending, name)), **content}


def select(runs: Sequence[Run], conditions: Sequence[str]) -> list[Run]:
    """Keep the runs that meet every condition ``key=value``; conditions on one key are alternatives.

    Raises:
        InputError: for a condition that is not of that form or that no run meets, and where there are no runs.
    """
    if not runs:
        raise InputError("The study trains nothing: expected models in its study.json, found none.")
    wanted: dict[str, set[str]] = {}
    for condition in conditions:
        key, _, value = condition.partition("=")
        if key not in SELECTORS or not value:
            raise InputError(f"Cannot select by {condition!r}: expected {', '.join(f'{key}=…' for key in SELECTORS)}.")
        if value not in (known := sorted({str(getattr(run, key)) for run in runs})):
            raise InputError(f"No run has {condition}: expected {key} to be one of {', '.join(known)}.")
        wanted.setdefault(key, set()).add(value)
    chosen = [run for run in runs if all(str(getattr(run, key)) in values for key, values in wanted.items())]
    if not chosen:
        raise InputError(f"No run meets {' and '.join(conditions)} together: expected at least one.")
    return chosen

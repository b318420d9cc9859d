"""A plan of an ablation: variants of a recipe, by seeds, by a number of iterations."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from compat import UserError, unknown_name

import yaml

from engine.recipe import Recipe, load_recipe

PLAN_KEYS = ("config", "iters", "seeds", "baseline", "overrides", "variants")
VARIANT_KEYS = ("config", "iters", "seeds", "overrides", "combine", "reason")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # variants are folders


@dataclass(frozen=True)
class Run:
    """One training: a variant with a seed and a number of iterations.

    overrides: {dotted key of the recipe: value}.
    """

    variant: str
    config: str
    overrides: Mapping[str, Any]
    iters: int
    seed: int

    @property
    def folder(self) -> Path:
        """Where it is trained, within the folder of the ablation."""
        return Path(self.variant) / f"iters_{self.iters}_seed_{self.seed}"

    @property
    def options(self) -> List[str]:
        """The overrides as values of `train.py --opts`."""
        return [f"{key}={json.dumps(value)}" for key, value in {**self.overrides, "iters": self.iters}.items()]

    @property
    def settings(self) -> Dict[str, Any]:
        """What must be the same for results to be this run's; of the recipe's path the last folder and the name."""
        config = "/".join(Path(self.config).resolve().parts[-2:])
        return {"config": config, "overrides": dict(self.overrides), "iters": self.iters, "seed": self.seed}

    def recipe(self, overrides: Mapping[str, Any] = ()) -> Recipe:
        """The recipe that is trained; `overrides` come before the variant's."""
        return load_recipe(self.config, overrides, self.options)


@dataclass(frozen=True)
class Variant:
    """A named change of the recipe; `reason` is for people."""

    name: str
    config: str
    overrides: Mapping[str, Any]
    iters: int
    seeds: Tuple[int, ...]
    reason: str = ""

    def runs(self) -> List[Run]:
        """One for each seed."""
        return [Run(self.name, self.config, self.overrides, self.iters, seed) for seed in self.seeds]


@dataclass(frozen=True)
class Plan:
    """All variants, in the order in which they run; `baseline` names the one that the others are compared with."""

    path: Path
    baseline: Optional[str]
    variants: Mapping[str, Variant] = field(default_factory=dict)

    def chosen(self, names: Sequence[str] = ()) -> List[Variant]:
        """The variants of these names, or all.

        Raises:
            UserError: for an unknown name.
        """
        for name in names:
            if name not in self.variants:
                raise unknown_name("--only: variant", name, self.variants)
        return [variant for variant in self.variants.values() if not names or variant.name in names]


def load_plan(path: Path) -> Plan:
    """Read a plan, and every recipe that it describes.

    Its keys are `config` (the recipe that the variants change, relative to the plan), `iters`, `seeds`, `overrides`
    (of every variant), `baseline` (a variant's name), and `variants`: {name: {overrides, reason, combine, config,
    iters, seeds}}, each of which may be left out. `combine` lists variants whose overrides come before its own.

    Raises:
        UserError: naming the file, and the variant and key that are wrong.
    """
    raw = _read(path)
    _check_keys(raw, PLAN_KEYS, f"{path}: the key")
    for key in ("config", "iters", "variants"):
        if key not in raw:
            raise UserError(f"{path}: the key {key!r} is missing")
    specs = _mapping(raw["variants"], f"{path}: variants")
    variants = {name: _variant(name, specs, raw, path) for name in specs}
    baseline = raw.get("baseline")
    if baseline is not None and baseline not in variants:
        raise unknown_name(f"{path}: baseline", baseline, variants)
    for variant in variants.values():
        try:
            variant.runs()[0].recipe()
        except UserError as error:
            raise UserError(f"{path}: variant {variant.name}: {error}") from error
    return Plan(path, baseline, variants)


def _read(path: Path) -> Dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such plan; those that come with the project are in configs/ablation/")
    try:
        return _mapping(yaml.safe_load(path.read_text(encoding="utf-8")), str(path))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error


def _variant(name: str, specs: Mapping[str, Any], raw: Mapping[str, Any], path: Path) -> Variant:
    where = f"{path}: variant {name}"
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise UserError(f"{where}: a name is made of letters, digits and _ . -, because it names a folder")
    spec = _mapping(specs[name] or {}, where)
    _check_keys(spec, VARIANT_KEYS, f"{where}: the key")
    overrides = dict(_mapping(raw.get("overrides") or {}, f"{path}: overrides"))
    for other in spec.get("combine", ()):
        if other not in specs or other == name:
            raise unknown_name(f"{where}: combine", other, [one for one in specs if one != name])
        if "combine" in (specs[other] or {}):
            raise UserError(f"{where}: combine: {other} combines others itself; name those")
        overrides.update(_mapping((specs[other] or {}).get("overrides") or {}, where))
    overrides.update(_mapping(spec.get("overrides") or {}, f"{where}: overrides"))
    seeds = spec.get("seeds", raw.get("seeds", [0]))
    if not (isinstance(seeds, list) and seeds and all(isinstance(seed, int) and seed >= 0 for seed in seeds)):
        raise UserError(f"{where}: seeds: {seeds!r} is not a list of numbers such as [0, 1]")
    iters = spec.get("iters", raw["iters"])
    if not isinstance(iters, int) or iters < 1:
        raise UserError(f"{where}: iters: {iters!r} is not a number of at least 1")
    config = str(path.parent / spec.get("config", raw["config"]))
    return Variant(name, config, overrides, iters, tuple(seeds), spec.get("reason", ""))


def _mapping(value: Any, where: str) -> Dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected a mapping of keys, got {value!r}")
    return value


def _check_keys(mapping: Mapping[str, Any], known: Sequence[str], what: str) -> None:
    for key in mapping:
        if key not in known:
            raise unknown_name(what, str(key), known)

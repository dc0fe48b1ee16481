"""What a paper's ``published.json`` may hold, to a JSON schema of it: roles of columns, tables, claims, relations."""

from __future__ import annotations

from typing import Any

NAMES = {
    "dice": ("dice", "dsc", "dicescore", "dicecoefficient", "meandsc", "meandice"),
    "iou": ("iou", "jaccard"),
    "precision": ("precision",),
    "recall": ("recall",),
    "f1": ("f1", "f1score"),
    "support": ("support",),
    "sensitivity": ("sensitivity",),
    "specificity": ("specificity",),
    "accuracy": ("accuracy", "acc"),
    "mean_iou": ("meaniou", "miou"),
    "p": ("pvalue", "p"),
}
"""Usual names of columns, in letters and digits only, by the role that they stand for."""

COUNTED = ("support", "parameters", "shape")
"""Roles whose printed whole numbers are counts: exact, not rounded. Of a layer's output shape it is the channels."""

SHARES = (
    *(name for name in NAMES if name not in COUNTED),
    *("mean_f", "mean_accuracy", "weighted_iou", "global_accuracy", "tversky"),
)
"""Roles whose numbers are shares of one."""

ROLES = (*SHARES, *COUNTED, "loss", "layer")
"""All roles of columns."""

_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"type": "array", "items": _TEXT, "minItems": 1}
_SEVERAL = {"type": "array", "items": _TEXT, "minItems": 2}
_STEP = {"type": "array", "items": _TEXT, "minItems": 2, "maxItems": 2}
_WEIGHT = {"type": "number", "minimum": 0}
_COLUMN = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "role": {"enum": list(ROLES)},
        "metric": _TEXT,
        "regions": {"anyOf": [{"const": "mean"}, _TEXTS]},
        "aggregate": {"enum": ["patients", "pooled", "slices"]},
        "unit": {"enum": ["", "%"]},
        "history": _TEXT,
        "weights": {
            "type": "object",
            "properties": {"alpha": _WEIGHT, "beta": _WEIGHT},
            "required": ["alpha", "beta"],
            "additionalProperties": False,
        },
        "if": _TEXT,
        "none": _TEXT,
    },
    "required": ["name"],
    "additionalProperties": False,
}
_ROW = {
    "type": "object",
    "properties": {
        "label": _TEXT,
        "model": _TEXT,
        "none": _TEXT,
        "role": {"enum": ["class", "accuracy", "micro", "macro", "weighted"]},
        "class": {"type": "integer", "minimum": 0},
        "config": _TEXT,
        "printed": _TEXT,
        "values": {"type": "array", "items": {"anyOf": [_TEXT, {"type": "null"}]}, "minItems": 1},
    },
    "required": ["label", "values"],
    "additionalProperties": False,
    "if": {"properties": {"role": {"const": "class"}}, "required": ["role"]},
    "then": {"required": ["class"]},
}
_TABLE = {
    "type": "object",
    "properties": {
        **{key: _TEXT for key in ("id", "caption", "where", "model", "reference")},
        "kind": {"enum": ["scores", "classification", "significance", "settings", "layers"]},
        "one_test_set": {"type": "boolean"},
        "classes": {"type": "integer", "minimum": 2},
        "columns": {"type": "array", "items": _COLUMN, "minItems": 1},
        "rows": {"type": "array", "items": _ROW, "minItems": 1},
    },
    "required": ["id", "kind", "caption", "where", "columns", "rows"],
    "additionalProperties": False,
    "if": {"properties": {"kind": {"const": "significance"}}, "required": ["kind"]},
    "then": {"required": ["reference"]},
}
_FIGURE = {
    "type": "object",
    "properties": {
        "id": _TEXT,
        "kind": {"enum": ["bars", "curves", "confusion", "panels", "sequences", "drawing"]},
        "shows": _TEXT,
        "table": _TEXT,
        "columns": _TEXTS,
        "model": _TEXT,
        "curves": {"type": "array", "items": _TEXTS, "minItems": 1},
    },
    "required": ["id", "kind", "shows"],
    "additionalProperties": False,
}
_CLAIM = {
    "type": "object",
    "properties": {key: _TEXT for key in ("id", "value", "states", "where", "same_as")},
    "required": ["id", "value", "states", "where"],
    "additionalProperties": False,
}
RELATIONS: dict[str, dict[str, Any]] = {
    "equal": {"values": _SEVERAL},
    "sum": {"parts": _SEVERAL, "total": _TEXT},
    "margin": {"claim": _TEXT, "best": _TEXT, "others": _TEXTS},
    "focal_tversky": {"tversky": _TEXT, "loss": _TEXT, "usual": {"type": "number", "exclusiveMinimum": 0}},
    "background_iou": {"accuracy": _TEXT, "iou": _TEXT, "dice": _TEXT},
    "dice_iou": {"dice": _TEXT, "iou": _TEXT},
    "largest_gain": {
        "what": _TEXT,
        "claimed": _STEP,
        "others": {"type": "array", "items": _STEP, "minItems": 1},
    },
    "prevalence": {"claim": _TEXT, "table": _TEXT},
    "res_unet_parameters": {
        "what": _TEXT,
        "in_channels": {"type": "integer", "minimum": 1},
        "channels": _SEVERAL,
        "total": _TEXT,
    },
}
"""Entries of each kind of relation, all required."""

OPTIONAL = {"equal": ("if", "what"), "sum": ("what",), "dice_iou": ("if",), "prevalence": ("if",)}
"""Entries that a kind of relation may have: ``if`` is what it takes for granted, ``what`` its name."""


def _of_kind(kind: str) -> dict[str, Any]:
    entries, more = RELATIONS[kind], {name: _TEXT for name in OPTIONAL.get(kind, ())}
    return {
        "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
        "then": {
            "properties": {"kind": _TEXT, **entries, **more},
            "required": list(entries),
            "additionalProperties": False,
        },
    }


_RELATION = {
    "type": "object",
    "properties": {"kind": {"enum": list(RELATIONS)}},
    "required": ["kind"],
    "allOf": [_of_kind(kind) for kind in RELATIONS],
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "paper": {
            "type": "object",
            "properties": {**{key: _TEXT for key in ("short", "title", "data", "split")}, "authors": _TEXTS},
            "required": ["short", "title", "authors", "data", "split"],
            "additionalProperties": False,
        },
        "tables": {"type": "array", "items": _TABLE},
        "figures": {"type": "array", "items": _FIGURE},
        "claims": {"type": "array", "items": _CLAIM},
        "relations": {"type": "array", "items": _RELATION},
    },
    "required": ["paper", "tables"],
    "additionalProperties": False,
}
"""JSON schema of ``published.json``."""

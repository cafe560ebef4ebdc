"""The reproducible companion to 'Language Model Alignment with Elastic Reset' (NeurIPS 2023)."""

__version__ = "0.1.0"

_HOMES = {  # imported when asked for: who reads records waits for no torch, who averages for no transformers
    "ElasticReset": "reset",
    "Every": "reset",
    "At": "reset",
    "Adaptive": "reset",
    "ElasticResetCallback": "callback",
    "decay_for": "decay",
    "starting_point": "decay",
}
__all__ = ["Adaptive", "At", "ElasticReset", "ElasticResetCallback", "Every", "decay_for", "starting_point"]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'elastic_lib' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"elastic_lib.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

"""The reproducible companion to 'Language Model Alignment with Elastic Reset' (NeurIPS 2023)."""

__version__ = "0.1.0"


def __getattr__(name: str):
    """`from elastic_lib import ElasticReset`, without torch or transformers for those who only read records."""
    if name == "ElasticReset":
        from elastic_lib.reset import ElasticReset

        return ElasticReset
    if name == "ElasticResetCallback":
        from elastic_lib.callback import ElasticResetCallback

        return ElasticResetCallback
    raise AttributeError(f"module 'elastic_lib' has no attribute {name!r}")

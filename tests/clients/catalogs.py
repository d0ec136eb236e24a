"""Iceberg catalogs as PyIceberg's configuration describes them."""

from pathlib import Path

import pytest


def sqlite_catalog(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalog of this name in a file of SQLite below ``folder``, until the test ends."""
    import pyiceberg.catalog
    from pyiceberg.utils.config import Config

    monkeypatch.setenv(f"PYICEBERG_CATALOG__{name.upper()}__URI", f"sqlite:///{folder}/catalog.db")
    monkeypatch.setenv(f"PYICEBERG_CATALOG__{name.upper()}__WAREHOUSE", f"file://{folder}/warehouse")
    monkeypatch.setattr(pyiceberg.catalog, "_ENV_CONFIG", Config())  # it is read once, on import

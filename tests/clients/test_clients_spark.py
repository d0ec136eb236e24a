"""Spark reads what a run writes. It needs Java, and 400 MB that nothing else here wants."""

import shutil

import pytest

import clipseg_ray

pytestmark = pytest.mark.clients
COUNTS = "SELECT query_id, count(*), count_if(area > 0), sum(area) FROM masks GROUP BY query_id ORDER BY query_id"


@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java, and there is none")
def test_spark_counts_the_same(made):
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[1]")
    local = {"spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    for name, value in local.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    try:
        spark.read.parquet(f"{made}/masks").createOrReplaceTempView("masks")
        found = [tuple(row) for row in spark.sql(COUNTS).collect()]
    finally:
        spark.stop()
    with clipseg_ray.open(made) as masks:
        assert found == masks.sql(COUNTS).fetchall()

"""cluster.yaml against Ray's own schema and EC2's, and what it must say."""

import copy
import re
from pathlib import Path
from typing import Any

import botocore.session
import jsonschema
import pytest
import yaml
from botocore.validate import ParamValidator

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


@pytest.fixture(scope="module")
def workers(cluster: dict[str, Any]) -> dict[str, Any]:
    return {name: node for name, node in cluster["available_node_types"].items() if name != cluster["head_node_type"]}


def test_ray_takes_it(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(cluster))
    validate_config(prepared)
    assert {node["max_workers"] for node in prepared["available_node_types"].values()} == {0, 8}
    prepared["available_node_types"]["gpu-spot"]["lable"] = {}
    with pytest.raises(jsonschema.ValidationError, match="'lable' was unexpected"):
        validate_config(prepared)


def test_ec2_takes_every_node_type(cluster: dict[str, Any]) -> None:
    shape = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    for name, node in cluster["available_node_types"].items():
        wanted = {**node["node_config"], "MinCount": 1, "MaxCount": 1}
        report = ParamValidator().validate(wanted, shape)
        assert not report.has_errors(), f"{name}: {report.generate_report()}"
        assert set(node["node_config"]) <= set(shape.members)


def test_it_shrinks_to_a_head_that_does_no_work(cluster: dict[str, Any], workers: dict[str, Any]) -> None:
    assert cluster["available_node_types"][cluster["head_node_type"]]["resources"] == {"CPU": 0}
    assert all(node["min_workers"] == 0 for node in workers.values())
    assert 0 < cluster["idle_timeout_minutes"] <= 10
    assert cluster["provider"]["cache_stopped_nodes"] is False


def test_gpus_are_asked_on_spot_first(workers: dict[str, Any]) -> None:
    spot, fallback = workers["gpu-spot"], workers["gpu-on-demand"]
    assert spot["resources"] == fallback["resources"]
    assert spot["resources"]["GPU"] == 1
    assert spot["priority"] > fallback["priority"]
    assert spot["node_config"].pop("InstanceMarketOptions") == {"MarketType": "spot"}
    assert spot["node_config"] == fallback["node_config"]
    assert "GPU" not in workers["cpu-spot"]["resources"]


def test_machines_get_the_lock_file_the_token_and_no_key(cluster: dict[str, Any]) -> None:
    mounts = cluster["file_mounts"]
    own = {local for local in mounts.values() if not local.startswith("~")}
    assert own == {"requirements.lock", "pyproject.toml", "README.md", "LICENSE", "clipseg_ray"}
    assert all((ROOT / local).exists() for local in own)
    assert mounts["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"
    commands = "\n".join(cluster["setup_commands"])
    assert re.search(r"pip install --python \S+ -r ~/clipseg-ray/requirements\.lock$", commands, re.M)
    assert re.search(r"pip install --python \S+ --no-deps \S+ ~/clipseg-ray$", commands, re.M)
    assert "RAY_AUTH_MODE=token" in commands
    assert all("IamInstanceProfile" in node["node_config"] for node in cluster["available_node_types"].values())
    assert "AWS_SECRET" not in (ROOT / "cluster.yaml").read_text()

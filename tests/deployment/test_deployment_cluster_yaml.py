"""cluster.yaml against Ray's own schema and EC2's, and what it must say."""

import copy
import re
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import jsonschema
import pytest
import yaml
from botocore.validate import ParamValidator

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cluster() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


@pytest.fixture
def workers(cluster: dict[str, Any]) -> dict[str, Any]:
    return {name: node for name, node in cluster["available_node_types"].items() if name != cluster["head_node_type"]}


def test_ray_takes_it(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(cluster))
    validate_config(prepared)
    assert prepared["head_setup_commands"] == prepared["worker_setup_commands"] == cluster["setup_commands"]
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


def test_machines_are_closed(cluster: dict[str, Any]) -> None:
    for node in cluster["available_node_types"].values():
        settings = node["node_config"]
        assert settings["MetadataOptions"]["HttpTokens"] == "required"
        assert settings["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
        assert all(disk["Ebs"]["Encrypted"] for disk in settings["BlockDeviceMappings"])
        assert settings["SecurityGroupIds"] == ["sg-00000000000000000"]
    commands = "\n".join(cluster["setup_commands"])
    assert re.search(r"echo '[0-9a-f]{64}  \S+' \| sha256sum --check", commands)
    assert not re.search(r"curl[^|&]*\|", commands)  # nothing runs that was not compared


@pytest.mark.slow
def test_rays_launcher_starts_every_node_type(
    cluster: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from moto import mock_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.util import prepare_config

    (tmp_path / ".ssh").mkdir()
    for name, value in {"HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    region = cluster["provider"]["region"]
    with mock_aws():
        ec2 = boto3.client("ec2", region)
        image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        group = ec2.create_security_group(GroupName="clipseg-ray", Description="clipseg-ray")["GroupId"]
        for profile in ("clipseg-ray-head", "clipseg-ray-worker"):
            boto3.client("iam", region).create_instance_profile(InstanceProfileName=profile)
        for node in cluster["available_node_types"].values():
            node["node_config"]["ImageId"] = image
            node["node_config"]["SecurityGroupIds"] = [group]
        prepared = AWSNodeProvider.fillout_available_node_types_resources(prepare_config(copy.deepcopy(cluster)))
        ready = AWSNodeProvider.bootstrap_config(prepared)
        provider = AWSNodeProvider(ready["provider"], ready["cluster_name"])
        started = {}
        for name, node in ready["available_node_types"].items():
            tags = {"ray-node-kind": "worker", "ray-user-node-type": name}
            tags |= {"ray-node-status": "uninitialized", "ray-launch-config": name}
            made = provider.create_node(copy.deepcopy(node["node_config"]), tags, 1)
            found = ec2.describe_instances(InstanceIds=list(made))["Reservations"][0]["Instances"][0]
            role = found["IamInstanceProfile"]["Arn"].rpartition("/")[2]
            started[name] = (found["InstanceType"], found.get("InstanceLifecycle"), role)
    assert started == {
        "head": ("m7i.xlarge", None, "clipseg-ray-head"),
        "gpu-spot": ("g6.4xlarge", "spot", "clipseg-ray-worker"),
        "gpu-on-demand": ("g6.4xlarge", None, "clipseg-ray-worker"),
        "cpu-spot": ("c7i.4xlarge", "spot", "clipseg-ray-worker"),
    }
    # What cluster.yaml says of a type's cores and GPUs is what AWS says of the instance.
    for name, node in prepared["available_node_types"].items():
        kind = ec2_type(node["node_config"]["InstanceType"], region)
        if name != "head":
            assert node["resources"]["CPU"] == kind["VCpuInfo"]["DefaultVCpus"]
            gpus = sum(gpu["Count"] for gpu in kind.get("GpuInfo", {}).get("Gpus", []))
            assert node["resources"].get("GPU", 0) == gpus


def ec2_type(name: str, region: str) -> dict[str, Any]:
    """What EC2 reports of an instance type."""
    from moto import mock_aws

    with mock_aws():
        found = boto3.client("ec2", region).describe_instance_types(InstanceTypes=[name])
    return found["InstanceTypes"][0]

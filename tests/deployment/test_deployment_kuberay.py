"""The RayJob against KubeRay's schema, what it must say, and the image it names."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from clipseg_ray import config

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((Path(__file__).parent / "rayjob-schema.json").read_text())
LOCK = dict(
    line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")
)


@pytest.fixture
def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "configs" / "kuberay" / "rayjob.yaml").read_text()))


@pytest.fixture
def job(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return documents[1]


def groups(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    return {"head": cluster["headGroupSpec"], **{group["groupName"]: group for group in cluster["workerGroupSpecs"]}}


def test_kuberay_takes_it(job: dict[str, Any]) -> None:
    jsonschema.validate(job, SCHEMA)
    for wrong in ("headGroupSpec.template.spec.restartPolicies", "autoscalerOptions.version", "workerGroupSpec"):
        spoilt = copy.deepcopy(job)
        *sections, last = wrong.split(".")
        place = spoilt["spec"]["rayClusterSpec"]
        for section in sections:
            place = place[section]
        place[last] = "v3"
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(spoilt, SCHEMA)


def test_its_configuration_is_one(documents: list[dict[str, Any]], job: dict[str, Any]) -> None:
    loaded = config.parse(yaml.safe_load(documents[0]["data"]["run.yaml"]))
    gpu = groups(job)["gpu"]
    assert loaded.model.device == "cuda"
    assert loaded.pool.max == gpu["maxReplicas"]
    assert loaded.pool.wait_s > 600
    mounted = groups(job)["head"]["template"]["spec"]
    folder = mounted["containers"][0]["volumeMounts"][0]["mountPath"]
    assert mounted["volumes"][0]["configMap"]["name"] == documents[0]["metadata"]["name"]
    assert job["spec"]["entrypoint"] == f"clipseg-ray run {folder}/run.yaml"


def test_it_grows_from_nothing_and_retries(job: dict[str, Any]) -> None:
    spec = job["spec"]
    cluster = spec["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["autoscalerOptions"]["version"] == "v2"
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["backoffLimit"] > 0
    assert spec["shutdownAfterJobFinishes"] is True
    found = groups(job)
    assert all(group["template"]["spec"]["restartPolicy"] == "Never" for group in found.values())
    assert all(found[name]["minReplicas"] == 0 for name in ("gpu", "cpu"))
    limits = {name: group["template"]["spec"]["containers"][0]["resources"]["limits"] for name, group in found.items()}
    assert limits["gpu"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in limits["cpu"]


def test_secrets_are_referred_to(job: dict[str, Any]) -> None:
    for group in groups(job).values():
        container = group["template"]["spec"]["containers"][0]
        assert container["envFrom"] == [{"secretRef": {"name": "clipseg-ray-s3"}}]
        assert "env" not in container
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token", "secretName": "clipseg-ray-token"}


def test_ray_is_the_lock_files_and_the_image_installs_it(job: dict[str, Any]) -> None:
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == LOCK["ray"]
    dockerfile = (ROOT / "configs" / "Dockerfile").read_text()
    sent = (ROOT / "configs" / "Dockerfile.dockerignore").read_text().split()
    assert sent[0] == "*"
    copied = [name for line in dockerfile.splitlines() if line.startswith("COPY ") for name in line.split()[1:-1]]
    assert {f"!{name}" for name in copied} == {line for line in sent if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)
    assert "pip install --no-cache-dir -r /opt/clipseg-ray/requirements.lock" in dockerfile
    assert "--no-deps --no-build-isolation /opt/clipseg-ray" in dockerfile
    images = {group["template"]["spec"]["containers"][0]["image"] for group in groups(job).values()}
    assert len(images) == 1
    assert f"docker build -f configs/Dockerfile -t {images.pop()} ." in dockerfile


def test_the_pods_are_closed(documents: list[dict[str, Any]], job: dict[str, Any]) -> None:
    policy = documents[2]
    assert policy["kind"] == "NetworkPolicy"
    spec = policy["spec"]
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    own = spec["podSelector"]["matchLabels"]
    assert all(group["template"]["metadata"]["labels"] == own for group in groups(job).values())
    beside, dashboard = spec["ingress"]
    assert beside == {"from": [{"podSelector": {"matchLabels": own}}]}
    assert dashboard["ports"] == [{"port": 8265}]
    assert dashboard["from"][0]["podSelector"]["matchLabels"] == {"job-name": job["metadata"]["name"]}
    assert "169.254.169.254/32" in spec["egress"][0]["to"][0]["ipBlock"]["except"]

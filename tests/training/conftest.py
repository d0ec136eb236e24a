from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPModel, CLIPSegForImageSegmentation, CLIPSegProcessor

from clipseg_ray.training.conversion import convert
from tests.training import authors, world


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 small scenes in two truth shards."""
    folder = tmp_path_factory.mktemp("scenes")
    world.write_shards(folder, shards=2, images=20, side=64)
    return folder


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[authors.OpenAiClip, Path]:
    """OpenAI's CLIP in small, and its archive."""
    torch.manual_seed(5)
    model = authors.OpenAiClip().eval()
    return model, model.archive(tmp_path_factory.mktemp("openai"))


@pytest.fixture(scope="session")
def clip_folder(clip: tuple[authors.OpenAiClip, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same CLIP as transformers saves it: taken out of a converted checkpoint by transformers itself."""
    made = tmp_path_factory.mktemp("hub")
    (made / "w.pth").write_bytes(authors.AuthorsDecoder((3,), refined=False).file())
    convert(str(made / "w.pth"), str(made / "whole"), str(clip[1]), [3])
    model = CLIPSegForImageSegmentation.from_pretrained(made / "whole")
    whole = model.config
    towers = {"text_config": whole.text_config.to_dict(), "vision_config": whole.vision_config.to_dict()}
    for tower in towers.values():
        del tower["model_type"]
    plain = CLIPModel(CLIPConfig(**towers, projection_dim=whole.projection_dim))
    plain.load_state_dict(model.clip.state_dict())
    plain.save_pretrained(made / "clip")
    CLIPSegProcessor.from_pretrained(made / "whole").save_pretrained(made / "clip")
    return made / "clip"

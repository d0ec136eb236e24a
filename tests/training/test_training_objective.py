"""The losses, against transformers' own forward and against sums written out."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clipseg_ray.queries.modes import parse_mode
from clipseg_ray.training.batches import Batches
from clipseg_ray.training.config import OptimiserConfig, SamplingConfig, TrainingModelConfig
from clipseg_ray.training.objective import Objective
from clipseg_ray.training.optimisation import Optimiser
from clipseg_ray.training.sampling import Sampler
from clipseg_ray.training.saving import imagenet_preprocessing
from clipseg_ray.training.starting import start
from clipseg_ray.training.truth_shards import TruthShards
from tests.training import world

CPU = torch.device("cpu")
SIDE = world.TINY["image_size"]


@pytest.fixture(scope="module")
def collection(scenes):
    return TruthShards([str(scenes)])


def batch_of(collection, sampling=None, positions=4, mode="crop_blur_highlight"):
    values = {"phrases_per_image": 3, "support_share": 0.5, "template": ["plain"], **(sampling or {})}
    config = SamplingConfig(**values)
    sampler = Sampler(collection.truth, config, 3)
    batches = Batches(collection, imagenet_preprocessing(SIDE), parse_mode(mode), config, threads=1, patches=SIDE // 16)
    return next(iter(batches.steps(sampler, range(1), positions, rank=0, world=1)))


def objective_of(**weights):
    begun = start(
        TrainingModelConfig(**world.TINY), ["circle square triangle red green blue yellow corners something with"], 1
    )
    return Objective(begun, OptimiserConfig(**weights))


def test_the_masks_loss_is_that_of_transformers(collection):
    objective, batch = objective_of(), batch_of(collection)
    loss, parts = objective(batch)
    model = objective.model
    tokens = objective.tokens(batch.texts)
    with torch.no_grad():
        texts = model.clip.get_text_features(tokens).pooler_output[batch.text_r]
        prompts = model.clip.get_image_features(batch.prompts).pooler_output
        for row, share, prompt in zip(batch.prompt_row_m, batch.share_m, prompts, strict=True):
            texts[row] = share * prompt + (1 - share) * texts[row]
        pixels = objective.normalise(batch.pixels).repeat_interleave(3, 0)
        logits = model(pixel_values=pixels, conditional_embeddings=texts).logits
    assert len(batch.prompts) > 2
    expected = F.binary_cross_entropy_with_logits(logits, batch.labels.float())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert parts.keys() == {"bce"}


def test_workers_report_the_same_parts_whatever_they_drew(collection):
    objective = objective_of(contrastive_weight=0.1, patch_weight=0.1)
    shown, unshown = batch_of(collection), batch_of(collection, {"support_share": 0.0})
    assert len(unshown.prompts) == 0
    parts = [objective(batch)[1] for batch in (shown, unshown)]
    assert parts[0].keys() == parts[1].keys() == {"bce", "contrastive", "patch"}
    assert parts[1]["contrastive"] == 0


def test_the_contrast_asks_which_text_each_picture_shows():
    objective = objective_of(contrastive_weight=1.0)
    with torch.no_grad():
        objective.model.clip.logit_scale.fill_(5.0)
    shown, query = torch.eye(16)[[0, 1, 2, 0]], torch.tensor([7, 8, 9, 7])
    right = objective._contrast(shown * 3, shown * 0.2, query)
    # The two images of query 7 are both right answers to both of its texts: what is left is their tie.
    assert right.item() == pytest.approx(2 * np.log(2) / 4, rel=1e-3)
    assert objective._contrast(shown, shown.roll(1, 0), query) > 50
    assert objective._contrast(shown, shown.roll(1, 0), torch.tensor([7, 7, 7, 7])) < objective._contrast(
        shown, shown.roll(1, 0), query
    )


def test_every_patch_answers_every_query(collection):
    objective, batch = objective_of(patch_weight=1.0), batch_of(collection)
    truth = collection.truth
    assert len(batch.wordings) == len(truth.queries)
    assert all(text in query.texts for text, query in zip(batch.wordings, truth.queries, strict=True))
    images = [Sampler(truth, SamplingConfig(phrases_per_image=3), 3).draw(position).image for position in range(4)]
    cover = np.zeros((4, 9, len(truth.queries)))
    for place, image in enumerate(images):
        for number in truth.of(image):
            parts = np.split(collection.masks([number])[0], [21, 43])  # whole pixels of a side of 64
            shares = [cell.mean() for part in parts for cell in np.split(part, [21, 43], 1)]
            cover[place, :, truth.query_t[number]] = shares
    model = objective.model
    with torch.no_grad():
        states = model.clip.vision_model(objective.normalise(batch.pixels)).last_hidden_state[:, 1:]
        patches = model.clip.visual_projection(model.clip.vision_model.post_layernorm(states))
        texts = model.clip.get_text_features(objective.tokens(batch.wordings)).pooler_output
        logits = patches @ texts.t() / 4 - 4.5
        expected = F.binary_cross_entropy_with_logits(logits, torch.from_numpy(cover).float(), reduction="sum") / 36
        found = objective(batch)[1]["patch"]
    assert found.item() == pytest.approx(expected.item(), rel=2e-3)  # shares are kept in steps of 1/255


def test_only_queries_of_the_named_kinds_are_shown_as_pictures(collection):
    batch = batch_of(collection, {"support_share": 1.0, "support_kinds": ["object"]}, positions=12)
    kinds = {collection.truth.queries[query].kind for query in batch.query_m.tolist()}
    assert kinds == {"object"}


def test_one_step_in_bf16_is_nearly_that_in_fp32(collection):
    batch, after = batch_of(collection), []
    for precision in ("fp32", "bf16"):
        objective = objective_of(precision=precision, lr=1e-3)
        losses = Optimiser(objective, OptimiserConfig(precision=precision, lr=1e-3), CPU).step(batch, 0)
        assert all(each.dtype == torch.float32 for each in objective.parameters())
        after.append((losses, objective.model.decoder.film_mul.weight.detach().clone()))
    (exact, weights), (rounded, other) = after
    assert rounded["bce"] == pytest.approx(exact["bce"], rel=0.01)
    assert rounded["norm"] == pytest.approx(exact["norm"], rel=0.05)
    assert (weights - other).abs().max() < 2.1e-3  # a step of AdamW moves a weight by lr, either way


def test_muon_takes_the_matrices_inside_blocks_and_adamw_the_rest(collection):
    objective, batch = objective_of(), batch_of(collection)
    before = {name: each.detach().clone() for name, each in objective.model.named_parameters()}
    config = OptimiserConfig(precision="fp32", lr=1e-30, final_lr=0.0, hidden_lr=0.1, weight_decay=0.0)
    Optimiser(objective, config, CPU).step(batch, 0)
    after = dict(objective.model.named_parameters())
    moved = {name for name, each in after.items() if (each - before[name]).abs().max() > 1e-6}
    inside = {name for name, each in before.items() if each.ndim == 2 and ".layers." in name}
    assert moved <= inside
    assert {"clip.vision_model.encoder.layers.0.mlp.fc1.weight", "decoder.layers.1.self_attn.q_proj.weight"} <= moved


def test_running_means_are_measured_and_then_put_away(collection):
    objective, batch = objective_of(), batch_of(collection)
    optimiser = Optimiser(objective, OptimiserConfig(precision="fp32", lr=1e-2, average=0.9), CPU)
    weight = objective.model.decoder.film_add.weight
    path = [weight.detach().clone()]
    for step in range(4):
        optimiser.step(batch, step)
        path.append(weight.detach().clone())
    mean = path[0]
    for step, each in enumerate(path[1:]):
        decay = min(0.9, (step + 1) / (step + 10))
        mean = decay * mean + (1 - decay) * each
    with optimiser.averaged():
        torch.testing.assert_close(weight.detach(), mean)
    assert torch.equal(weight, path[-1])


def test_the_gradients_norm_is_bounded(collection):
    batch = batch_of(collection)
    free, bound = (
        Optimiser(objective_of(), OptimiserConfig(precision="fp32", clip_norm=norm), CPU) for norm in (None, 1e-3)
    )
    assert free.step(batch, 0)["norm"] == bound.step(batch, 0)["norm"] > 1e-3
    moments = [list(optimiser.state()["adamw"]["state"].values()) for optimiser in (free, bound)]
    sums = [sum(float(each["exp_avg"].square().sum()) for each in found) ** 0.5 for found in moments]
    assert sums[1] == pytest.approx(1e-4, rel=0.01)  # a tenth of the gradient, after one step
    assert sums[0] > 10 * sums[1]


def test_batches_of_workers_together_are_the_batch_of_one(collection):
    config = SamplingConfig(phrases_per_image=2, template=["plain"], crop_scale=(0.5, 1), mirror=0.5)
    sampler = Sampler(collection.truth, config, 0)
    batches = Batches(collection, imagenet_preprocessing(SIDE), parse_mode("highlight"), config, threads=2)
    alone = list(batches.steps(sampler, range(2, 5), 4, rank=0, world=1))
    for number in range(3):
        shares = [list(batches.steps(sampler, range(2, 5), 4, rank=rank, world=2))[number] for rank in (0, 1)]
        for name in ("pixels", "labels", "prompts", "share_m", "query_m"):
            together = torch.cat([getattr(share, name) for share in shares])
            assert torch.equal(together, getattr(alone[number], name))


def test_what_is_mirrored_and_cut_out_is_mirrored_and_cut_out_of_every_mask(collection):
    """A thing's colour stays below its mask, and its patches' cover is what its mask covers."""
    sampling = {"negatives": 0, "support_share": 0, "phrases_per_image": 1}
    whole = batch_of(collection, sampling, positions=24)
    mirrored = batch_of(collection, sampling | {"mirror": 1}, positions=24)
    cut = batch_of(collection, sampling | {"crop_scale": (0.6, 0.9), "mirror": 0.5}, positions=24)
    assert torch.equal(mirrored.pixels, whole.pixels.flip(2))
    assert torch.equal(mirrored.labels, whole.labels.flip(2))
    side = SIDE // 16
    covers = [each.cover_tn.view(-1, side, side) for each in (whole, mirrored)]
    assert torch.allclose(covers[1], covers[0].flip(2), atol=0.005)
    assert not torch.allclose(covers[0], covers[0].flip(2), atol=0.1)
    assert cut.labels.sum() > 1.2 * whole.labels.sum()  # what is asked for is kept, and larger
    for batch in (whole, cut):
        for b, text in enumerate(batch.texts[r] for r in batch.text_r):
            channel = {"red": 0, "green": 1, "blue": 2}.get(text.split()[0])
            inside = batch.pixels[b][batch.labels[b]].float().mean(0)
            assert channel is None or int(inside.argmax()) == channel
        for t, (b, query) in enumerate(zip(batch.image_t.tolist(), batch.query_t.tolist(), strict=True)):
            if collection.truth.queries[query].texts[0] == batch.texts[batch.text_r[b]]:
                label = batch.labels[b].float().view(side, 16, side, 16).mean((1, 3)).flatten()
                assert torch.allclose(batch.cover_tn[t], label, atol=0.1)  # a label's pixels are whole ones


def test_a_picture_prompt_is_mirrored_too(collection):
    sampling = {"negatives": 0, "support_share": 1.0, "phrases_per_image": 2}
    whole, mirrored = (batch_of(collection, sampling | {"mirror": share}, mode="highlight") for share in (0, 1))
    assert len(whole.prompts) == len(mirrored.prompts) > 2
    assert torch.allclose(mirrored.prompts, whole.prompts.flip(3), atol=1e-5)
    assert not torch.allclose(mirrored.prompts, whole.prompts, atol=0.1)


def test_texts_are_cleaned_as_queries_are():
    objective = objective_of()
    dirty, clean = objective.tokens(["the dog’s bowl"]), objective.tokens(["the dog's bowl"])
    assert dirty.tolist() == clean.tolist()


def test_the_decoders_dropout_is_for_training_alone(collection):
    begun, batch = objective_of(), batch_of(collection)
    objective = Objective(start(TrainingModelConfig(**world.TINY), ["circle"], 1), OptimiserConfig(), 0.5)
    with torch.no_grad():
        trained = [float(objective.train()(batch)[0]) for _ in range(3)]
        measured = [float(objective.eval()(batch)[0]) for _ in range(2)]
    assert len(set(trained)) == 3
    assert len(set(measured)) == 1
    assert TrainingModelConfig().decoder_dropout == 0.1
    assert not [module for module in begun.model.modules() if isinstance(module, torch.nn.Dropout) and module.p]

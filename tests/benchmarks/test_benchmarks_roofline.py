from transformers import CLIPSegConfig

from benchmarks.roofline import encoder_products


def test_the_products_of_a_block_add_up_to_its_linear_layers():
    config = CLIPSegConfig(vision_config={"patch_size": 16, "image_size": 224})
    total = sum(2 * rows * inner * columns for rows, inner, columns in encoder_products(config, 352, 2))
    assert total == 2 * 2 * 485 * (4 * 768**2 + 2 * 768 * 3072)

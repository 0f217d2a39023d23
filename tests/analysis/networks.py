"""Small networks with statistics as training leaves them, and ways to look into them that are not those tested."""

import torch
from torch import nn

from sresnet import create_model

SMALL = {"base_filters": 3, "num_steps": 3, "in_channels": 2, "num_classes": 5}


def trained(name="sresnet8", *, size=(7, 9), **fields):
    """A network whose norms have statistics, gains and shifts of their own, in evaluation mode."""
    model = create_model(name, **(({} if name == "vgg11" else SMALL) | fields))
    for parameter_name, parameter in model.named_parameters():
        if ".norm" in parameter_name or parameter_name.endswith("skip.weight"):
            nn.init.normal_(parameter, mean=1.0, std=0.3)
    model.train()
    with torch.no_grad():
        for _ in range(8):
            model(torch.randn(6, model.config.in_channels, *size))
    return model.eval()


def batch(model, images=3, size=(7, 9), frames=0):
    """Random images, or event frames, and labels."""
    shape = (images, frames, model.config.in_channels) if frames else (images, model.config.in_channels)
    return torch.randn(*shape, *size), torch.randint(0, model.config.num_classes, (images,))


def whole_run(model, x):
    """Records of all neurons, and what every convolution received, of one call over all steps, [T, N, ...]."""
    received, handles = {}, []
    names = {module: name.removeprefix("layers.") for name, module in model.named_modules()}
    steps = model.encode(x, None).shape[0]

    def note(module, inputs):
        value = inputs[0].unflatten(0, (-1, len(x)))
        received[names[module]] = value.expand(steps, *value.shape[1:])

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_pre_hook(note))
    with torch.no_grad():
        scores, records = model(x, record=model.neuron_names)
    for handle in handles:
        handle.remove()
    return scores, records, received

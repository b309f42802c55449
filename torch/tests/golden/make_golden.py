"""Generates golden.safetensors and golden.json: results of PyTorch for torch/tests/golden/main.rs.

    pip install torch==2.11.0 numpy safetensors
    python torch/tests/golden/make_golden.py

Each case has one model, one batch and one optimizer. The files contain the initial weights, the
logits, every gradient, the losses of ten steps and the weights after them. The script uses only
PyTorch's modules, losses and optimizers and shares nothing with the Rust code.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

VOCABULARY, EMBEDDING, UNITS, STEPS = 23, 6, 5, 10
LENGTHS = [7, 3, 1, 5]

# Fields have the names of the configuration, except `logits`, the size of the head.
CASES = {
    "adam_last": dict(optimizer="adam", pooling="last", logits=1),
    "adam_decay_mean": dict(optimizer="adam", pooling="mean", logits=1, weight_decay=0.01),
    "adamw_max_bidirectional": dict(
        optimizer="adamw", pooling="max", logits=1, bidirectional=True, weight_decay=0.1
    ),
    "rmsprop_two_layers": dict(optimizer="rmsprop", pooling="last", logits=3, layers=2),
    "rmsprop_momentum": dict(
        optimizer="rmsprop", pooling="mean", logits=1, momentum=0.5, weight_decay=0.01
    ),
    "adadelta_deep_bidirectional": dict(
        optimizer="adadelta", pooling="mean", logits=3, layers=2, bidirectional=True
    ),
    "sgd_plain": dict(optimizer="sgd", pooling="last", logits=1, gradient_clip=0.05),
    "sgd_nesterov_smoothing": dict(
        optimizer="sgd", pooling="max", logits=3, momentum=0.9, nesterov=True,
        weight_decay=0.01, label_smoothing=0.1,
    ),
    "adam_class_weights": dict(
        optimizer="adam", pooling="last", logits=3, bidirectional=True,
        class_weights=[1.0, 3.0, 0.5], label_smoothing=0.2,
    ),
    "adam_attention": dict(optimizer="adam", pooling="attention", logits=1, weight_decay=0.01),
    "rmsprop_attention_deep_bidirectional": dict(
        optimizer="rmsprop", pooling="attention", logits=3, layers=2, bidirectional=True
    ),
    "sgd_every_pooling": dict(
        optimizer="sgd", pooling=["last", "mean", "max", "attention"], logits=3, momentum=0.9,
        bidirectional=True,
    ),
    "adamw_max_attention": dict(
        optimizer="adamw", pooling=["attention", "max"], logits=1, layers=2
    ),
    "adam_adversarial": dict(
        optimizer="adam", pooling="mean", logits=1, bidirectional=True,
        adversarial=dict(epsilon=0.5, weight=0.7),
    ),
    "sgd_adversarial_attention": dict(
        optimizer="sgd", pooling=["attention", "last"], logits=3, layers=2, label_smoothing=0.1,
        class_weights=[1.0, 3.0, 0.5], adversarial=dict(epsilon=3.0, weight=1.0),
    ),
    "adam_virtual_adversarial": dict(
        optimizer="adam", pooling="mean", logits=1, bidirectional=True,
        virtual_adversarial=dict(epsilon=2.0, weight=0.7, xi=0.1),
    ),
    "sgd_virtual_adversarial_entropy": dict(
        optimizer="sgd", pooling=["attention", "last"], logits=3, layers=2,
        class_weights=[1.0, 3.0, 0.5], virtual_adversarial=dict(epsilon=3.0, weight=2.0, xi=0.1),
        entropy_weight=0.5,
    ),
    "adam_several_labels": dict(
        optimizer="adam", pooling="last", logits=3, multi_label=True, bidirectional=True,
        class_weights=[1.0, 3.0, 0.5], label_smoothing=0.2,
    ),
    "sgd_several_labels_focal": dict(
        optimizer="sgd", pooling=["attention", "last"], logits=3, multi_label=True, momentum=0.9,
        class_weights=[1.0, 3.0, 0.5], focal_gamma=1.5, adversarial=dict(epsilon=3.0, weight=1.0),
    ),
    "adam_several_labels_unlabelled": dict(
        optimizer="adam", pooling="mean", logits=3, multi_label=True, soft=True,
        virtual_adversarial=dict(epsilon=2.0, weight=0.7, xi=0.1), entropy_weight=0.5,
    ),
    "adam_focal": dict(
        optimizer="adam", pooling="mean", logits=3, focal_gamma=2.0,
        class_weights=[1.0, 3.0, 0.5], label_smoothing=0.1,
    ),
    "adam_soft_labels": dict(optimizer="adam", pooling="last", logits=3, soft=True),
    "adam_distillation": dict(
        optimizer="adam", pooling="last", logits=3, class_weights=[1.0, 3.0, 0.5],
        distillation=dict(weight=0.7, temperature=2.0),
    ),
    "sgd_distillation_several_labels": dict(
        optimizer="sgd", pooling="max", logits=3, multi_label=True,
        distillation=dict(weight=0.7, temperature=3.0),
    ),
}
# Probabilities of another model for each text.
TEACHER = torch.tensor([[0.2, 0.5, 0.3], [0.9, 0.05, 0.05], [0.1, 0.1, 0.8], [0.5, 0.25, 0.25]])
LEARNING_RATES = dict(adam=0.02, adamw=0.02, rmsprop=0.01, adadelta=1.0, sgd=0.5)


class Classifier(nn.Module):
    def __init__(self, case):
        super().__init__()
        self.case = case
        directions = 2 if case.get("bidirectional") else 1
        self.embedding = nn.Embedding(VOCABULARY, EMBEDDING)
        self.lstm = nn.LSTM(
            EMBEDDING, UNITS, case.get("layers", 1), batch_first=True,
            bidirectional=case.get("bidirectional", False),
        )
        pooling = case["pooling"]
        self.poolings = [pooling] if isinstance(pooling, str) else pooling
        self.head = nn.Linear(len(self.poolings) * UNITS * directions, case["logits"])
        if "attention" in self.poolings:
            self.attention = nn.ParameterDict({"query": torch.randn(UNITS * directions)})
        for name, parameter in self.lstm.named_parameters():
            if name.startswith("bias_hh"):
                # Only one bias is trained, as in Keras.
                nn.init.zeros_(parameter)
                parameter.requires_grad_(False)

    def forward(self, ids, lengths):
        return self.classify(self.embedding(ids), lengths)

    def classify(self, vectors, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(
            vectors, lengths, batch_first=True, enforce_sorted=False
        )
        states, (final, _) = self.lstm(packed)
        states, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True)
        mask = torch.arange(vectors.shape[1])[None, :] < lengths[:, None]
        pooled = [self.pool(pooling, states, final, mask) for pooling in self.poolings]
        return self.head(torch.cat(pooled, dim=1))

    def pool(self, pooling, states, final, mask):
        if pooling == "last":
            directions = 2 if self.case.get("bidirectional") else 1
            return torch.cat(list(final[-directions:]), dim=1)
        if pooling == "mean":
            return (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        if pooling == "max":
            return states.masked_fill(~mask[:, :, None], float("-inf")).max(1).values
        scores = (states @ self.attention["query"]).masked_fill(~mask, float("-inf"))
        return (scores.softmax(1)[:, :, None] * states).sum(1)


def make_optimizer(case, parameters):
    kind, decay = case["optimizer"], case.get("weight_decay", 0.0)
    rate, momentum = LEARNING_RATES[kind], case.get("momentum", 0.0)
    if kind == "adam":
        return torch.optim.Adam(parameters, rate, eps=1e-7, weight_decay=decay)
    if kind == "adamw":
        return torch.optim.AdamW(parameters, rate, eps=1e-7, weight_decay=decay)
    if kind == "rmsprop":
        return torch.optim.RMSprop(
            parameters, rate, alpha=0.9, eps=1e-7, weight_decay=decay, momentum=momentum
        )
    if kind == "adadelta":
        return torch.optim.Adadelta(parameters, rate, rho=0.95, eps=1e-6, weight_decay=decay)
    return torch.optim.SGD(
        parameters, rate, momentum=momentum, weight_decay=decay,
        nesterov=case.get("nesterov", False),
    )


def compute_loss(case, logits, labels):
    if "distillation" in case:
        return distillation_loss(case, logits, labels)
    return loss_of_labels(case, logits, labels)


def distillation_loss(case, logits, labels):
    """Return the loss of Hinton, Vinyals and Dean (2015)."""
    weight, temperature = case["distillation"]["weight"], case["distillation"]["temperature"]
    if case.get("multi_label"):
        teacher = (TEACHER.logit() / temperature).sigmoid()
        soft = nn.functional.binary_cross_entropy_with_logits(logits / temperature, teacher)
    else:
        teacher = (TEACHER.log() / temperature).softmax(dim=1)
        soft = nn.functional.cross_entropy(logits / temperature, teacher, reduction="sum")
        soft = soft / torch.tensor(case["class_weights"])[labels].sum()
    hard = loss_of_labels(case, logits, labels)
    return (1 - weight) * hard + weight * temperature ** 2 * soft


def loss_of_labels(case, logits, labels):
    if case.get("multi_label"):
        return loss_of_several_labels(case, logits, labels)
    if "focal_gamma" in case:
        return focal_loss(case, logits, labels)
    if case["logits"] == 1:
        return nn.functional.binary_cross_entropy_with_logits(logits[:, 0], labels.float())
    weights = case.get("class_weights")
    return nn.functional.cross_entropy(
        logits, labels, torch.tensor(weights) if weights else None,
        label_smoothing=case.get("label_smoothing", 0.0),
    )


def loss_of_several_labels(case, logits, labels):
    smoothing, weights = case.get("label_smoothing", 0.0), case.get("class_weights")
    labels = labels * (1 - smoothing) + smoothing / 2
    weights = torch.tensor(weights) if weights else None
    if "focal_gamma" not in case:
        return nn.functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=weights)
    p, gamma = logits.sigmoid(), case["focal_gamma"]
    positive = weights * labels * (1 - p) ** gamma * p.log()
    return -(positive + (1 - labels) * p ** gamma * (1 - p).log()).mean()


def focal_loss(case, logits, labels):
    """Return the focal loss (Lin et al. 2017) of classes that exclude each other."""
    smoothing, weights = case["label_smoothing"], torch.tensor(case["class_weights"])
    targets = nn.functional.one_hot(labels, case["logits"]) * (1 - smoothing)
    targets = targets + smoothing / case["logits"]
    p = logits.softmax(dim=1)
    losses = -weights * targets * (1 - p) ** case["focal_gamma"] * p.log()
    return losses.sum() / weights[labels].sum()


def make_labels(case):
    """Return a label for each text, a row of labels, or a row of probabilities."""
    if case.get("soft"):
        return torch.tensor(
            [[0.2, 0.5, 0.3], [1.0, 0.0, 0.0], [0.1, 0.1, 0.8], [0.5, 0.25, 0.25]]
        )
    if case.get("multi_label"):
        return torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    return torch.tensor([0, 1, 1, 0] if case["logits"] == 1 else [0, 1, 2, 1])


def normalize(model, ids, lengths):
    """Return the normalized word vectors of texts, and the function from them to logits."""
    vectors = model.embedding.weight
    counts = torch.bincount(ids[ids > 0], minlength=VOCABULARY)
    frequencies = counts / counts.sum()
    mean = frequencies @ vectors.detach()
    deviation = (frequencies @ (vectors.detach() - mean) ** 2).sqrt()
    normalized = ((vectors - mean) / deviation)[ids]
    return normalized, lambda vectors: model.classify(vectors * deviation + mean, lengths)


def scale(vectors, norm):
    """Scale the vectors of each text to a common norm."""
    return norm * vectors / vectors.flatten(1).norm(dim=1)[:, None, None]


def adversarial_loss(case, model, ids, lengths, labels):
    """Return the loss on perturbed normalized word vectors (Miyato, Dai and Goodfellow 2017)."""
    normalized, classify = normalize(model, ids, lengths)
    [gradient] = torch.autograd.grad(compute_loss(case, classify(normalized), labels), [normalized])
    perturbed = normalized + scale(gradient, case["adversarial"]["epsilon"])
    return compute_loss(case, classify(perturbed), labels)


def log_probabilities(logits):
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    return logits.log_softmax(dim=1)


def mean_entropy(case, logits):
    if case.get("multi_label"):
        return torch.distributions.Bernoulli(logits=logits).entropy().mean()
    predictions = log_probabilities(logits)
    return -(predictions.exp() * predictions).sum(dim=1).mean()


def virtual_adversarial_loss(case, model, ids, lengths):
    """Return the divergence of the predictions on perturbed word vectors (Miyato et al. 2017)."""
    settings = case["virtual_adversarial"]
    normalized, classify = normalize(model, ids, lengths)
    logits = classify(normalized).detach()
    predictions = log_probabilities(logits)

    def divergence(vectors):
        if case.get("multi_label"):
            first, second = (
                torch.distributions.Bernoulli(logits=each) for each in (logits, classify(vectors))
            )
            return torch.distributions.kl_divergence(first, second).mean()
        perturbed = log_probabilities(classify(vectors))
        return nn.functional.kl_div(perturbed, predictions, reduction="batchmean", log_target=True)

    random = scale(random_signs(ids.shape, lengths), settings["xi"]).requires_grad_()
    [gradient] = torch.autograd.grad(divergence(normalized.detach() + random), [random])
    return divergence(normalized + scale(gradient, settings["epsilon"]))


def random_signs(shape, lengths):
    """Draw the signs that src/backend/random_signs.rs draws with seed 0."""
    signs = torch.zeros(*shape, EMBEDDING)
    for example, length in enumerate(lengths.tolist()):
        for word in range(length):
            bits = 0
            for number in [0, 0, example, word, 0]:  # seed, input, example, word, block
                bits = split_mix(bits ^ number)
            for component in range(EMBEDDING):
                signs[example, word, component] = 1 if bits >> component & 1 else -1
    return signs


def split_mix(state):
    """Return the next output of SplitMix64 (Steele, Lea and Flood 2014)."""
    mask = (1 << 64) - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def run(case, out, prefix):
    lengths = torch.tensor(LENGTHS)
    ids = torch.randint(4, VOCABULARY, (len(LENGTHS), max(LENGTHS)))
    ids[torch.arange(max(LENGTHS))[None, :] >= lengths[:, None]] = 0
    labels = make_labels(case)
    model = Classifier(case)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = make_optimizer(case, trainable)
    out[f"{prefix}/ids"], out[f"{prefix}/labels"] = ids, labels
    for name, tensor in model.state_dict().items():
        out[f"{prefix}/before/{name}"] = tensor.clone()
    if "distillation" in case:
        out[f"{prefix}/teacher"] = TEACHER.clone()
    losses = []
    for step in range(STEPS):
        logits = model(ids, lengths)
        loss = compute_loss(case, logits, labels)
        losses.append(loss.item())
        if "adversarial" in case:
            perturbed = adversarial_loss(case, model, ids, lengths, labels)
            loss = loss + case["adversarial"]["weight"] * perturbed
        if "virtual_adversarial" in case:
            perturbed = virtual_adversarial_loss(case, model, ids, lengths)
            loss = loss + case["virtual_adversarial"]["weight"] * perturbed
        if "entropy_weight" in case:
            loss = loss + case["entropy_weight"] * mean_entropy(case, logits)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            out[f"{prefix}/logits"] = logits.detach().clone()
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    out[f"{prefix}/gradient/{name}"] = parameter.grad.clone()
        if "gradient_clip" in case:
            nn.utils.clip_grad_norm_(trainable, case["gradient_clip"])
        optimizer.step()
    out[f"{prefix}/losses"] = torch.tensor(losses)
    for name, tensor in model.state_dict().items():
        out[f"{prefix}/after/{name}"] = tensor.clone()


def main():
    torch.manual_seed(20)
    out = {}
    for name, case in CASES.items():
        run(case, out, name)
    # The Rust test reads the cases from this file.
    cases = {
        name: case | {"learning_rate": LEARNING_RATES[case["optimizer"]]}
        for name, case in CASES.items()
    }
    description = {"torch": torch.__version__.split("+")[0], "lengths": LENGTHS, "cases": cases}
    here = Path(__file__).parent
    save_file(out, here / "golden.safetensors")
    (here / "golden.json").write_text(json.dumps(description, indent=1) + "\n")


if __name__ == "__main__":
    main()

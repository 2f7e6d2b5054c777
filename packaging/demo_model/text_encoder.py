"""Builds the demo's CLIPTokenizer and trains its CLIPTextModel to know what its captions say.

    python text_encoder.py --minutes 4

The tokenizer is byte-level with `</w>` word ends, as CLIP's, so any text tokenises. The encoder learns to tell subject,
colour, scene and style from a caption (also with strange words in between) and is then frozen.
"""

from __future__ import annotations

import argparse
import random

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from pictures import BASE_STYLES, COLOURS, SCENES, SUBJECTS, Spec, caption
from work import WORK, Budget, State, set_learning_rate

VOCABULARY_SIZE = 1400
WORDS = [
    "a",
    "an",
    "the",
    "of",
    "in",
    "on",
    "at",
    "with",
    "and",
    "one",
    "two",
    "big",
    "small",
    "little",
    "photo",
    "picture",
    "drawing",
    "painting",
    "sketch",
    "style",
    "character",
    "person",
    "man",
    "woman",
    "girl",
    "boy",
    "face",
    "eyes",
    "hair",
    "smile",
    "standing",
    "sitting",
    "looking",
    "front",
    "side",
    "view",
    "background",
    "sky",
    "sun",
    "moon",
    "sea",
    "sand",
    "grass",
    "snow",
    "forest",
    "city",
    "street",
    "room",
    "light",
    "dark",
    "bright",
    "soft",
    "glowing",
    "neon",
    "colour",
    "color",
    "colourful",
    "black",
    "brown",
    "grey",
    "silver",
    "gold",
    "cute",
    "happy",
    "sad",
    "creature",
    "monster",
    "robot",
    "alien",
    "dog",
    "bird",
    "horse",
    "dragon",
    "boat",
    "ship",
    "train",
    "plane",
    "ball",
    "hat",
    "dress",
    "shirt",
    "best",
    "quality",
    "masterpiece",
    "simple",
    "detailed",
    "high",
    "low",
    "blurry",
    "ugly",
]


def build_tokenizer() -> CLIPTokenizer:
    """Byte-pair merges learnt from the captions and some common words."""
    rng = random.Random(0)
    lines = [caption(Spec(s, c, b, t), rng) for s in SUBJECTS for c in COLOURS for b in SCENES for t in BASE_STYLES]
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - 512,
        end_of_word_suffix="</w>",
        initial_alphabet=[],
        show_progress=False,
        special_tokens=[],
    )
    tokenizer.train_from_iterator(lines + WORDS * 40, trainer)
    import json

    learnt = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in learnt["merges"]]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = (
        alphabet + [c + "</w>" for c in alphabet] + ["".join(m) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    )
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def build_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A fresh encoder: 3 layers, 128 wide."""
    torch.manual_seed(0)
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=128, intermediate_size=384, num_hidden_layers=3, num_attention_heads=4,
            max_position_embeddings=77, projection_dim=128, hidden_act="quick_gelu",
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.eos_token_id,
        )
    )  # fmt: skip


def encode(tokenizer: CLIPTokenizer, encoder: CLIPTextModel, captions: list[str]) -> torch.Tensor:
    """Captions to the states that the UNet attends to: (N, 77, 128)."""
    ids = tokenizer(captions, padding="max_length", truncation=True, max_length=77, return_tensors="pt").input_ids
    return encoder(ids).last_hidden_state


def _with_strange_words(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    for _ in range(rng.choice((0, 0, 1, 2))):
        junk = "".join(rng.choice("abcdefghijklmnoprstuvwxyz") for _ in range(rng.randrange(3, 8)))
        words.insert(rng.randrange(len(words) + 1), rng.choice((junk, rng.choice(WORDS))))
    return " ".join(words)


def train(minutes: float) -> None:
    """Attribute prediction from the mean of the states, until the budget is spent."""
    tokenizer = build_tokenizer()
    encoder = build_encoder(tokenizer)
    classes = [(*SUBJECTS,), (*COLOURS,), (*SCENES, ""), (*BASE_STYLES, "")]
    model = torch.nn.ModuleDict(
        {"encoder": encoder, "heads": torch.nn.ModuleList(torch.nn.Linear(128, len(c)) for c in classes)}
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    budget = Budget(minutes, peak_learning_rate=1e-3)
    state, rng = State("text_encoder", model, optimizer, budget), random.Random(1)
    state.load()
    budget.tick()
    while (share := budget.tick()) < 1:
        set_learning_rate(optimizer, budget.learning_rate(share))
        texts, labels = [], []
        for _ in range(64):
            spec = Spec(rng.choice(classes[0]), rng.choice(classes[1]), rng.choice(SCENES), rng.choice(BASE_STYLES))
            text = caption(spec, rng)
            scene, style = spec.scene if spec.scene in text else "", spec.style if spec.style in text else ""
            labels.append([c.index(v) for c, v in zip(classes, (spec.subject, spec.colour, scene, style), strict=True)])
            texts.append(_with_strange_words(text, rng))
        states, target = encode(tokenizer, encoder, texts), torch.tensor(labels)
        # Any state may be what the UNet looks at, so two random ones are asked, the end of the text among them.
        at = torch.randint(14, 77, (2,))
        loss = sum(
            torch.nn.functional.cross_entropy(head(states[:, p]), target[:, i])
            for p in at
            for i, head in enumerate(model["heads"])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        state.step += 1
        state.update_average()
        if state.step % 50 == 0:
            print(f"step {state.step} {share:.0%} loss {loss.item():.4f}", flush=True)
            state.save()
    model.load_state_dict(state.average)
    encoder.save_pretrained(WORK / "text_encoder")
    tokenizer.save_pretrained(WORK / "tokenizer")
    print("done", len(tokenizer), "tokens", sum(p.numel() for p in encoder.parameters()), "parameters")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=4)
    WORK.mkdir(exist_ok=True)
    train(parser.parse_args().minutes)

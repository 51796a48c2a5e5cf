"""Names of metrics as people log them: which split they are of, and whether more is better."""

from __future__ import annotations

import re

FORM = re.compile(r"(train|val|test)_[a-z][a-z0-9_]*")
SPLITS = {
    **dict.fromkeys(("val", "valid", "validation", "eval", "dev"), "val"),
    "test": "test",
    **dict.fromkeys(("train", "training", "tr"), "train"),
}
SAME = {  # another word for the same quantity
    **dict.fromkeys(("acc", "acc1", "top1", "accuracy1", "top_1", "acc_1"), "accuracy"),
    "mean_accuracy": "accuracy",
    "balanced_acc": "balanced_accuracy",
}
MAX = {
    *("accuracy", "auc", "auroc", "auprc", "f1", "precision", "recall", "iou", "miou", "dice"),
    *("r2", "psnr", "ssim", "top5", "acc5", "bleu", "reward", "score", "map", "kappa"),
}
MIN = {
    *("loss", "error", "err", "mae", "mse", "rmse", "nll", "perplexity", "ppl", "wer", "cer"),
    *("fid", "nae", "mape", "rmsle", "cost"),
}
SHARES = {"accuracy", "top5", "acc5", "f1", "precision", "recall", "auc", "auroc", "iou", "miou"}


def _words(name: str) -> list[str]:
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)  # valAcc
    return [word for word in re.split(r"[^a-z0-9]+", apart.lower()) if word]


def split_of(name: str) -> str:
    """Train, val or test, by a word of the name; "" where it says none."""
    return next((SPLITS[word] for word in _words(name) if word in SPLITS), "")


def quantity_of(name: str) -> str:
    """What is measured, as a name of this record: "Val/Acc@1" is accuracy."""
    words = [word for word in _words(name) if word not in SPLITS]
    joined = "_".join(words)
    held = SAME.get(joined, joined) or "value"
    held = re.sub(r"_acc$", "_accuracy", held)
    return held if held[0].isalpha() else f"metric_{held}"


def known_mode(quantity: str) -> str:
    """Which values are better, by the last word of what is measured; "" where it says nothing."""
    last = quantity.rpartition("_")[2]
    return "max" if last in MAX else "min" if last in MIN else ""


def is_share(quantity: str) -> bool:
    """Whether it is a fraction, which people also give in percent."""
    return quantity.rpartition("_")[2] in SHARES

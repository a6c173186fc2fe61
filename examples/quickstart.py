"""Load a bundled checkpoint, recognise digits, and follow the ticks of one prediction.

Run: python -m examples.quickstart
"""

import ctm


def main() -> None:
    """Predict one image, a batch of images, and one image tick by tick."""
    pipeline = ctm.pipeline("checkpoints/digits")  # a directory, or a model of the Hub such as "me/ctm-digits"

    print(pipeline("data/examples/digit-3.png")["sentence"])

    for result in pipeline(["data/examples/digit-0.png", "data/examples/digit-7.png"]):
        print(result["label"], result["ticks_used"], result["halted_by"])

    for tick in pipeline.stream("data/examples/digit-8.png", policy="certainty>0.9|ticks=8"):
        print(f"tick {tick['tick']}: {tick['label']}, certainty {tick['certainty']:.2f}, energy {tick['energy']:.1f}")


if __name__ == "__main__":
    main()

import sys
from training.config import read_recipe
from training.loop import train
from training.runs import RunFolder
from pathlib import Path
if __name__ == "__main__":
    _, cmd, recipe, run, *over = sys.argv
    train(read_recipe(recipe, over), RunFolder(Path(run)))

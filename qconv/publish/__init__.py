"""What goes beside a GGUF file when it is handed on: a model card for the Hub, a Modelfile for Ollama."""

from qconv.publish.card import CardOptions, card
from qconv.publish.evaluations import Evaluated, read_evaluations
from qconv.publish.modelfile import modelfile

__all__ = ["CardOptions", "Evaluated", "card", "modelfile", "read_evaluations"]

"""Entry point of a service v3 whose model is in ONNX.

To serve it, run make_model.py, copy this folder to src/api/v3/, and set these variables:

    api_services: [{name: v1, replicas: 3}, {name: v2, replicas: 1, experiment_group: debug},
                   {name: v3, replicas: 1, experiment_group: onnx}]
    api_extra_requirements: [onnxruntime==1.32.0]
"""

from importlib import import_module
from pathlib import Path

from pydantic import BaseModel, Field

from api.app import build_app
from api.log import configure_logging
from api.schema import Served
from api.settings import Settings

FOLDER = Path(__file__).parent


class Answer(BaseModel):
    """What v3 answers: the label."""

    prediction_value: str = Field(serialization_alias="prediction value")


def answer(served: Served) -> Answer:
    """Shape one prediction for a client of v3."""
    return Answer(prediction_value=served.prediction.label)


settings = Settings.from_environment()
configure_logging(settings.log_level, settings.replica)
# By the package's own name, which is another one here than in src/api.
predictor = import_module(f"{__package__}.predictor").OnnxPredictor(FOLDER)
app = build_app("v3", Answer, answer, settings.replica, predictor)

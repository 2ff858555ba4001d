"""The example of a model in ONNX is served through the same protocol, by the same application."""

import importlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.model import ModelError

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/onnx"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as a service v3, in a package like src/api/v3."""
    folder = tmp_path_factory.mktemp("example") / "onnx_v3"
    shutil.copytree(EXAMPLE, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE)
        importlib.import_module("make_model").main(folder)
    return folder


@pytest.fixture(scope="module")
def app(service: Path) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(service.parent)
        patch.setenv("MODEL_DIR", str(service))
        patch.setenv("REPLICA", "v3-1")
        return importlib.import_module("onnx_v3.main").app


def test_it_answers_as_its_card_says(service: Path, app: Any) -> None:
    client = TestClient(app)
    card = json.loads((service / "model.json").read_text())
    for golden in card["golden"]:
        answer = client.post("/predict", json={"sentence": golden["sentence"]})
        assert answer.json() == {"prediction value": golden["prediction"]}
    batch = {"sentences": [golden["sentence"] for golden in card["golden"]]}
    answers = client.post("/predict/batch", json=batch).json()["predictions"]
    assert answers == [{"prediction value": golden["prediction"]} for golden in card["golden"]]
    assert client.get("/readyz").json()["model_version"] == card["version"]
    assert 'predictor="onnx"' in client.get("/metrics").text


@pytest.mark.usefixtures("app")
def test_a_model_that_answers_otherwise_is_refused(service: Path, tmp_path: Path) -> None:
    for name in ("model.onnx", "model.json"):
        shutil.copy(service / name, tmp_path)
    card = json.loads((tmp_path / "model.json").read_text())
    card["golden"][0]["prediction"] = "no class"
    (tmp_path / "model.json").write_text(json.dumps(card))
    predictor = sys.modules["onnx_v3.predictor"]
    with pytest.raises(ModelError, match=r"golden\[0\]"):
        predictor.OnnxPredictor(tmp_path)

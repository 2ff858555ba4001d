"""The model behind LitServe."""

# mypy: ignore-errors

import os

import joblib
import litserve


class Emotions(litserve.LitAPI):
    def setup(self, device):
        self.model = joblib.load(os.path.join(os.environ["MODEL_DIR"], "model.joblib"))

    def decode_request(self, request):
        return request["sentence"]

    def predict(self, sentence):
        row = self.model.predict_proba([sentence])[0]
        return str(self.model.classes_[row.argmax()])

    def encode_response(self, label):
        return {"prediction value": label}


if __name__ == "__main__":
    server = litserve.LitServer(Emotions(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
    )

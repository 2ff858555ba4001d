"""What is removed after an image build: stages with a model, and those of former builds."""

from dataclasses import dataclass, field

from plugins.modules.build_stages import clean


@dataclass
class Engine:
    """Stands for an engine: id -> (parent, labels); removes as `docker image rm` does."""

    images: dict[str, tuple[str, set[str]]]
    tagged: set[str] = field(default_factory=set)
    in_use: set[str] = field(default_factory=set)

    def leaves(self) -> list[str]:
        parents = {parent for parent, _ in self.images.values()}
        return [name for name in self.images if name not in parents | self.tagged]

    def remove(self, name: str, prune: bool) -> None:
        parent, _ = self.images.pop(name)
        if prune and parent in self.leaves():
            self.remove(parent, prune)

    def __call__(self, arguments: list[str]) -> list[str] | None:
        if arguments[1] == "ls":
            wanted = {
                one.removeprefix("--filter=label=")
                for one in arguments
                if one.startswith("--filter=label=")
            }
            return [name for name in self.leaves() if wanted <= self.images[name][1]]
        name = arguments[-1]
        if arguments[1] == "inspect":
            return [self.images[name][0]]
        if name in self.in_use or name not in self.leaves():
            return None
        self.remove(name, "--no-prune" not in arguments)
        return []


STAGE, MODEL = "stack.build=api", "stack.build.model"
WITH, WITHOUT = {STAGE, MODEL}, {STAGE}
# A base, Python, the libraries; then the model and the code on top of them.
BUILT: dict[str, tuple[str, set[str]]] = {
    "base": ("", set()),
    "python": ("base", set()),
    "libraries": ("python", WITHOUT),
    "model": ("libraries", WITH),
    "code": ("model", WITH),
    "image": ("python", set()),
}


def test_stages_with_a_model_go_and_the_libraries_stay() -> None:
    engine = Engine(BUILT.copy(), tagged={"base", "image"})
    assert clean(engine, "api") == ["code", "model"]
    assert engine.images.keys() == {"base", "python", "libraries", "image"}


def test_a_second_time_there_is_nothing_to_do() -> None:
    engine = Engine(BUILT.copy(), tagged={"base", "image"})
    clean(engine, "api")
    assert clean(engine, "api") == []


def test_libraries_of_former_builds_go_with_what_they_were_built_on() -> None:
    former = {
        "old-base": ("", set()),
        "old-python": ("old-base", set()),
        "old-libraries": ("old-python", WITHOUT),
    }
    engine = Engine(BUILT | former, tagged={"base", "image"})
    clean(engine, "api")
    assert engine.images.keys() == {"base", "python", "libraries", "image"}


def test_a_stage_of_an_earlier_version_on_the_same_libraries_goes_and_they_stay() -> None:
    # It had no label for the model.
    engine = Engine(BUILT | {"earlier": ("libraries", WITHOUT)}, tagged={"base", "image"})
    clean(engine, "api")
    assert engine.images.keys() == {"base", "python", "libraries", "image"}


def test_a_build_that_failed_before_the_model_keeps_what_it_has() -> None:
    images = {name: BUILT[name] for name in ("base", "python", "libraries")}
    engine = Engine(images, tagged={"base"})
    assert clean(engine, "api") == []


def test_what_a_container_uses_stays_and_ends_nothing() -> None:
    engine = Engine(BUILT.copy(), tagged={"base", "image"}, in_use={"code"})
    assert clean(engine, "api") == []
    assert "code" in engine.images


def test_two_services_share_their_libraries() -> None:
    second = {"model-2": ("libraries", WITH), "code-2": ("model-2", WITH)}
    engine = Engine(BUILT | second, tagged={"base", "image"})
    clean(engine, "api")
    assert engine.images.keys() == {"base", "python", "libraries", "image"}

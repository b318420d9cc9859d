"""Distillation: its losses by their formulas, the teacher that sees the same crops, and a run that is resumed."""

from compat import UserError

import numpy as np
import paddle
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import pearsonr

import engine.training.distillation
from data.transforms import Normalize
from engine.export import export_network
from engine.runtime import Description, load_network
from engine.training.distillation import ExportedTeacher, Teacher, build_distiller
from engine.training.trainer import RunOptions, Trainer
from loss.distillation import ChannelWiseDistillation, LogitDistillation, RelationDistillation
from models import build_model
from models.weights import read_weights
from tests.helpers.tiny_training import TinyNetwork, tiny_network, tiny_recipe

SHAPE = (2, 4, 3, 5)


def logits_kl(student, teacher, temperature=2.5):
    ours, theirs = (x.transpose(0, 2, 3, 1).reshape(-1, 4) / temperature for x in (student, teacher))
    divergence = (softmax(theirs, 1) * (log_softmax(theirs, 1) - log_softmax(ours, 1))).sum(1)
    return temperature**2 * divergence.mean()


def channel_wise(student, teacher, temperature=3.0):
    ours, theirs = (x.reshape(8, 15) / temperature for x in (student, teacher))
    return temperature**2 * (softmax(theirs, 1) * (log_softmax(theirs, 1) - log_softmax(ours, 1))).sum(1).mean()


def relations(student, teacher, beta=2.0, gamma=0.5, temperature=4.0):
    ours, theirs = (softmax(x.transpose(0, 2, 3, 1).reshape(-1, 4) / temperature, 1) for x in (student, teacher))
    pixels = np.mean([1 - pearsonr(a, b)[0] for a, b in zip(ours, theirs)])
    classes = np.mean([1 - pearsonr(a, b)[0] for a, b in zip(ours.T, theirs.T)])
    return temperature**2 * (beta * pixels + gamma * classes)


CASES = [
    (LogitDistillation(2.5), logits_kl),
    (ChannelWiseDistillation(), channel_wise),
    (RelationDistillation(2.0, 0.5, 4.0), relations),
]


@pytest.mark.parametrize(("loss", "definition"), CASES, ids=lambda case: type(case).__name__)
def test_value_and_gradient_by_definition(loss, definition):
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(0, 2, SHAPE), rng.normal(0, 2, SHAPE)
    tensor = paddle.to_tensor(student.astype("float32"), stop_gradient=False)
    value = loss(tensor, paddle.to_tensor(teacher.astype("float32")))
    value.backward()
    assert value.shape == [] and float(value) == pytest.approx(definition(student, teacher), rel=1e-4)
    expected, step = np.zeros(SHAPE), 1e-5
    for position in np.ndindex(*SHAPE):
        shift = np.zeros(SHAPE)
        shift[position] = step
        expected[position] = (definition(student + shift, teacher) - definition(student - shift, teacher)) / (2 * step)
    np.testing.assert_allclose(tensor.grad.numpy(), expected, atol=2e-5)
    same = paddle.to_tensor(teacher.astype("float32"))
    assert float(loss(same, same)) == pytest.approx(0, abs=1e-5)


def test_the_losses_are_those_of_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    student, teacher = (rng.normal(0, 2, SHAPE).astype("float32") for _ in range(2))
    ours, theirs = torch.tensor(student).flatten(2) / 3, torch.tensor(teacher).flatten(2) / 3
    expected = 9 * torch.nn.functional.kl_div(ours.log_softmax(2), theirs.softmax(2), reduction="sum") / 8
    found = ChannelWiseDistillation()(paddle.to_tensor(student), paddle.to_tensor(teacher))
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_the_teacher_gets_its_own_normalisation_and_both_sides():
    ours, theirs = Normalize(), Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    network = build_model("stdc1_seg", 5)
    pixels = np.random.default_rng(2).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    images = paddle.to_tensor(np.stack([ours(one) for one in pixels]))
    network.at_stride = True
    network.eval()
    with paddle.no_grad():
        straight = network(paddle.to_tensor(np.stack([theirs(one) for one in pixels])))[0].numpy()
        mirrored = network(paddle.to_tensor(np.stack([theirs(one[:, ::-1]) for one in pixels])))[0].numpy()
    network.at_stride = False
    network.train()
    logits = Teacher(network, theirs, ours)(images)
    assert logits.shape == [2, 5, 8, 8] and logits.stop_gradient and not network.training
    scale = np.abs(straight).max()
    np.testing.assert_allclose(logits.numpy(), straight, atol=1e-4 * scale)
    both = Teacher(network, theirs, ours, flip=True)(images).numpy()
    np.testing.assert_allclose(both, (straight + mirrored[..., ::-1]) / 2, atol=1e-4 * scale)


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """The tiny network, and folders of its export with logits and with class maps."""
    paddle.seed(98)
    network = TinyNetwork()
    folders = {op: tmp_path_factory.mktemp(op) for op in ("none", "argmax")}
    for op, folder in folders.items():
        export_network(network, Description(19, output_op=op, batch=None), folder, ["paddle"])
    return network, folders


def test_an_exported_teacher_returns_what_the_network_does(exports):
    network, folders = exports
    theirs, ours = Normalize(), Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    pixels = np.random.default_rng(2).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
    images = paddle.to_tensor(np.stack([ours(one) for one in pixels]))
    exported = load_network(folders["none"], "paddle")
    for flip in (False, True):
        expected = Teacher(network, theirs, ours, flip)(images).numpy()
        found = ExportedTeacher(exported, ours, flip)(images).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_a_run_learns_from_an_exported_teacher(exports, sample_root, tmp_path):
    def recipe(op):
        teacher = {"exported": str(exports[1][op])}
        return tiny_recipe(sample_root, iters=2, distill={"teacher": teacher, "terms": {"type": "LogitDistillation"}})

    with tiny_network():
        Trainer(recipe("none"), RunOptions(save_dir=str(tmp_path), validate=False)).fit()
        assert "main.LogitDistillation: " in (tmp_path / "train.log").read_text()
        with pytest.raises(UserError, match="distill.teacher: .* returns no logits; export it with --output_op none"):
            Trainer(recipe("argmax"), RunOptions(save_dir=str(tmp_path / "other"), validate=False)).fit()


@pytest.mark.parametrize("teacher", [{"config": "a.yml"}, {"exported": "a", "config": "a.yml", "weights": "b"}, {}])
def test_a_teacher_is_of_one_kind(teacher, sample_root):
    distill = {"teacher": teacher, "terms": {"type": "LogitDistillation"}}
    with pytest.raises(UserError, match="distill.teacher: give config and weights, or exported"):
        tiny_recipe(sample_root, distill=distill)


@pytest.fixture
def distilled(sample_root, tmp_path, monkeypatch):
    """Trains the tiny network with another one as its teacher; `terms` are the recipe's."""
    paddle.seed(99)
    paddle.save(TinyNetwork().state_dict(), str(tmp_path / "teacher.pdparams"))
    monkeypatch.setattr(engine.training.distillation, "network_of", lambda *_, **__: TinyNetwork())
    teacher = {"config": "configs/stdc1_seg_sample.yml", "weights": str(tmp_path / "teacher.pdparams")}

    def fit(folder, terms=({"type": "ChannelWiseDistillation", "weight": 3.0},), iters=8, **options):
        distill = {"distill": {"teacher": teacher, "terms": list(terms)}} if terms else {}
        recipe = tiny_recipe(sample_root, iters=iters, **distill)
        with tiny_network():
            trainer = Trainer(recipe, RunOptions(seed=5, save_dir=str(tmp_path / folder), **options))
            trainer.fit()
        return tmp_path / folder

    return fit


def weights_of(folder, iteration):
    return {name: tensor.numpy() for name, tensor in read_weights(folder / f"iter_{iteration}/model.pdparams").items()}


def test_a_run_learns_from_its_teacher_and_resumes_exactly(distilled):
    whole = distilled("whole")
    plain = distilled("plain", terms=())
    taught, untaught = weights_of(whole, 8), weights_of(plain, 8)
    assert taught.keys() == untaught.keys()  # the teacher is no part of a checkpoint
    assert any((taught[name] != untaught[name]).any() for name in taught)
    assert "main.ChannelWiseDistillation: " in (whole / "train.log").read_text()
    distilled("parts")
    for folder in (whole.parent / "parts").glob("iter_[68]"):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    resumed = weights_of(distilled("parts", resume_model="auto"), 8)
    assert all((resumed[name] == taught[name]).all() for name in taught)


def test_a_teacher_draws_nothing_from_the_run(distilled):
    """With a weight of 0 the run is the plain one: initial weights, dropout and all."""
    silent = distilled("silent", terms=({"type": "LogitDistillation", "weight": 0.0},))
    plain = distilled("plain", terms=())
    one, other = weights_of(silent, 8), weights_of(plain, 8)
    assert all((one[name] == other[name]).all() for name in other)


@pytest.mark.parametrize("flip", [False, True])
def test_the_recipes_of_both_reach_the_teacher(flip, sample_root, tmp_path, monkeypatch):
    """Its normalisation is ImageNet's, the student's 0.5 / 0.5."""
    monkeypatch.setattr(engine.training.distillation, "network_of", lambda *_, **__: TinyNetwork())
    paddle.save(TinyNetwork().state_dict(), str(tmp_path / "teacher.pdparams"))
    config, weights = "configs/stdc1_seg_camvid_960x720.yml", str(tmp_path / "teacher.pdparams")
    terms = [{"type": "LogitDistillation"}, {"type": "ChannelWiseDistillation", "weight": 3.0}]
    teacher = {"config": config, "weights": weights, "flip": flip}
    recipe = tiny_recipe(sample_root, distill={"teacher": teacher, "terms": terms})
    distiller = build_distiller(recipe, 19, ("main",), Normalize())
    pixels = np.random.default_rng(2).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    theirs = Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    seen = []
    distiller.teacher.network.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0].numpy()))
    images, student = paddle.to_tensor(Normalize()(pixels[0])[None]), paddle.randn([1, 19, 4, 4])
    total, parts = distiller(images, [student])
    np.testing.assert_allclose(seen[0][0], theirs(pixels[0]), atol=1e-5)
    assert len(seen) == 1 + flip
    weighted = parts["main.LogitDistillation"] + 3 * parts["main.ChannelWiseDistillation"]
    assert float(total) == pytest.approx(float(weighted))


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([{"type": "ChannelWise"}], "ChannelWiseDistillation"),
        ([{"type": "LogitDistillation", "output": "aux8"}], "distill.terms: no output 'aux8' with class logits"),
        ([{"type": "LogitDistillation", "temperature": 0}], "temperature"),
        ([{"type": "LogitDistillation"}, {"type": "LogitDistillation"}], "the same type twice for one output"),
    ],
)
def test_wrong_terms_are_named(distilled, terms, message):
    with pytest.raises(UserError, match=message):
        distilled("wrong", terms=terms)

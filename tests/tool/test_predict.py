"""tool.predict: videos, cameras, class maps, and what it refuses. Networks are stand-ins of one line."""

import argparse
import itertools
import signal
from pathlib import Path

from compat import UserError

import cv2
import numpy as np
import pytest

from data import CITYSCAPES
from data.files import read_image, read_label
from engine.evaluation.pictures import write_picture
from engine.runtime import Description, Network, load
from tool import predict
from tool.prediction import results, sources
from tool.prediction.flags import check_apart
from tool.prediction.results import KINDS, Painter, PictureWriter, Predicted
from tool.prediction.sources import Frame, Picture, VideoSource, find_sources

ROAD, CAR = CITYSCAPES.names.index("road"), CITYSCAPES.names.index("car")
OPTIONS = argparse.Namespace(results=list(KINDS), frames=False, max_frames=None)


def left_is_road(image):
    """Class map of a stand-in network: road on the left half, car on the right."""
    classes = np.full(image.shape[:2], CAR, np.uint8)
    classes[:, : image.shape[1] // 2] = ROAD
    return classes


@pytest.fixture
def video(tmp_path):
    """12 frames of 98 x 66 whose grey grows by 20 a frame."""
    file = tmp_path / "street.mp4"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"mp4v"), 10, (98, 66))
    for grey in range(0, 240, 20):
        writer.write(np.full((66, 98, 3), grey, np.uint8))
    writer.release()
    return file


def frames_of(file):
    capture = cv2.VideoCapture(str(file))
    frames = itertools.takewhile(lambda frame: frame is not None, (capture.read()[1] for _ in itertools.count()))
    return list(frames), capture.get(cv2.CAP_PROP_FPS)


# --- what is read -----------------------------------------------------------------------------------------------------


def test_a_folder_gives_images_and_videos_under_different_names(tmp_path, video):
    grey = np.zeros((4, 4, 3), np.uint8)
    for name in ("a.png", "a.bmp", "below/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), grey)
    (tmp_path / "notes.txt").write_text("no image")
    pictures, videos = find_sources(str(tmp_path))
    assert {picture.name for picture in pictures} == {"a_png", "a_bmp", "below/a"}
    assert videos == [VideoSource(video, "street")]


def test_videos_of_one_stem_have_results_of_their_own(tmp_path):
    for name in ("a.mp4", "a.avi", "below/a.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    _, videos = find_sources(str(tmp_path))
    assert sorted(video.name for video in videos) == ["a_avi", "a_mp4", "below/a"]


def test_validation_images_of_one_stem_have_results_of_their_own():
    """A list file may name a/1.png and b/1.png; one result overwrote the other."""
    assert sources.result_names([Path("data/a/1.png"), Path("/data/b/1.png")])[1] == "data/b/1"
    assert sources.result_names([Path("data/a/1.png"), Path("data/b/1.png")]) == ["a/1", "b/1"]
    assert sources.result_names([Path("data/a/1.png"), Path("data/b/2.png")]) == ["1", "2"]


def test_names_with_a_suffix_are_not_those_of_a_third_file(tmp_path):
    for name in ("a.png", "a.jpg", "a_png.bmp"):
        (tmp_path / name).write_bytes(b"")
    names = [picture.name for picture in find_sources(str(tmp_path))[0]]
    assert names == ["a_jpg", "a_png_", "a_png"]


def test_lists_may_begin_with_a_byte_order_mark_and_are_utf8(tmp_path):
    file = tmp_path / "list.txt"
    (tmp_path / "image.png").write_bytes(b"")
    file.write_bytes(b"\xef\xbb\xbfimage.png\r\n")
    assert find_sources(str(file))[0][0].file == tmp_path / "image.png"
    file.write_bytes(b"caf\xe9.png\n")
    with pytest.raises(UserError, match="list.txt: the list cannot be read"):
        find_sources(str(file))


def test_results_never_replace_or_join_the_images(tmp_path):
    """In a folder of images, legend.png was replaced, and the next run predicted the results."""
    photos = tmp_path / "photos"
    (photos / "added_prediction").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(photos, target_is_directory=True)

    def check(image_path, save_dir, *names, pseudo_labels=None):
        flags = argparse.Namespace(
            image_path=image_path and str(image_path), save_dir=str(save_dir), results=list(KINDS), frames=False
        )
        flags.pseudo_labels = pseudo_labels
        check_apart(flags, [Picture(photos / name, Path(name).stem) for name in names], [])

    for save_dir in (photos, link, photos / "new" / "below", f"{photos}/"):
        with pytest.raises(UserError, match="lies in --image_path .*; choose a folder outside it"):
            check(photos, save_dir)
    for name in ("legend.png", "added_prediction/street.png"):
        with pytest.raises(UserError, match="is to be predicted and would be replaced"):
            check(photos / name, link, name)
    with pytest.raises(UserError, match="would be replaced"):
        check(None, photos, "pseudo_labels/street.png", pseudo_labels=0.5)
    check(photos, tmp_path / "photos_predicted", "legend.png")
    check(photos / "street.png", photos, "street.png")
    check(None, photos, "street.png")


@pytest.mark.parametrize("image_path", ["added_prediction/street.mp4", "added_prediction"])
def test_a_video_is_not_replaced_while_it_is_read(video, tmp_path, monkeypatch, image_path):
    """A video that was written before, and a folder of them, were opened for writing under the default --save_dir."""
    (tmp_path / "added_prediction").mkdir()
    written = video.rename(tmp_path / "added_prediction" / "street.mp4")
    content = written.read_bytes()
    network = StandIn()
    monkeypatch.setattr(load, "load_network", lambda *arguments: network)
    flags = ["--config", "configs/stdc1_seg_sample.yml", "--model_path", "export", "--engine", "onnxruntime"]
    flags += ["--device", "cpu", "--image_path", str(tmp_path / image_path), "--save_dir", str(tmp_path)]
    with pytest.raises(UserError, match="added_prediction/street.mp4: is to be predicted and would be replaced"):
        predict.main(flags)
    assert written.read_bytes() == content
    predict.main([*flags, "--frames", "--max_frames", "2"])
    assert len(list((tmp_path / "added_prediction" / "street").iterdir())) == 2 and written.read_bytes() == content


def test_a_video_on_a_full_disk_is_an_error(video, tmp_path):
    """OpenCV reports nothing, and the command called its broken file a success."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    noise = np.random.default_rng(0).integers(0, 255, (66, 98), dtype=np.uint8)
    flags = argparse.Namespace(results=["pseudo_color_prediction"], frames=False, max_frames=None)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(UserError, match="street.mp4: the video cannot be written completely"):
            predict.predict_video(
                VideoSource(video, "street"), lambda _: noise % 19, tmp_path, Painter(CITYSCAPES), flags
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_a_list_names_the_missing_image(tmp_path):
    (tmp_path / "list.txt").write_text("nothing.png\n")
    with pytest.raises(UserError, match="nothing.png: no such image, named in .*list.txt"):
        find_sources(str(tmp_path / "list.txt"))
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(UserError, match="list.txt: holds no image"):
        find_sources(str(tmp_path / "list.txt"))


def test_broken_videos_are_one_line(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UserError, match="text.mp4: not a video that OpenCV can read"):
        sources.Video(VideoSource(tmp_path / "text.mp4", "text"))
    with pytest.raises(UserError, match="gone.mp4: no such"):
        find_sources(str(tmp_path / "gone.mp4"))


def test_a_cut_video_warns_once(video, tmp_path, monkeypatch):
    """Frames are read ahead: each read behind the end warned anew, of one frame more."""
    warnings = []
    monkeypatch.setattr(sources.logger, "warning", lambda *words: warnings.append(words[2:]))
    opened = sources.Video(VideoSource(video, "street"))
    opened.stated_frames = 30
    assert [frame is None for frame in map(opened.read, range(16))] == [False] * 12 + [True] * 4
    assert warnings == [(12, 30)]


# --- what is written --------------------------------------------------------------------------------------------------


def test_a_class_map_holds_ids_and_shows_colours(tmp_path):
    image = np.full((6, 8, 3), 200, np.uint8)
    PictureWriter(tmp_path, Painter(CITYSCAPES)).write(Predicted(Frame(image, "x"), left_is_road(image)))
    file = tmp_path / "pseudo_color_prediction" / "x.png"
    np.testing.assert_array_equal(read_label(file), left_is_road(image))
    colors = read_image(file)
    assert tuple(colors[0, 0]) == (128, 64, 128) and tuple(colors[0, 7]) == (0, 0, 142)  # Cityscapes' own


def test_only_the_chosen_classes_are_shown(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    painter = Painter(CITYSCAPES, ["car"], opacity=0.5)
    pictures = painter.draw(Predicted(Frame(image, "x"), left_is_road(image)), KINDS)
    np.testing.assert_array_equal(pictures["added_prediction"][:, :4], image[:, :4])
    mixed = (image[:, 4:].astype(float) + np.array([0, 0, 142])) / 2
    assert np.abs(pictures["added_prediction"][:, 4:] - mixed).max() <= 0.5
    assert not pictures["pseudo_color_prediction"][:, :4].any()
    PictureWriter(tmp_path, painter).write(Predicted(Frame(image, "x"), left_is_road(image)))
    assert set(np.unique(read_label(tmp_path / "pseudo_color_prediction" / "x.png"))) == {CAR, 255}
    assert painter.legend().shape[0] == 24 and Painter(CITYSCAPES).legend().shape[0] == 240
    assert Painter(CITYSCAPES, ["13"]).ids == painter.ids
    with pytest.raises(UserError, match="'cra' is not known; did you mean car"):
        Painter(CITYSCAPES, ["cra"])


def test_the_legend_shows_each_colour_once(tmp_path):
    legend = Painter(CITYSCAPES).legend()
    write_picture(tmp_path / "legend.png", legend)
    shown = {tuple(color) for color in read_image(tmp_path / "legend.png").reshape(-1, 3).tolist()}
    assert set(CITYSCAPES.colors) <= shown


def test_a_video_becomes_videos_of_the_same_length_rate_and_size(video, tmp_path):
    timing = predict.predict_video(
        VideoSource(video, "street"), left_is_road, tmp_path / "out", Painter(CITYSCAPES, opacity=1.0), OPTIONS
    )
    assert timing.items == 12 and "12 frames" in str(timing)
    for kind in KINDS:
        frames, rate = frames_of(tmp_path / "out" / kind / "street.mp4")
        assert len(frames) == 12 and rate == 10
        assert frames[0].shape == (66, 98, 3) or kind == "side_by_side"
    frames, _ = frames_of(tmp_path / "out" / "pseudo_color_prediction" / "street.mp4")
    left, right = frames[5][30, 20, ::-1].astype(int), frames[5][30, 80, ::-1].astype(int)
    assert np.abs(left - (128, 64, 128)).max() < 12 and np.abs(right - (0, 0, 142)).max() < 12


def test_frames_of_a_video_as_exact_class_maps(video, tmp_path):
    options = argparse.Namespace(results=["pseudo_color_prediction"], frames=True, max_frames=3)
    predict.predict_video(VideoSource(video, "street"), left_is_road, tmp_path, Painter(CITYSCAPES), options)
    files = sorted((tmp_path / "pseudo_color_prediction" / "street").iterdir())
    assert [file.name for file in files] == ["000000.png", "000001.png", "000002.png"]
    np.testing.assert_array_equal(read_label(files[2]), left_is_road(np.zeros((66, 98, 3))))


def test_what_was_predicted_before_an_error_plays(video, tmp_path):
    counter = itertools.count()

    def breaks(image):
        if next(counter) == 7:
            raise KeyboardInterrupt
        return left_is_road(image)

    with pytest.raises(KeyboardInterrupt):
        predict.predict_video(VideoSource(video, "street"), breaks, tmp_path, Painter(CITYSCAPES), OPTIONS)
    assert len(frames_of(tmp_path / "added_prediction" / "street.mp4")[0]) == 7


def test_a_camera_keeps_the_time_of_the_clock(video, tmp_path, monkeypatch):
    """The camera is a file here, and the clock a counter: 0.3 s a frame at 10 frames a second is 3 frames each."""
    capture = cv2.VideoCapture
    monkeypatch.setattr(sources.cv2, "VideoCapture", lambda source: capture(str(video) if source == 0 else source))
    ticks = itertools.count()
    monkeypatch.setattr(results, "time", argparse.Namespace(perf_counter=lambda: 0.3001 * next(ticks)))
    options = argparse.Namespace(results=["added_prediction"], frames=False, max_frames=4)
    assert (
        predict.predict_video(VideoSource(0, "camera_0"), left_is_road, tmp_path, Painter(CITYSCAPES), options).items
        == 4
    )
    monkeypatch.undo()
    assert len(frames_of(tmp_path / "added_prediction" / "camera_0.mp4")[0]) == 12


class StandIn(Network):
    """An exported network that calls bright pixels road and dark ones car."""

    def __init__(self):
        super().__init__("onnxruntime", "fp32", Description(19))

    def run(self, batch):
        return np.where(batch[..., 0] > 128, ROAD, CAR).astype(np.uint8)


def test_an_exported_network_by_its_engine(tmp_path, monkeypatch, capsys):
    """The command with --engine; what loads the network is a stand-in."""
    asked = []
    monkeypatch.setattr(load, "load_network", lambda *arguments: asked.append(arguments) or StandIn())
    write_picture(tmp_path / "a.png", np.full((20, 40, 3), 255, np.uint8))
    flags = ["--config", "configs/stdc1_seg_sample.yml", "--model_path", "exported", "--engine", "onnxruntime"]
    paths = ["--image_path", str(tmp_path / "a.png"), "--save_dir", str(tmp_path)]
    predict.main([*flags, *paths, "--precision", "int8", "--results", "pseudo_color_prediction"])
    assert asked == [("exported", "onnxruntime", "int8")]
    assert not read_label(tmp_path / "pseudo_color_prediction" / "a.png").any()
    assert "frames a second end to end" in capsys.readouterr().out and (tmp_path / "legend.png").is_file()


def test_an_absent_camera_is_one_line(tmp_path):
    with pytest.raises(UserError, match="camera 77: is it plugged in"):
        predict.predict_video(VideoSource(77, "camera_77"), left_is_road, tmp_path, Painter(CITYSCAPES), OPTIONS)

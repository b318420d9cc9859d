"""tool.demo's command line: what it offers, and what it refuses."""

import shutil
import socket
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from compat import UserError

import numpy as np
import paddle
import pytest
from werkzeug.serving import make_server

from engine.runtime import Description, write_description
from models import build_model
from tests.helpers.zero_networks import zero_networks
from tool import demo
from tool.demonstration.networks import Networks


def options(*arguments):
    return demo._parser().parse_args([str(argument) for argument in arguments])


def test_weights_are_offered_by_their_recipes_name(tmp_path):
    with zero_networks():
        paddle.save(build_model("stdc1_seg", 19).state_dict(), str(tmp_path / "a.pdparams"))
    shutil.copy(tmp_path / "a.pdparams", tmp_path / "b.pdparams")
    choices = demo.find_choices(options("--model_path", tmp_path / "a.pdparams", tmp_path / "b.pdparams"))
    assert [choice.model for choice in choices] == ["stdc1_seg_sample", f"stdc1_seg_sample · {tmp_path}/b.pdparams"]
    answer = Networks(choices).predict("stdc1_seg_sample", "Paddle eager", np.zeros((33, 65, 3), np.uint8))
    assert answer.class_map.shape == (33, 65) and not answer.class_map.any()  # equal logits: the first class


def test_an_exported_folder_is_offered_in_the_engines_that_are_installed(tmp_path, monkeypatch):
    files = {"paddle": {"fp32": "model.json"}, "openvino": {"fp32": "model.xml", "int8": "model_int8.xml"}}
    write_description(tmp_path, Description(19, files=files))
    installed = {"openvino"}

    def engine_class(engine):
        if engine not in installed:
            raise UserError(f"engine {engine}: not installed")

    monkeypatch.setattr(demo, "engine_class", engine_class)
    choices = demo.find_choices(options("--model_path", tmp_path))
    assert [(one.model, one.engine) for one in choices] == [
        ("stdc1_seg_sample", "OpenVINO fp32"),
        ("stdc1_seg_sample", "OpenVINO int8"),
    ]
    installed.clear()
    with pytest.raises(UserError, match="no installed engine runs it; pip install -r requirements-deploy.txt"):
        demo.find_choices(options("--model_path", tmp_path))


@pytest.mark.parametrize("output_op, given", [("argmax", False), ("softmax", True), ("none", True)])
def test_an_export_gives_the_confidence_that_it_holds(tmp_path, monkeypatch, output_op, given):
    files = {"openvino": {"fp32": "model.xml"}}
    write_description(tmp_path, Description(19, output_op=output_op, temperature=1.5, files=files))
    monkeypatch.setattr(demo, "engine_class", lambda engine: None)
    choice = demo.find_choices(options("--model_path", tmp_path))[0]
    assert (choice.gives_confidence, choice.temperature) == (given, 1.5)


def test_weights_get_the_temperature_of_the_command(tmp_path):
    with zero_networks():
        paddle.save(build_model("stdc1_seg", 19).state_dict(), str(tmp_path / "a.pdparams"))
    choices = demo.find_choices(options("--model_path", tmp_path / "a.pdparams", "--temperature", "3"))
    found = Networks(choices).predict(choices[0].model, "Paddle eager", np.zeros((33, 65, 3), np.uint8), True)
    np.testing.assert_allclose(found.confidence, 1 / 19, rtol=1e-6)
    assert found.temperature == 3 and choices[0].load().network.description.temperature == 3


def test_the_command_refuses():
    with pytest.raises(UserError, match="gone: neither a file here nor a name of weights"):
        demo.find_choices(options("--model_path", "gone"))
    with pytest.raises(UserError, match="2 recipes for 1 models"):
        demo.find_choices(options("--config", demo.CONFIG, demo.CONFIG, "--model_path", "gone"))
    assert options().host == "127.0.0.1"


def test_a_port_that_is_taken_is_one_line(monkeypatch):
    monkeypatch.setattr(demo, "find_choices", lambda arguments: [])
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError, match="try --port 0"):
        demo.main(["--port", str(taken.getsockname()[1])])


def test_an_address_that_is_none_of_this_machine_is_not_mended_by_another_port(monkeypatch):
    monkeypatch.setattr(demo, "find_choices", lambda arguments: [])
    with pytest.raises(UserError, match=r"^--host 203.0.113.5 --port 8000: [^;]+; name an address of this machine"):
        demo.main(["--host", "203.0.113.5"])


@pytest.mark.parametrize("host, origin", [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_the_printed_address_shows_the_page(monkeypatch, capsys, host, origin):
    if host == "::1":
        try:
            socket.create_server((host, 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("this machine has no IPv6")
    statuses = []

    def serving_one_request(*arguments, **options):
        server = make_server(*arguments, **options)

        def fetch():
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                f"http://{origin}:{server.port}/networks", timeout=20
            ) as response:
                statuses.append(response.status)

        def serve():
            with ThreadPoolExecutor(1) as client:
                done = client.submit(fetch)
                server.handle_request()
                done.result()

        server.serve_forever = serve
        return server

    monkeypatch.setattr(demo, "find_choices", lambda arguments: [])
    monkeypatch.setattr(demo, "make_server", serving_one_request)
    demo.main(["--host", host, "--port", "0"])
    assert statuses == [200] and capsys.readouterr().out.startswith(f"http://{origin}:")
